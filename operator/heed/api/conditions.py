"""Conditions by the Kubernetes API conventions: the reconciler's word on an Agent."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

READY: Final = "Ready"
MAX_MESSAGE: Final = 4096


class Condition(BaseModel):
    """One aspect of an object's state (metav1.Condition)."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    type: Annotated[str, Field(description="Its name, in CamelCase.")]
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="Whether it holds.")]
    reason: Annotated[str, Field(description="Why, in CamelCase, for machines.")]
    message: Annotated[str, Field(description="Why, for people; with what to do about it.")] = ""
    last_transition_time: Annotated[
        str, Field(description="When `status` last changed.", json_schema_extra={"format": "date-time"})
    ]
    observed_generation: Annotated[int, Field(description="The generation it speaks of.")] = 0


def with_condition(conditions: Sequence[Mapping[str, Any]], new: Condition) -> list[dict[str, Any]]:
    """The conditions with `new` in place of its like; a status that did not change keeps its transition time."""
    others = [dict(item) for item in conditions if item.get("type") != new.type]
    for item in conditions:
        if (
            item.get("type") == new.type
            and item.get("status") == new.status
            and item.get("lastTransitionTime")
        ):
            new = new.model_copy(update={"last_transition_time": item["lastTransitionTime"]})
    return [*others, new.model_dump(by_alias=True)]
