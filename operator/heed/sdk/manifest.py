"""The manifest of an Agent in Python: what `heed build` writes, and what the operator runs."""

import hashlib
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heed import names
from heed.core.type_patterns import covers
from heed.sdk.agent import Agent
from heed.sdk.events import AnyEvent, Event
from heed.sdk.handlers import Handler
from heed.sdk.mentions import find_mentions
from heed.sdk.task_declarations import to_label
from heed.sdk.tasks import FunctionTask, TaskEvent


def build_agent(agent: Agent) -> dict[str, Any]:
    """The Agent as a manifest."""
    metadata = {"name": agent.name} | ({} if agent.namespace is None else {"namespace": agent.namespace})
    spec: dict[str, Any] = {}
    if subscriptions := [*agent.subscriptions, *({"type": item} for item in find_unsubscribed(agent))]:
        spec["subscribe"] = subscriptions
    if agent.session:
        spec["session"] = dict(agent.session)
    if agent.tasks:
        spec["tasks"] = {name: task.manifest() for name, task in agent.tasks.items()}
    if agent.timers:
        spec["timers"] = {name: dict(timer) for name, timer in agent.timers.items()}
    spec["worker"] = {"digest": code_digest(agent)}
    spec["handlers"] = [_handler(item) for item in agent.handlers.values()]
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": spec}


def find_unsubscribed(agent: Agent) -> list[str]:
    """The type patterns of the Agent's handlers that no subscription of its own covers."""
    found = [
        handler.pattern
        for handler in agent.handlers.values()
        if not isinstance(handler.trigger, TaskEvent) and not names.is_reserved(handler.pattern)
    ]
    own = [item["type"] for item in agent.subscriptions]
    return [item for item in dict.fromkeys(found) if not any(covers(wide, item) for wide in own)]


def _handler(handler: Handler) -> dict[str, Any]:
    call: dict[str, Any] = {
        "function": handler.name,
        "emits": list(dict.fromkeys(item.event_type for item in handler.emits)),
        "starts": [item.name for item in handler.starts],
        "pending": handler.reads_pending,
    }
    conditions = [handler.when] if handler.when else []
    if isinstance(handler.trigger, TaskEvent):
        conditions.insert(0, f"task.name == '{handler.trigger.task.name}'")
    made: dict[str, Any] = {"name": to_label(handler.name), "type": handler.pattern}
    if conditions:
        made["when"] = (
            conditions[0] if len(conditions) == 1 else " && ".join(f"({item})" for item in conditions)
        )
    return {**made, "call": {key: value for key, value in call.items() if value}}


def build_event_types(agent: Agent) -> list[dict[str, Any]]:
    """The EventTypes, with JSON Schemas, of what the Agent heeds and emits; of types with wildcards there are none."""
    return [_event_type(item, agent.namespace) for item in find_events(agent)]


def find_events(agent: Agent) -> list[type[Event]]:
    """The classes of the events that the Agent heeds, then those that it emits, each once."""
    heeded = [item.trigger for item in agent.handlers.values() if isinstance(item.trigger, type)]
    emitted = [type_ for item in agent.handlers.values() for type_ in item.emits]
    first: dict[str, type[Event]] = {}
    for item in filter(_has_schema, [*heeded, *emitted]):
        first.setdefault(item.event_type, item)
    return list(first.values())


def _has_schema(item: type[Event]) -> bool:
    own = names.is_reserved(item.event_type) or issubclass(item, AnyEvent)
    return not own and names.is_type(item.event_type)


def _event_type(item: type[Event], namespace: str | None) -> dict[str, Any]:
    name = re.sub(r"[^a-z0-9]+", "-", item.event_type.lower()).strip("-")
    metadata = {"name": name[:63].strip("-")} | ({} if namespace is None else {"namespace": namespace})
    summary = describe(item)
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.EVENT_TYPE,
        "metadata": metadata,
        "spec": {
            "type": item.event_type,
            **({"description": summary} if summary else {}),
            "schema": event_schema(item),
        },
    }


def describe(item: type[Event]) -> str:
    """What an event is: the first paragraph of its class's own docstring, in one line."""
    own = item.__dict__.get("__doc__")
    return " ".join(inspect.cleandoc(own).split("\n\n")[0].split()) if own else ""


def event_schema(item: type[Event]) -> dict[str, Any]:
    """The JSON Schema of an event's data."""
    schema = item.model_json_schema(by_alias=True)
    schema.pop("description", None)
    return dict(without_titles(schema))


def without_titles(schema: Any) -> Any:
    """A schema without the titles that pydantic makes of names."""
    if isinstance(schema, Mapping):
        return {
            key: without_titles(value)
            for key, value in schema.items()
            if not (key == "title" and isinstance(value, str))
        }
    return [without_titles(item) for item in schema] if isinstance(schema, list) else schema


def code_digest(agent: Agent) -> str:
    """A digest of the user's files that the Agent's functions stand in, and reach by name: 16 hex digits.

    It is the same wherever the files lie, and by whatever name they were imported.
    """
    functions = [item.function for item in agent.handlers.values()]
    functions += [task.function for task in agent.tasks.values() if isinstance(task, FunctionTask)]
    files = {Path(file).resolve() for item in functions for file in find_mentions(item, agent.state).files}
    files.add(Path(agent.place.file).resolve())
    sources = sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file())
    return hashlib.sha256(" ".join(sources).encode()).hexdigest()[:16]
