"""The reconciler's part of an Agent's status: its conditions, the address, the last valid spec.

Pure: what is wanted is compared with what is known to be there, and `ready_writer` writes the difference.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from heed.api.conditions import (
    MAX_CONDITION_CHARS,
    RATE_LIMITED,
    READY,
    SUSPENDED,
    TASKS_RUN,
    TASKS_STUCK,
    Status,
    changed_members,
    find_condition,
    new_condition,
    set_condition,
)
from heed.errors import INVALID, NOT_GRANTED, POLICY_VIOLATION
from heed.kube.client.client import resource_version
from heed.kube.status.loop_health import Undecided, Verdict
from heed.kube.status.reasons import Trouble
from heed.kube.status.worker_condition import (
    WorkerState,
    WorkerVerdict,
    is_said,
    read_worker_state,
    with_workers,
)

Body = Mapping[str, Any]
Address = Mapping[str, str] | None  # an AgentAddress as JSON
SUSPENDED_MESSAGE: Final = (
    "spec.suspend is true: events wait in the stream, as long as that keeps them; running tasks go on, and their ends "
    "wait, too; `heed resume` goes on from there"
)
LIMITED_MESSAGE: Final = (
    "spec.rateLimit holds events back: they wait in the stream, and all that comes after them waits, too; raise the "
    "limit if they come faster in the long run"
)
REJECTED: Final = frozenset((INVALID, POLICY_VIOLATION, NOT_GRANTED))  # the manifest, not what the loop does


@dataclass(frozen=True, slots=True)
class WantedConditions:
    """The wanted conditions of a generation. Not `settled`: a Ready that is False because of the loop stays.

    `tasks` is what there is to say of tasks that do not get to run, `suspended` whether no events are read,
    `address` where the gateway takes events for the Agent, `limited` whether the rate limit holds events back,
    `workers` what there is to say of the workers.
    """

    generation: int
    status: Literal["True", "False"]
    reason: str
    message: str
    last_valid_spec: str | None = None
    settled: bool = True
    tasks: Verdict = None
    suspended: bool = False
    address: Address = None
    limited: bool = False
    workers: WorkerVerdict = None

    def with_workers(self, workers: WorkerVerdict) -> "WantedConditions":
        """With what there is to say of the workers."""
        return self if self.workers == workers else replace(self, workers=workers)

    def with_limited(self, limited: bool) -> "WantedConditions":
        """With whether the rate limit holds events back."""
        return self if self.limited == limited else replace(self, limited=limited)

    def with_tasks(self, tasks: Verdict) -> "WantedConditions":
        """With the verdict on the Agent's tasks."""
        return self if self.tasks == tasks else replace(self, tasks=tasks)

    def with_trouble(self, verdict: Verdict) -> "WantedConditions":
        """With the verdict on the loop. An invalid spec takes precedence."""
        if self.status == "False":
            return self
        match verdict:
            case Undecided():
                return replace(self, settled=False)
            case Trouble(reason=reason, message=message):
                return replace(self, status="False", reason=reason, message=message)
        return self


@dataclass(frozen=True, slots=True)
class KnownStatus:
    """The reconciler's part of an Agent's status as of a version."""

    version: int
    generation: int
    status: str | None
    reason: str | None
    message: str | None = None
    tasks: Trouble | None = None  # that are stuck
    suspended: bool = False
    address: Address = None
    limited: bool = False
    workers: WorkerState | None = None

    def has(self, wanted: WantedConditions) -> bool:
        """Whether the wanted conditions are there. A new message of Ready alone counts only for a rejected manifest."""
        if not isinstance(wanted.tasks, Undecided) and self.tasks != _short(wanted.tasks):
            return False
        if self.address != wanted.address or not is_said(self.workers, wanted.workers):
            return False
        if (self.suspended, self.limited) != (wanted.suspended, wanted.limited):
            return False
        if self.generation != wanted.generation or self.status is None:
            return False
        if self.reason in REJECTED:  # also as long as nothing is known of the loop
            return (self.reason, self.message) == (wanted.reason, wanted.message[:MAX_CONDITION_CHARS])
        return not wanted.settled or (self.status, self.reason) == (wanted.status, wanted.reason)


def read_status(body: Body) -> KnownStatus:
    """Read the reconciler's part of an Agent's status."""
    status = body.get("status") or {}
    ready = find_condition(status.get("conditions") or [], READY) or {}
    generation = status.get("observedGeneration", 0)
    status_, reason, message = (ready.get(name) for name in ("status", "reason", "message"))
    return KnownStatus(
        resource_version(body),
        generation,
        status_,
        reason,
        message,
        read_stuck_tasks(body),
        is_true(body, SUSPENDED),
        status.get("address"),
        is_true(body, RATE_LIMITED),
        read_worker_state(body),
    )


def is_true(body: Body, type_: str) -> bool:
    """Whether the condition of a type is there, and True."""
    found = find_condition((body.get("status") or {}).get("conditions") or [], type_) or {}
    return found.get("status") == "True"


def read_stuck_tasks(body: Body) -> Trouble | None:
    """Read the trouble of stuck tasks from an Agent's status."""
    found = find_condition((body.get("status") or {}).get("conditions") or [], TASKS_STUCK) or {}
    if found.get("status") != "True":
        return None
    return Trouble(str(found.get("reason")), str(found.get("message")))


def _short(trouble: Trouble | None) -> Trouble | None:
    """A trouble with its message cut to a condition's limit."""
    return trouble and Trouble(trouble.reason, trouble.message[:MAX_CONDITION_CHARS])


def status_patch(body: Body, wanted: WantedConditions, at: str) -> dict[str, Any] | None:
    """The status patch for wanted conditions at a time (RFC 3339); None where nothing changes."""
    old = body.get("status") or {}
    conditions = old.get("conditions") or []
    ready = find_condition(conditions, READY)
    if (
        not wanted.settled
        and ready is not None
        and ready.get("status") == "False"
        and ready["reason"] not in REJECTED
    ):
        wanted = replace(wanted, status="False", reason=ready["reason"], message=ready.get("message", ""))
    condition = new_condition(
        READY, wanted.status, wanted.reason, wanted.message, at=at, generation=wanted.generation
    )
    said = with_workers(set_condition(conditions, condition), wanted.workers, at, wanted.generation)
    new: dict[str, Any] = {
        "observedGeneration": wanted.generation,
        "conditions": _with_pauses(_with_tasks(said, wanted, at), wanted, at),
        "lastValidSpec": wanted.last_valid_spec,
    }
    if wanted.address is not None or "address" in old:
        new["address"] = wanted.address
    return changed_members(old, new)


def _with_tasks(conditions: list[dict[str, Any]], wanted: WantedConditions, at: str) -> list[dict[str, Any]]:
    """The conditions with TasksStuck, which is absent as long as no task was ever stuck."""
    tasks, old = wanted.tasks, find_condition(conditions, TASKS_STUCK)
    if isinstance(tasks, Undecided):
        return conditions
    if tasks is not None:
        said: tuple[Status, str, str] = ("True", tasks.reason, tasks.message)
    elif old is None or old.get("status") == "False":
        return conditions
    else:
        said = ("False", TASKS_RUN, "every task has a pod that runs, or waits for one not long")
    return set_condition(conditions, new_condition(TASKS_STUCK, *said, at=at, generation=wanted.generation))


def _with_pauses(conditions: list[dict[str, Any]], wanted: WantedConditions, at: str) -> list[dict[str, Any]]:
    """The conditions with Suspended, whose reasons are like a Job's, and RateLimited. Absent as long as never true."""
    pauses: tuple[tuple[str, bool, tuple[str, str], tuple[str, str]], ...] = (
        (
            SUSPENDED,
            wanted.suspended,
            ("AgentSuspended", SUSPENDED_MESSAGE),
            ("AgentResumed", "spec.suspend is not true"),
        ),
        (
            RATE_LIMITED,
            wanted.limited,
            ("EventsHeldBack", LIMITED_MESSAGE),
            ("WithinLimit", "no event is held back"),
        ),
    )
    for type_, holds, there, over in pauses:
        old = find_condition(conditions, type_)
        if holds or (old is not None and old.get("status") != "False"):
            status: Status = "True" if holds else "False"
            said = there if holds else over
            condition = new_condition(type_, status, *said, at=at, generation=wanted.generation)
            conditions = set_condition(conditions, condition)
    return conditions
