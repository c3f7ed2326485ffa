"""Records Kubernetes Events on Agents, for `kubectl describe agent` and event collectors.

They are news for people, and nothing depends on them: one that the API server does not take after a few tries is
dropped, as is one too many. Data of events never goes into them.
"""

import asyncio
import logging
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from heed import names
from heed.api.conditions import RATE_LIMITED, READY, SUSPENDED, WORKER_READY
from heed.core.decision.decide import Decision
from heed.core.effects import AgentRef
from heed.core.ledger.ledger import Ledger
from heed.engine.observer import Observer
from heed.kube.client.client import CORE_API, ApiError, KubeApi
from heed.kube.status.ready import REJECTED
from heed.util.aio import stop
from heed.util.clock import timestamp

log = logging.getLogger("heed.events")
Condition = Mapping[str, Any]
REPORTING_CONTROLLER: Final = f"{names.GROUP}/operator"
MAX_EVENT_MESSAGE_BYTES: Final = 1024  # bytes; more is refused
MAX_CONCURRENT_EVENTS: Final = 8  # writes of all Agents together
MAX_QUEUED_EVENTS: Final = 1000  # that wait for their turn
RETRY_DELAYS_S: Final = (1.0, 5.0, 30.0)  # before the second, third and last try
DEAD_LETTER_INTERVAL_S: Final = 60.0  # seconds between two Events about an Agent's dead letters of one code
RECORDED_CODES: Final = {
    "PolicyViolation": True,
    "SchemaViolation": False,
}  # whether the cause is free of events' data


@dataclass(slots=True)
class _DeadLetterCount:
    """Dead letters of one code not recorded yet, and the timer for their Event."""

    timer: asyncio.TimerHandle
    count: int = 0
    note: str = ""


class EventRecorder(Observer):
    """Records Events: of dead letters as an observer of loops, of conditions as the reconciler tells it."""

    def __init__(self, api: KubeApi, *, every: float = DEAD_LETTER_INTERVAL_S) -> None:
        self._api, self._every = api, every
        self._instance = socket.gethostname()[:128] or REPORTING_CONTROLLER
        self._letters: dict[tuple[AgentRef, str], _DeadLetterCount] = {}
        self._writes: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_EVENTS)

    def record_condition(self, agent: AgentRef, before: Condition | None, now: Condition) -> None:
        """Record a written condition. An Agent that is well from the start gets no Event."""
        if now.get("type") == WORKER_READY:
            self._record_workers(agent, before or {}, now)
            return
        fine = "True" if now.get("type", READY) == READY else "False"
        was, well = before or {}, now["status"] == fine
        if well and was.get("status") in (None, fine):
            return
        if _describe(was) != _describe(now):
            meant = now.get("type") in (SUSPENDED, RATE_LIMITED)  # the spec asks for them
            type_: Literal["Normal", "Warning"] = "Normal" if well or meant else "Warning"
            self._enqueue(agent, type_, str(now["reason"]), "Reconcile", str(now.get("message", "")))

    def _record_workers(self, agent: AgentRef, was: Condition, now: Condition) -> None:
        """Record that workers are there, or why not; that they are made or run elsewhere is no news."""
        if now["status"] == "Unknown" or now["reason"] == "Progressing":
            return
        if (was.get("status"), was.get("reason")) != (now["status"], now["reason"]):
            type_: Literal["Normal", "Warning"] = "Normal" if now["status"] == "True" else "Warning"
            self._enqueue(agent, type_, f"Workers{now['reason']}", "Reconcile", str(now.get("message", "")))

    def record_refusal(self, agent: AgentRef, reason: str, note: str) -> None:
        """Record that the API server refuses an Agent's status."""
        self._enqueue(agent, "Warning", reason, "Reconcile", note)

    def forget(self, agent: AgentRef) -> None:
        """An Agent is gone."""
        for key in [key for key in self._letters if key[0] == agent]:
            self._letters.pop(key).timer.cancel()

    async def close(self) -> None:
        """Stop. Events not recorded by now are dropped."""
        for letters in self._letters.values():
            letters.timer.cancel()
        self._letters.clear()
        await asyncio.gather(*(stop(task) for task in list(self._writes)))

    def committed(self, agent: AgentRef, decisions: Sequence[Decision], ledger: Ledger) -> None:
        """See Observer."""
        for decision in decisions:
            if decision.letter is not None and decision.letter.code in RECORDED_CODES:
                self._record_dead_letter(agent, decision)

    def _record_dead_letter(self, agent: AgentRef, decision: Decision) -> None:
        """Count a dead letter: the first one of a code is recorded at once, those of the next minute together."""
        assert decision.letter is not None
        code, note = decision.letter.code, _cause(agent, decision)
        if (letters := self._letters.get((agent, code))) is not None:
            letters.count, letters.note = letters.count + 1, note
            return
        self._record_dead_letters(agent, code, 1, note)

    def _record_dead_letters(self, agent: AgentRef, code: str, count: int, note: str) -> None:
        events = (
            "an event was dead-lettered" if count == 1 else f"{count} events were dead-lettered, the last"
        )
        self._enqueue(agent, "Warning", code, "Decide", f"{events} {note}")
        timer = asyncio.get_running_loop().call_later(self._every, self._ring, agent, code)
        self._letters[agent, code] = _DeadLetterCount(timer)

    def _ring(self, agent: AgentRef, code: str) -> None:
        letters = self._letters.pop((agent, code))
        if letters.count:
            self._record_dead_letters(agent, code, letters.count, letters.note)

    def _enqueue(
        self, agent: AgentRef, type_: Literal["Normal", "Warning"], reason: str, action: str, note: str
    ) -> None:
        """Queue an Event, best effort."""
        if len(self._writes) >= MAX_QUEUED_EVENTS:
            log.warning(
                "too many Kubernetes Events wait, one is dropped",
                extra={"agent": str(agent), "reason": reason},
            )
            return
        writing = asyncio.create_task(
            self._create(
                build_kubernetes_event(agent, type_, reason, action, note, timestamp(), self._instance)
            )
        )
        self._writes.add(writing)
        writing.add_done_callback(self._writes.discard)

    async def _create(self, event: Mapping[str, Any]) -> None:
        """Create an Event. Its derived name makes a retry idempotent."""
        path = f"{CORE_API}/namespaces/{event['metadata']['namespace']}/events"
        for delay in (*RETRY_DELAYS_S, None):
            try:
                async with self._slots:
                    await self._api.create(path, event)
                return
            except ApiError as error:
                if error.already_exists:
                    return
                again = error.is_unanswered or error.status in (409, 429)
                if delay is None or not again:
                    extra = {
                        "agent": event["involvedObject"]["name"],
                        "reason": event["reason"],
                        "error": str(error),
                    }
                    log.warning("cannot create a Kubernetes Event", extra=extra)
                    return
            await asyncio.sleep(delay)


def build_kubernetes_event(
    agent: AgentRef, type_: str, reason: str, action: str, note: str, at: str, instance: str
) -> dict[str, Any]:
    """An Event (core/v1) on an Agent, at a time (RFC 3339, microseconds). Its name follows from the rest."""
    identity = names.digest(agent.uid, type_, reason, note, at, size=8)
    second = at[:19] + "Z"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": agent.namespace, "name": f"{agent.name}.{identity}"},
        "eventTime": at,
        "firstTimestamp": second,
        "lastTimestamp": second,
        "count": 1,
        "type": type_,
        "reason": reason,
        "action": action,
        "message": _short(note) or reason,
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "namespace": agent.namespace,
            "name": agent.name,
            "uid": agent.uid,
        },
        "source": {"component": REPORTING_CONTROLLER},
        "reportingComponent": REPORTING_CONTROLLER,  # as core/v1 calls the reportingController
        "reportingInstance": instance,
    }


def _describe(ready: Condition) -> tuple[Any, ...]:
    """What makes a condition worth an Event: for a manifest that may not run, also its message."""
    reason = ready.get("reason")
    return ready.get("status"), reason, ready.get("message") if reason in REJECTED else None


def _cause(agent: AgentRef, decision: Decision) -> str:
    """The cause of a dead letter, without the event's data."""
    assert decision.letter is not None
    letter = decision.letter
    handler = f" by handler {letter.handler}" if letter.handler else ""
    cause = f": {letter.message}" if RECORDED_CODES[letter.code] else ""
    remedy = f"heed dead list -n {agent.namespace} --agent {agent.name} --code {letter.code}"
    return f"at sequence {decision.received.sequence}{handler}{cause}; see `{remedy}`"


def _short(note: str) -> str:
    """A text of at most MAX_EVENT_MESSAGE_BYTES bytes."""
    raw = note.encode(errors="replace")
    return (
        note
        if len(raw) <= MAX_EVENT_MESSAGE_BYTES
        else raw[: MAX_EVENT_MESSAGE_BYTES - 3].decode(errors="ignore") + "…"
    )
