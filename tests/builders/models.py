"""Calls of language models, and answers to them."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from heed.core.llm.model_answer import EndpointAnswer
from heed.core.llm.model_call import ModelCall
from heed.core.llm.model_settings import CheckedSchema, ModelSettings, ToolDefinition
from heed.core.llm.transcript import Entry, Prompt

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
ORDER_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"order": {"type": "string"}},
    "required": ["order"],
    "additionalProperties": False,
}


def a_tool(name: str = "look_up", schema: Mapping[str, Any] | None = None) -> ToolDefinition:
    """A tool of one argument, `order`."""
    return ToolDefinition(name, f"Does {name}.", CheckedSchema.of(schema or ORDER_SCHEMA))


def model_settings(**given: Any) -> ModelSettings:
    """Settings of a server that is neither OpenAI's, Azure's nor Google's."""
    base: dict[str, Any] = {
        "base_url": "http://models.example/v1",
        "model": "small",
        "max_output_tokens": 100,
    }
    return ModelSettings(**(base | given))


def model_call(entries: Sequence[Entry] | None = None, **given: Any) -> ModelCall:
    """A call with one prompt, if nothing else is said."""
    return ModelCall.of(model_settings(**given), entries or [Prompt.of("user", "Where is my order?")])


def http_answer(body: Any, status: int = 200, **headers: str) -> EndpointAnswer:
    """An answer with JSON, or with the bytes given; `retry_after` stands for `retry-after`."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return EndpointAnswer(status, {key.replace("_", "-"): value for key, value in headers.items()}, data)


def chat_body(
    message: Mapping[str, Any] | None = None, finish: str = "stop", **members: Any
) -> dict[str, Any]:
    """A Chat Completions answer."""
    usage = {"prompt_tokens": 50, "completion_tokens": 7, "total_tokens": 57}
    said = {"role": "assistant", "content": "On its way."} if message is None else dict(message)
    choices = [{"index": 0, "message": said, "finish_reason": finish}]
    return {
        "id": "c-1",
        "object": "chat.completion",
        "model": "small",
        "choices": choices,
        "usage": usage,
    } | members


def chat_calls(*calls: Mapping[str, Any], **members: Any) -> dict[str, Any]:
    """An assistant's message that calls tools."""
    return {"role": "assistant", "content": None, "tool_calls": list(calls)} | members


def chat_call(
    identity: Any = "call_a", name: Any = "look_up", arguments: Any = '{"order": "7"}'
) -> dict[str, Any]:
    """One call in such a message; an id of None is left out."""
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return call if identity is None else {"id": identity} | call


def responses_body(*output: Mapping[str, Any], **members: Any) -> dict[str, Any]:
    """A Responses answer."""
    text = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "On its way."}],
    }
    usage = {"input_tokens": 50, "output_tokens": 7, "total_tokens": 57}
    items = [text] if not output else list(output)
    body = {
        "id": "r-1",
        "object": "response",
        "status": "completed",
        "model": "small",
        "output": items,
        "error": None,
    }
    return body | {"incomplete_details": None, "usage": usage} | members
