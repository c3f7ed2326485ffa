"""The condition `Accepted` of policies, grants and types, from a judgement. Pure: `accepted_writer` writes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from heed.api.conditions import Status, changed_members, new_condition, set_condition

Body = Mapping[str, Any]
ACCEPTED: Final = "Accepted"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether an object is in force. `reason` is CamelCase: Accepted, Invalid or Conflict.

    `members` are further members of its status.
    """

    accepted: bool
    reason: str
    message: str
    members: Mapping[str, Any] = field(default_factory=dict)


def accepted_patch(body: Body, judgement: Judgement, at: str) -> dict[str, Any] | None:
    """The status patch for a judgement at a time (RFC 3339); None where nothing changes."""
    old, generation = body.get("status") or {}, body["metadata"].get("generation", 0)
    status: Status = "True" if judgement.accepted else "False"
    condition = new_condition(
        ACCEPTED, status, judgement.reason, judgement.message, at=at, generation=generation
    )
    new: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": set_condition(old.get("conditions") or [], condition),
        **judgement.members,
    }
    return changed_members(old, new)
