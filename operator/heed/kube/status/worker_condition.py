"""The condition WorkerReady: whether the workers that Heed keeps for an Agent are there. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from heed.api.conditions import (
    MAX_CONDITION_CHARS,
    WORKER_READY,
    Status,
    find_condition,
    new_condition,
    set_condition,
)
from heed.kube.status.loop_health import Undecided


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What the condition says."""

    status: Status
    reason: str
    message: str


EXTERNAL: Final = WorkerState(
    "Unknown", "External", "workers are run elsewhere; Ready says whether they answer"
)
WorkerVerdict = WorkerState | Undecided | None  # None: there is nothing to say


def read_worker_state(body: Mapping[str, Any]) -> WorkerState | None:
    """What an Agent's status says of its workers."""
    found = find_condition((body.get("status") or {}).get("conditions") or [], WORKER_READY)
    if found is None:
        return None
    return WorkerState(found["status"], str(found.get("reason")), str(found.get("message", "")))


def is_said(known: WorkerState | None, verdict: WorkerVerdict) -> bool:
    """Whether the condition says it."""
    return isinstance(verdict, Undecided) or known == _short(verdict)


def with_workers(
    conditions: list[dict[str, Any]], verdict: WorkerVerdict, at: str, generation: int
) -> list[dict[str, Any]]:
    """The conditions with that of workers; without it, where there are none."""
    if isinstance(verdict, Undecided):
        return conditions
    if verdict is None:
        return [item for item in conditions if item.get("type") != WORKER_READY]
    new = new_condition(
        WORKER_READY, verdict.status, verdict.reason, verdict.message, at=at, generation=generation
    )
    return set_condition(conditions, new)


def _short(state: WorkerState | None) -> WorkerState | None:
    return state and WorkerState(state.status, state.reason, state.message[:MAX_CONDITION_CHARS])
