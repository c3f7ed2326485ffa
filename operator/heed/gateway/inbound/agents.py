"""Which Agents there are, for events to one of them: their labels, asked for when needed and remembered for seconds.

Not watched: an Agent's status is written with every batch of events, and each write would be shown to every gateway.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from heed.api.agent import AgentMetadata
from heed.gateway.refusals import busy
from heed.kube.client.client import OBJECT_METADATA_ONLY, ApiError, KubeApi, agent_path

REMEMBERED_S: Final = 10.0
ABSENCE_REMEMBERED_S: Final = 2.0
ASK_PATIENCE_S: Final = 3.0  # for the API server
MAX_REMEMBERED: Final = 10_000  # Agents
STATUS_NOT_FOUND: Final = 404
Labels = Mapping[str, str]
Key = tuple[str, str]  # namespace and name


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
        self._known: OrderedDict[Key, _KnownAgent] = OrderedDict()
        self._asked: dict[Key, asyncio.Task[Labels | None]] = {}

    async def labels(self, namespace: str, name: str) -> Labels | None:
        """See AgentDirectory. While the API server does not answer, or not soon, what was known last counts."""
        key = namespace, name
        known = self._known.get(key)
        if known is not None and known.until > self._clock():
            return known.labels
        if (asking := self._asked.get(key)) is None:
            asking = self._asked[key] = asyncio.create_task(self._ask(namespace, name))
            asking.add_done_callback(partial(self._note_end, key))
        try:
            async with asyncio.timeout(ASK_PATIENCE_S):
                return await asyncio.shield(asking)  # several may wait for it
        except (ApiError, TimeoutError) as error:
            if known is None or (isinstance(error, ApiError) and not error.is_unanswered):
                message = "the API server cannot be asked for the Agent"
                raise busy(503, "AgentsUnavailable", message) from None
            self._remember(key, known.labels)
            return known.labels

    def _note_end(self, key: Key, asking: "asyncio.Task[Labels | None]") -> None:
        del self._asked[key]
        if not asking.cancelled():
            asking.exception()  # looked at: those who waited for it may be gone

    def _remember(self, key: Key, labels: Labels | None) -> None:
        lasts = ABSENCE_REMEMBERED_S if labels is None else REMEMBERED_S
        self._known[key] = _KnownAgent(labels, self._clock() + lasts)
        self._known.move_to_end(key)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)

    async def _ask(self, namespace: str, name: str) -> Labels | None:
        try:
            found = await self._api.get(agent_path(namespace, name), accept=OBJECT_METADATA_ONLY)
        except ApiError as error:
            if error.status != STATUS_NOT_FOUND:
                raise
            labels: Labels | None = None
        else:
            labels = found.body["metadata"].get("labels") or {}
        self._remember((namespace, name), labels)
        return labels


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
