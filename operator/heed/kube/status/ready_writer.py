"""Writes the reconciler's part of an Agent's status, see `ready`.

The conditions are one list with two writers, this one and the ledger's commits, so a write is based on a fresh reading
and fenced by its version; the Agent's ledger is told, and goes on from there. What is there is known from earlier
writes and from the watch, so nothing is read or written without need.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kubernetes.aio.utils import retry

from heed.api.conditions import (
    RATE_LIMITED,
    READY,
    SUSPENDED,
    TASKS_STUCK,
    WORKER_READY,
    find_condition,
)
from heed.core.effects import AgentRef
from heed.kube.client.client import ApiError, KubeApi, agent_path
from heed.kube.status.condition_writer import ConditionWriter
from heed.kube.status.ready import KnownStatus, WantedConditions, read_status, status_patch
from heed.kube.status.reasons import find_remedy
from heed.util.clock import loop_time, timestamp

Body = Mapping[str, Any]
OnStatusWritten = Callable[[AgentRef, str, Body], None]  # from which version, to which object
OnWriteRefused = Callable[[AgentRef, str, str], None]  # reason and note of an Event
OnConditionWritten = Callable[[AgentRef, Body | None, Body], None]  # a condition before, and now
MAX_CONCURRENT_STATUS_WRITES: Final = 16  # of all Agents together
REFUSAL_INTERVAL_S: Final = 1800.0  # Kubernetes keeps Events for an hour
MAX_REFUSAL_CHARS: Final = 200  # characters, so that an Event has room for the rest
CONFLICT_BACKOFF: Final = retry.Backoff(
    steps=8, duration=0.01, factor=1.5, jitter=1.0
)  # a busy loop writes all the time


def is_refusal(error: BaseException) -> bool:
    """Whether the API server refuses a write itself, and not for an outage, overload, conflict or deleted object."""
    return (
        isinstance(error, ApiError) and 400 <= error.status < 500 and error.status not in (404, 408, 409, 429)
    )


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why the API server refuses a status, and when that was last reported (monotonic)."""

    told: float
    error: str


class ReadyWriter(ConditionWriter[AgentRef, WantedConditions]):
    """Writes what is `wanted` of each Agent until it is there, `between` seconds apart for one generation.

    `condition_written` is told of every write: of which Agent, and what each condition was before and is now. So is
    `status_written`: which version of the object it was based on, and the object that it made. `refused` is told what
    the API server does not let be written, as the condition cannot say that.
    """

    def __init__(
        self,
        api: KubeApi,
        wanted: Callable[[AgentRef], WantedConditions | None],
        between: float,
        *,
        condition_written: OnConditionWritten = lambda agent, before, now: None,
        status_written: OnStatusWritten = lambda agent, before, body: None,
        refused: OnWriteRefused = lambda agent, reason, note: None,
    ) -> None:
        super().__init__(api, READY, MAX_CONCURRENT_STATUS_WRITES, logging.getLogger("heed.fleet"))
        self._wanted, self._between = wanted, between
        self._condition_written, self._status_written, self._refused = (
            condition_written,
            status_written,
            refused,
        )
        self._known: dict[AgentRef, KnownStatus] = {}
        self._written: dict[AgentRef, float] = {}
        self._refusals: dict[AgentRef, _Refusal] = {}

    def begin(self, agent: AgentRef, body: Body) -> None:
        """Start tracking a generation; its status is compared in full."""
        wanted = self._wanted(agent)
        if wanted is None or status_patch(body, wanted, timestamp()) is None:
            self._learn(agent, body)
        else:
            self._known.pop(agent, None)
        self.schedule(agent)

    def note_agent(self, agent: AgentRef, body: Body) -> None:
        """Note an Agent's object. A condition changed by another writer is restored."""
        self._learn(agent, body)
        self.schedule(agent)

    def schedule_all(self) -> None:
        """Schedule a check of every Agent."""
        for agent in list(self._known):
            self.schedule(agent)

    def ready(self, agent: AgentRef) -> tuple[str, str]:
        """Status and reason of the condition: what is wanted, and as long as that is open what is there."""
        wanted, there = self._wanted(agent), self._known.get(agent)
        if wanted is None:
            return "Unknown", "Unknown"
        if wanted.settled or there is None or there.status is None:
            return wanted.status, wanted.reason
        return there.status, there.reason or "Unknown"

    def is_refused(self, agent: AgentRef) -> bool:
        """Whether the API server refuses an Agent's status."""
        return agent in self._refusals

    def describe_refused(self) -> str | None:
        """Of how many Agents the status is refused, with one of them and why; None where of none."""
        if not (refusals := self._refusals):
            return None
        agent, refusal = next(iter(refusals.items()))
        many = "1 agent" if len(refusals) == 1 else f"{len(refusals)} agents, such as"
        return f"cannot write the status of {many}: {agent}: {refusal.error}"

    async def forget(self, agent: AgentRef) -> None:
        """An Agent is gone."""
        await self._stop(agent)
        self._known.pop(agent, None)
        self._written.pop(agent, None)

    def _learn(self, agent: AgentRef, body: Body) -> None:
        heard, before = read_status(body), self._known.get(agent)
        if before is None or heard.version >= before.version:
            self._known[agent] = heard

    def _find_wanted(self, key: AgentRef) -> WantedConditions | None:
        """The wanted conditions, where they are not known to be there."""
        wanted, there = self._wanted(key), self._known.get(key)
        return None if wanted is None or (there is not None and there.has(wanted)) else wanted

    def _pause(self, key: AgentRef, wanted: WantedConditions) -> float:
        """The pause before the next write; a new generation does not wait."""
        there = self._known.get(key)
        if there is None or there.generation != wanted.generation or key not in self._written:
            return 0.0
        return self._written[key] + self._between - loop_time()

    async def _write(self, key: AgentRef, wanted: WantedConditions) -> bool:
        if self._find_wanted(key) is None:
            return True
        return await retry.retry_on_conflict(lambda: self._read_and_write(key), CONFLICT_BACKOFF)

    async def _read_and_write(self, agent: AgentRef) -> bool:
        body = (await self._api.get(agent_path(agent.namespace, agent.name))).body
        if body["metadata"]["uid"] != agent.uid:
            return False
        self._learn(agent, body)
        if (wanted := self._find_wanted(agent)) is None or (
            status := status_patch(body, wanted, timestamp())
        ) is None:
            return True
        made = await self._merge(agent_path(agent.namespace, agent.name, "status"), body, status)
        self._status_written(agent, body["metadata"]["resourceVersion"], made)
        self._learn(agent, made)
        self._written[agent] = loop_time()
        before = (body.get("status") or {}).get("conditions") or []
        for type_ in (READY, WORKER_READY, TASKS_STUCK, SUSPENDED, RATE_LIMITED):
            if (new := find_condition(status["conditions"], type_)) is not None:
                self._condition_written(agent, find_condition(before, type_), new)
        return True

    def _recovered(self, key: AgentRef) -> None:
        self._refusals.pop(key, None)

    def _log_fields(self, key: AgentRef, wanted: WantedConditions) -> dict[str, Any]:
        return {"agent": str(key), "reason": wanted.reason}

    def _failed(self, key: AgentRef, wanted: WantedConditions, error: Exception, delay: float) -> None:
        """Log a failed write. A refusal is reported at once, and every REFUSAL_INTERVAL_S while it lasts."""
        super()._failed(key, wanted, error, delay)
        if not (isinstance(error, ApiError) and is_refusal(error)):
            return
        at, before = loop_time(), self._refusals.get(key)
        told = before.told if before is not None and at < before.told + REFUSAL_INTERVAL_S else at
        self._refusals[key] = _Refusal(told, str(error))
        if told == at:
            remedy = find_remedy(error)
            said = f"{wanted.status} ({wanted.reason}: {wanted.message[:MAX_REFUSAL_CHARS]})"
            note = f"the condition Ready={said} cannot be written: {error}"
            self._refused(key, "StatusRefused", f"{note}; {remedy}" if remedy else note)
