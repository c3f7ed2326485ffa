"""What the reconciler says in an Agent's status: `Ready`, `TasksStuck`, and the spec that it fell back to.

The conditions are one list with two writers, this one and the ledger's commits, so a write is based on a fresh reading
and fenced by its version; the Agent's ledger is told, and goes on from there. What is wanted is compared with what is
known to be there, from our own writes and from the watch, so nothing is read or written without need.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from kubernetes.aio.utils import retry

from heed.api.conditions import (
    MAX_CONDITION_CHARS,
    READY,
    TASKS_RUN,
    TASKS_STUCK,
    Condition,
    find_condition,
    set_condition,
)
from heed.core.effects import AgentRef
from heed.errors import INVALID, NOT_GRANTED, POLICY_VIOLATION
from heed.kube.client.client import ApiError, KubeApi, agent_path
from heed.kube.status.loop_health import Undecided, Verdict
from heed.kube.status.reasons import Trouble, remedy_of
from heed.util.aio import stop
from heed.util.backoff import Backoff
from heed.util.clock import loop_time, timestamp

log = logging.getLogger("heed.fleet")
Body = Mapping[str, Any]
Rewrote = Callable[[AgentRef, str, Mapping[str, Any]], None]  # from which version, to which object
Refused = Callable[[AgentRef, str, str], None]  # reason and note of an Event
Became = Callable[[AgentRef, Mapping[str, Any] | None, Mapping[str, Any]], None]
AT_ONCE: Final = 16  # writes of all Agents together
REJECTED: Final = frozenset((INVALID, POLICY_VIOLATION, NOT_GRANTED))  # the manifest, not what the loop does
WRITE_BACKOFF = Backoff(first_s=1.0, last_s=30.0)
TELL_AGAIN_S: Final = 1800.0  # Kubernetes keeps Events for an hour
MAX_SAID: Final = 200  # characters, so that an Event has room for the rest
CONFLICTS: Final = retry.Backoff(
    steps=8, duration=0.01, factor=1.5, jitter=1.0
)  # a busy loop writes all the time


@dataclass(frozen=True, slots=True)
class Word:
    """What is to be said of a generation. Not `settled`: a Ready that is False because of the loop stays as it is.

    `tasks` is what there is to say of tasks that do not get to run.
    """

    generation: int
    status: Literal["True", "False"]
    reason: str
    message: str
    last_valid_spec: str | None = None
    settled: bool = True
    tasks: Verdict = None

    def beside(self, tasks: Verdict) -> "Word":
        """The same with what is known of the Agent's tasks."""
        return self if self.tasks == tasks else replace(self, tasks=tasks)

    def under(self, verdict: Verdict) -> "Word":
        """The same with what is known of the loop. An invalid spec is worse than any trouble."""
        if self.status == "False":
            return self
        match verdict:
            case Undecided():
                return replace(self, settled=False)
            case Trouble(reason=reason, message=message):
                return replace(self, status="False", reason=reason, message=message)
        return self


@dataclass(frozen=True, slots=True)
class Known:
    """What is in an Agent's status, as of a version."""

    version: int
    generation: int
    status: str | None
    reason: str | None
    message: str | None = None
    tasks: Trouble | None = None  # that are stuck

    def says(self, word: Word) -> bool:
        """Whether a word has been heard. Other words for the same reason are no news, unless that is the manifest."""
        if not isinstance(word.tasks, Undecided) and self.tasks != _short(word.tasks):
            return False
        if self.generation != word.generation or self.status is None:
            return False
        if self.reason in REJECTED:  # also as long as nothing is known of the loop
            return (self.reason, self.message) == (word.reason, word.message[:MAX_CONDITION_CHARS])
        return not word.settled or (self.status, self.reason) == (word.status, word.reason)


def known(body: Body) -> Known:
    """What an Agent's object says."""
    status = body.get("status") or {}
    ready = find_condition(status.get("conditions") or [], READY) or {}
    generation = status.get("observedGeneration", 0)
    status_, reason, message = (ready.get(name) for name in ("status", "reason", "message"))
    return Known(version(body), generation, status_, reason, message, stuck_tasks(body))


def stuck_tasks(body: Body) -> Trouble | None:
    """What an Agent's object says of tasks that do not get to run."""
    found = find_condition((body.get("status") or {}).get("conditions") or [], TASKS_STUCK) or {}
    if found.get("status") != "True":
        return None
    return Trouble(str(found.get("reason")), str(found.get("message")))


def _short(trouble: Trouble | None) -> Trouble | None:
    """A trouble as a condition holds it."""
    return trouble and Trouble(trouble.reason, trouble.message[:MAX_CONDITION_CHARS])


def version(body: Body) -> int:
    """An object's resourceVersion: those of one kind grow with every write (Kubernetes 1.35, KEP-5504)."""
    text = str(body["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdecimal() else 0


def changes(body: Body, word: Word, at: str) -> dict[str, Any] | None:
    """The members of an Agent's status that a word changes, at a time (RFC 3339). None: nothing."""
    old = body.get("status") or {}
    conditions = old.get("conditions") or []
    ready = find_condition(conditions, READY)
    if (
        not word.settled
        and ready is not None
        and ready.get("status") == "False"
        and ready["reason"] not in REJECTED
    ):
        word = replace(word, status="False", reason=ready["reason"], message=ready.get("message", ""))
    condition = Condition(
        type=READY,
        status=word.status,
        reason=word.reason,
        message=word.message[:MAX_CONDITION_CHARS],
        last_transition_time=at[:19] + "Z",
        observed_generation=word.generation,
    )
    new: dict[str, Any] = {
        "observedGeneration": word.generation,
        "conditions": _with_tasks(set_condition(conditions, condition), word, at),
        "lastValidSpec": word.last_valid_spec,
    }
    return new if any(old.get(key) != value for key, value in new.items()) else None


def _with_tasks(conditions: list[dict[str, Any]], word: Word, at: str) -> list[dict[str, Any]]:
    """The conditions with what there is to say of the tasks; nothing as long as none was ever stuck."""
    tasks = word.tasks
    if isinstance(tasks, Undecided) or (tasks is None and find_condition(conditions, TASKS_STUCK) is None):
        return conditions
    new = Condition(
        type=TASKS_STUCK,
        status="False" if tasks is None else "True",
        reason=TASKS_RUN if tasks is None else tasks.reason,
        message="every task has a pod that runs, or waits for one not long"
        if tasks is None
        else tasks.message,
        last_transition_time=at[:19] + "Z",
        observed_generation=word.generation,
    )
    old = find_condition(conditions, TASKS_STUCK)
    if tasks is None and old is not None and old.get("status") == "False":
        return conditions
    return set_condition(conditions, new.model_copy(update={"message": new.message[:MAX_CONDITION_CHARS]}))


def is_refusal(error: BaseException) -> bool:
    """Whether the API server will not have a write as it is: neither away nor busy, and nobody came before it."""
    return (
        isinstance(error, ApiError) and 400 <= error.status < 500 and error.status not in (404, 408, 409, 429)
    )


def _untold(agent: AgentRef, reason: str, note: str) -> None:
    """Nobody wants to know."""


def _nobody(agent: AgentRef, before: Mapping[str, Any] | None, ready: Mapping[str, Any]) -> None:
    """Nobody wants to know."""


def _unheard(agent: AgentRef, before: str, body: Mapping[str, Any]) -> None:
    """No ledger is open."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What the API server says against a status, and when that was told last (monotonic)."""

    told: float
    error: str


class Saying:
    """Writes what is wanted of each Agent until it is there, or not wanted any more.

    `became` is told of every write: of which Agent, and what each condition was before and is now. So is
    `rewrote`: which version of the object it was based on, and the object that it made. `refused` is told what the
    API server does not let be written, as the condition cannot say that.
    """

    def __init__(
        self,
        api: KubeApi,
        wanted: Callable[[AgentRef], Word | None],
        between: float,
        became: Became = _nobody,
    ) -> None:
        self._api, self._wanted, self._between, self._became = api, wanted, between, became
        self.rewrote: Rewrote = _unheard
        self._known: dict[AgentRef, Known] = {}
        self._writers: dict[AgentRef, asyncio.Task[None]] = {}
        self._written: dict[AgentRef, float] = {}
        self._refusals: dict[AgentRef, _Refusal] = {}
        self.refused: Refused = _untold
        self._room = asyncio.Semaphore(AT_ONCE)

    def begin(self, agent: AgentRef, body: Body) -> None:
        """A generation begins, seen as `body`: what is there is compared word by word."""
        word = self._wanted(agent)
        if word is None or changes(body, word, timestamp()) is None:
            self._learn(agent, body)
        else:
            self._known.pop(agent, None)
        self.look(agent)

    def hear(self, agent: AgentRef, body: Body) -> None:
        """An Agent was seen. What someone else made of the condition is put right."""
        self._learn(agent, body)
        self.look(agent)

    def look(self, agent: AgentRef) -> None:
        """What is wanted may have changed."""
        if agent not in self._writers and self._news(agent) is not None:
            self._writers[agent] = asyncio.create_task(self._say(agent))

    def look_at_all(self) -> None:
        """What is wanted of every Agent may have changed."""
        for agent in list(self._known):
            self.look(agent)

    def ready(self, agent: AgentRef) -> tuple[str, str]:
        """Status and reason of the condition: what is wanted, and as long as that is open what is there."""
        word, there = self._wanted(agent), self._known.get(agent)
        if word is None:
            return "Unknown", "Unknown"
        if word.settled or there is None or there.status is None:
            return word.status, word.reason
        return there.status, there.reason or "Unknown"

    def is_refused(self, agent: AgentRef) -> bool:
        """Whether the API server refuses what is to be said of an Agent."""
        return agent in self._refusals

    def unwritten(self) -> str | None:
        """Of how many Agents the status is refused, with one of them and why; None where of none."""
        if not (refusals := self._refusals):
            return None
        agent, refusal = next(iter(refusals.items()))
        many = "1 agent" if len(refusals) == 1 else f"{len(refusals)} agents, such as"
        return f"cannot write the status of {many}: {agent}: {refusal.error}"

    async def forget(self, agent: AgentRef) -> None:
        """An Agent is gone."""
        if (writer := self._writers.get(agent)) is not None:
            await stop(writer)
        self._writers.pop(agent, None)
        self._known.pop(agent, None)
        self._written.pop(agent, None)

    async def close(self) -> None:
        """Stop."""
        await asyncio.gather(*(self.forget(agent) for agent in list(self._writers)))

    def _learn(self, agent: AgentRef, body: Body) -> None:
        heard, before = known(body), self._known.get(agent)
        if before is None or heard.version >= before.version:
            self._known[agent] = heard

    def _news(self, agent: AgentRef) -> Word | None:
        """The word that is wanted, where it is not known to be there."""
        word, there = self._wanted(agent), self._known.get(agent)
        return None if word is None or (there is not None and there.says(word)) else word

    async def _say(self, agent: AgentRef) -> None:
        failures = 0
        try:
            while (word := self._news(agent)) is not None:
                if (pause := self._pause(agent, word)) > 0:
                    await asyncio.sleep(pause)
                    continue
                try:
                    if not await self._write(agent):
                        return
                    self._refusals.pop(agent, None)
                    failures = 0
                except Exception as error:  # also a mistake of ours: it must not end what is to be said later
                    failures += 1
                    delay = WRITE_BACKOFF.delay(failures)
                    _complain(agent, word, error, delay)
                    self._note(agent, word, error)
                    await asyncio.sleep(delay)
        finally:
            self._refusals.pop(agent, None)
            self._writers.pop(agent, None)  # without a turn of others since the last look at what is wanted

    def _note(self, agent: AgentRef, word: Word, error: Exception) -> None:
        """A write failed: where that is a refusal, tell of it now, and now and then as long as it lasts."""
        if not (isinstance(error, ApiError) and is_refusal(error)):
            return
        now = loop_time()
        before = self._refusals.get(agent)
        told = before.told if before is not None and now < before.told + TELL_AGAIN_S else now
        self._refusals[agent] = _Refusal(told, str(error))
        if told == now:
            remedy = remedy_of(error)
            said = f"{word.status} ({word.reason}: {word.message[:MAX_SAID]})"
            note = f"the condition Ready={said} cannot be written: {error}"
            self.refused(agent, "StatusRefused", f"{note}; {remedy}" if remedy else note)

    def _pause(self, agent: AgentRef, word: Word) -> float:
        """Seconds until an Agent's condition may be written again; another generation does not wait."""
        there = self._known.get(agent)
        if there is None or there.generation != word.generation or agent not in self._written:
            return 0.0
        return self._written[agent] + self._between - loop_time()

    async def _write(self, agent: AgentRef) -> bool:
        """Write what is wanted when its turn comes. False where the Agent is gone. Raises ApiError."""
        async with self._room:
            if self._news(agent) is None:
                return True
            try:
                return await retry.retry_on_conflict(lambda: self._read_and_write(agent), CONFLICTS)
            except ApiError as error:
                if error.status == 404:
                    return False
                raise

    async def _read_and_write(self, agent: AgentRef) -> bool:
        body = (await self._api.get(agent_path(agent.namespace, agent.name))).body
        metadata = body["metadata"]
        if metadata["uid"] != agent.uid:
            return False
        self._learn(agent, body)
        if (word := self._news(agent)) is None or (status := changes(body, word, timestamp())) is None:
            return True
        fence = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        path = agent_path(agent.namespace, agent.name, "status")
        answer = await self._api.merge(path, {"metadata": fence, "status": status})
        self.rewrote(agent, fence["resourceVersion"], answer.body)
        self._learn(agent, answer.body)
        self._written[agent] = loop_time()
        before = (body.get("status") or {}).get("conditions") or []
        for type_ in (READY, TASKS_STUCK):
            if (new := find_condition(status["conditions"], type_)) is not None:
                self._became(agent, find_condition(before, type_), new)
        return True


def _complain(agent: AgentRef, word: Word, error: Exception, delay: float) -> None:
    extra = {"agent": str(agent), "reason": word.reason, "error": str(error), "retry_in": delay}
    log.warning("cannot write the condition Ready", extra=extra, exc_info=not isinstance(error, ApiError))
