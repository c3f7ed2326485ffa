"""Conditions of an Agent's status, by the Kubernetes API conventions (metav1.Condition).

`Ready`, `WorkerReady`, `TasksStuck`, `Suspended` and `RateLimited` are the reconciler's words. The others follow from
the ledger and are written with it.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

READY: Final = "Ready"
WORKER_READY: Final = "WorkerReady"
SATURATED: Final = "Saturated"
EVENTS_EXPIRED: Final = "EventsExpired"
TASKS_STUCK: Final = "TasksStuck"
TASKS_RUN: Final = "TasksRun"  # its reason where it is over
SUSPENDED: Final = "Suspended"
RATE_LIMITED: Final = "RateLimited"
MAX_CONDITION_CHARS: Final = 4096

Status = Literal["True", "False", "Unknown"]
Item = Mapping[str, Any]


class Condition(BaseModel):
    """One aspect of an object's state (metav1.Condition)."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    type: Annotated[str, Field(description="Its name, in CamelCase.")]
    status: Annotated[Status, Field(description="Whether it holds.")]
    reason: Annotated[str, Field(description="Why, in CamelCase, for machines.")]
    message: Annotated[str, Field(description="Why, for people; with what to do about it.")] = ""
    last_transition_time: Annotated[
        str, Field(description="When `status` last changed.", json_schema_extra={"format": "date-time"})
    ]
    observed_generation: Annotated[int, Field(description="The generation it speaks of.")] = 0


def new_condition(
    type_: str, status: Status, reason: str, message: str, *, at: str, generation: int
) -> Condition:
    """A condition of a generation whose status is new at a time (RFC 3339, cut to seconds); a long message is cut."""
    return Condition(
        type=type_,
        status=status,
        reason=reason,
        message=message[:MAX_CONDITION_CHARS],
        last_transition_time=at[:19] + "Z",
        observed_generation=generation,
    )


def set_condition(conditions: Sequence[Item], new: Condition) -> list[dict[str, Any]]:
    """The conditions with `new` in place of its type's; lastTransitionTime is kept where `status` is unchanged."""
    old = find_condition(conditions, new.type)
    if old is not None and old.get("status") == new.status and old.get("lastTransitionTime"):
        new = new.model_copy(update={"last_transition_time": old["lastTransitionTime"]})
    written = new.model_dump(by_alias=True)
    if old is None:
        return [*map(dict, conditions), written]
    return [written if item is old else dict(item) for item in conditions]


def find_condition(conditions: Sequence[Item], type_: str) -> Item | None:
    """The condition of a type, if there is one."""
    return next((item for item in conditions if item.get("type") == type_), None)


def changed_members(old: Item, new: dict[str, Any]) -> dict[str, Any] | None:
    """The new members of a status, to be written; None where the old one has them all."""
    return new if any(old.get(name) != value for name, value in new.items()) else None


def saturated_condition(
    conditions: Sequence[Item], waiting: int, at: str, generation: int
) -> Condition | None:
    """The condition Saturated for `waiting` deferred events; None where it would not change."""
    old = find_condition(conditions, SATURATED)
    if waiting:
        events = "1 event waits" if waiting == 1 else f"{waiting} events wait"
        remedy = "end sessions, remember less in each, or give them a shorter idleTimeout"
        message = f"{events} in the stream until the status has room for more sessions; {remedy}"
        new = new_condition(
            SATURATED, "True", reason="WaitingForRoom", message=message, at=at, generation=generation
        )
        return new if _is_news(old, new) else None
    if old is None:
        return None
    room = new_condition(
        SATURATED, "False", reason="Room", message="no event waits", at=at, generation=generation
    )
    return room if _is_news(old, room) else None


def expired_condition(
    conditions: Sequence[Item], count: int, lately: str | None, at: str, generation: int
) -> Condition | None:
    """The condition EventsExpired for `count` sequences that the stream dropped unread; None where it would not change.

    `lately` says where in the stream, if more of them have just been found.
    """
    old = find_condition(conditions, EVENTS_EXPIRED)
    said = f"the stream dropped at most {count} of the Agent's events before they were read"
    if not count or (lately is None and old is not None and str(old.get("message")).startswith(said)):
        return None
    remedy = (
        "publish them again if they matter, and give the stream room for longer outages: "
        "HEED_STREAM_MAX_AGE, HEED_STREAM_MAX_BYTES"
    )
    message = f"{said}{f', lately {lately}' if lately else ''}; {remedy}"
    return new_condition(
        EVENTS_EXPIRED, "True", reason="DroppedByStream", message=message, at=at, generation=generation
    )


def _is_news(old: Item | None, new: Condition) -> bool:
    said = (new.status, new.reason, new.message)
    return old is None or (old.get("status"), old.get("reason"), old.get("message")) != said
