"""AsyncAPI 3.0 of Agents in Python: the NATS subjects of what they heed and emit, with the schemas of the data."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from heed import names
from heed.sdk.agent import Agent
from heed.sdk.events import Event
from heed.sdk.manifest import describe, find_events, find_unsubscribed, without_titles

VERSION: Final = "3.0.0"
DEFAULT_NAMESPACE: Final = "default"

_HEADERS: Final = ("ce-specversion", "ce-id", "ce-source", "ce-type")  # of the binary form of CloudEvents


def build_asyncapi(agents: Sequence[Agent]) -> dict[str, Any]:
    """What these Agents receive and send, of one module: an AsyncAPI document."""
    events = {item.event_type: item for agent in reversed(agents) for item in find_events(agent)}
    references, schemas = _schemas(events.values())
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for agent in agents:
        for action, namespace, pattern in _uses(agent):
            key = _key(f"{namespace}.{pattern}")
            channels.setdefault(key, _channel(namespace, pattern))
            messages.setdefault(_key(pattern), _message(pattern, events.get(pattern), references))
            operations[_key(f"{agent.name}.{action}.{namespace}.{pattern}")] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{key}"},
                "messages": [{"$ref": f"#/channels/{key}/messages/{_key(pattern)}"}],
                "tags": [{"name": agent.name}],
            }
    title = ", ".join(agent.name for agent in agents)
    return {
        "asyncapi": VERSION,
        "info": {"title": title, "version": "1.0.0", "description": f"Events of {title} on NATS JetStream."},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages} | ({"schemas": schemas} if schemas else {}),
    }


def _schemas(events: Iterable[type[Event]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """References to the schemas of events by their types, and all schemas by their names."""
    models = list(events)
    found, definitions = models_json_schema(
        [(item, "validation") for item in models], ref_template="#/components/schemas/{model}"
    )
    references = {item.event_type: found[item, "validation"] for item in models}
    return references, dict(without_titles(definitions.get("$defs", {})))


def _uses(agent: Agent) -> Iterator[tuple[str, str, str]]:
    """(receive | send, namespace, type pattern) of what an Agent heeds and emits, without what Heed itself says."""
    own = agent.namespace or DEFAULT_NAMESPACE
    heeded = [("receive", item.get("namespace", own), item["type"]) for item in agent.subscriptions]
    heeded += [("receive", own, pattern) for pattern in find_unsubscribed(agent)]
    emitted = [
        ("send", own, item.event_type) for handler in agent.handlers.values() for item in handler.emits
    ]
    yield from dict.fromkeys([*heeded, *emitted])


def _channel(namespace: str, pattern: str) -> dict[str, Any]:
    """The subject of a type; in one of a pattern each wildcard is a parameter."""
    tokens, parameters = [], {}
    for index, token in enumerate(pattern.split("."), 1):
        if token in ("*", ">"):
            name = f"token{index}" if token == "*" else "rest"
            parameters[name] = {"description": "One token." if token == "*" else "One token or more."}
            token = f"{{{name}}}"
        tokens.append(token)
    subject = names.event_subject(namespace, ".".join(tokens))
    channel: dict[str, Any] = {
        "address": subject,
        "messages": {_key(pattern): {"$ref": f"#/components/messages/{_key(pattern)}"}},
    }
    return channel | ({"parameters": parameters} if parameters else {})


def _message(pattern: str, event: type[Event] | None, references: Mapping[str, Any]) -> dict[str, Any]:
    """A CloudEvent in binary form: its attributes in the headers, the data as the payload."""
    properties: dict[str, Any] = {name: {"type": "string"} for name in _HEADERS}
    if names.is_type(pattern):
        properties["ce-type"] = {"type": "string", "const": pattern}
    message: dict[str, Any] = {
        "name": pattern,
        "headers": {"type": "object", "required": list(_HEADERS), "properties": properties},
    }
    if event is not None:
        message["payload"] = references[pattern]
        if summary := describe(event):
            message["summary"] = summary
    return message


def _key(text: str) -> str:
    """A text as the key of a map in AsyncAPI."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text.replace("*", "any").replace(">", "rest"))
