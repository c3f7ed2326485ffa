"""The `EventType` custom resource, v1alpha1: the JSON Schema and examples of one type of event."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from heed import names
from heed.api.fields import Model
from heed.api.kube_object import KubeObject, parse_object
from heed.api.status import FreeJson, FreeMap

MAX_EXAMPLES: Final = 16
EVENT_TYPE_PATTERN: Final = r"^[^\s.*>]+(\.[^\s.*>]+)*$"


def _exact_type(value: str) -> str:
    if not names.is_type(value):
        raise ValueError(
            "is not an event type; use dot-separated tokens without wildcards, such as com.example.done"
        )
    return value


EventTypeName = Annotated[
    str, Field(pattern=EVENT_TYPE_PATTERN, max_length=names.MAX_TYPE_CHARS), AfterValidator(_exact_type)
]


class EventTypeSpec(Model):
    """The JSON Schema and examples of one event type's data."""

    type: Annotated[EventTypeName, Field(description="The CloudEvents type, without wildcards.")]
    description: Annotated[
        str, Field(max_length=4096, description="What such an event says, for people and their tools.")
    ] = ""
    schema_: Annotated[
        FreeMap,
        Field(
            alias="schema",
            description="JSON Schema 2020-12 of the event's data. References stay within it: nothing is ever fetched.",
        ),
    ]
    examples: list[FreeJson] = Field(
        default_factory=list,
        max_length=MAX_EXAMPLES,
        description="Data as it may be; each must fit the schema.",
    )
    mode: Annotated[
        Literal["Enforce", "Warn"],
        Field(
            description="Enforce: an event that does not fit is dead-lettered. Warn: it is counted and goes on."
        ),
    ] = "Enforce"


class EventType(KubeObject):
    """An EventType: the description, the JSON Schema and examples of one type of event."""

    spec: EventTypeSpec


def parse_event_type(document: Mapping[str, Any]) -> EventType:
    """The EventType of a manifest. Raises InvalidManifest."""
    return parse_object(document, EventType, names.EVENT_TYPE)
