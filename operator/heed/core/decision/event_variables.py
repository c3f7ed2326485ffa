"""What the expressions of an Agent see of the event and of the Agent."""

import base64
from typing import Any

from heed.core.codec.strict_json import Unreadable, check_no_nul
from heed.core.compiler.program import Program
from heed.core.events import Event
from heed.errors import DecisionFailed


def build_event_variable(event: Event) -> dict[str, Any]:
    """The `event` of expressions: its attributes and `data`; correlationid falls back to the id.

    Bytes are given as base64, as in JSON: CEL's binding would cut them off at their first zero. Text with a zero is
    refused. Raises DecisionFailed.
    """
    refuse_zeros(event.data)
    attributes = {
        "subject": event.subject,
        "time": event.time,
        "datacontenttype": event.datacontenttype,
        "dataschema": event.dataschema,
    }
    return {
        **event.extensions,
        **{name: value for name, value in attributes.items() if value is not None},
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "specversion": "1.0",
        "correlationid": event.correlationid,
        "data": base64.b64encode(event.data).decode() if isinstance(event.data, bytes) else event.data,
    }


def build_agent_variable(program: Program) -> dict[str, Any]:
    """The `agent` of expressions."""
    return {
        "name": program.agent.name,
        "namespace": program.agent.namespace,
        "labels": dict(program.labels),
    }


def build_variables(program: Program, event: Event) -> dict[str, Any]:
    """What expressions see of an event and of the Agent. `task` and `input` are empty; `admit` adds those of a task."""
    return {
        "event": build_event_variable(event),
        "agent": build_agent_variable(program),
        "task": {},
        "input": {},
    }


def refuse_zeros(value: Any, prefix: str = "") -> None:
    """Raise DecisionFailed where a text holds U+0000, at which CEL's binding would cut it off."""
    try:
        check_no_nul(value)
    except Unreadable as error:
        raise DecisionFailed(error.code, f"{prefix}{error}") from None
