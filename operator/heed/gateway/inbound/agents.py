"""Which Agents there are, for events to one of them: their labels, asked for when needed and remembered for seconds.

Not watched: an Agent's status is written with every batch of events, and each write would be shown to every gateway.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from heed.api.agent import AgentMetadata
from heed.gateway.refusals import busy
from heed.kube.client.client import OBJECT_METADATA_ONLY, ApiError, KubeApi, agent_path

REMEMBERED_S: Final = 10.0
ABSENCE_REMEMBERED_S: Final = 2.0
MAX_REMEMBERED: Final = 10_000  # Agents
STATUS_NOT_FOUND: Final = 404
Labels = Mapping[str, str]


class AgentDirectory(Protocol):
    """Knows Agents."""

    async def labels(self, namespace: str, name: str) -> Labels | None:
        """The labels of an Agent; None where there is none of this name. Raises RequestRefused, 503."""
        ...


@dataclass(frozen=True, slots=True)
class _KnownAgent:
    labels: Labels | None
    until: float


class ClusterAgents:
    """The Agents of a cluster."""

    def __init__(self, api: KubeApi, clock: Callable[[], float] = time.monotonic) -> None:
        self._api, self._clock = api, clock
        self._known: OrderedDict[tuple[str, str], _KnownAgent] = OrderedDict()

    async def labels(self, namespace: str, name: str) -> Labels | None:
        """See AgentDirectory. While the API server does not answer, what was known last counts."""
        key = namespace, name
        known = self._known.get(key)
        if known is not None and known.until > self._clock():
            return known.labels
        try:
            labels = await self._ask(namespace, name)
        except ApiError as error:
            if known is not None and error.is_unanswered:
                return known.labels
            raise busy(503, "AgentsUnavailable", "the API server cannot be asked for the Agent") from None
        lasts = ABSENCE_REMEMBERED_S if labels is None else REMEMBERED_S
        self._known[key] = _KnownAgent(labels, self._clock() + lasts)
        self._known.move_to_end(key)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return labels

    async def _ask(self, namespace: str, name: str) -> Labels | None:
        try:
            found = await self._api.get(agent_path(namespace, name), accept=OBJECT_METADATA_ONLY)
        except ApiError as error:
            if error.status == STATUS_NOT_FOUND:
                return None
            raise
        return found.body["metadata"].get("labels") or {}


class LocalAgents:
    """The Agents of `heed dev`: `running` gives those that run now."""

    def __init__(self, running: Callable[[], Iterable[AgentMetadata]]) -> None:
        self._running = running

    async def labels(self, namespace: str, name: str) -> Labels | None:
        """See AgentDirectory."""
        return next(
            (agent.labels for agent in self._running() if (agent.namespace, agent.name) == (namespace, name)),
            None,
        )
