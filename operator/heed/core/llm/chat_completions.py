"""The Chat Completions API: a transcript as the body of a request, and what an answer means."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from heed.core.llm.answer_reading import AnswerParts, conclude_answer, read_body
from heed.core.llm.endpoint_errors import read_error_member
from heed.core.llm.model_answer import EndpointAnswer, Failure, FailureReason, Outcome, Usage, count
from heed.core.llm.model_call import ModelCall
from heed.core.llm.model_endpoint import find_dialect
from heed.core.llm.model_settings import ModelSettings, ToolDefinition, apply_extra
from heed.core.llm.output_schema import is_format_exclusive, tell_schema
from heed.core.llm.tool_calls import WrittenCall, is_object, read_calls
from heed.core.llm.transcript import (
    AssistantTurn,
    Entry,
    FilePart,
    ImagePart,
    Part,
    Prompt,
    TextPart,
    ToolCall,
    ToolResult,
)

OUTPUT_NAME: Final = "answer"


def write_chat_request(settings: ModelSettings, entries: Sequence[Entry]) -> dict[str, Any]:
    """The body of `POST …/chat/completions`."""
    exclusive = settings.output is not None and is_format_exclusive(settings)
    told = tell_schema(entries, settings) if exclusive else entries
    body: dict[str, Any] = {
        "model": settings.model,
        "messages": [_write_message(entry, settings) for entry in told],
        _limit_member(settings): settings.max_output_tokens,
        "temperature": settings.temperature,
        "reasoning_effort": settings.reasoning_effort,
    }
    if settings.tools:  # OpenAI refuses the other two without tools
        body["tools"] = [_write_tool(tool, settings) for tool in settings.tools]
        body["tool_choice"] = _write_choice(settings.tool_choice)
        body["parallel_tool_calls"] = None if settings.parallel_tools else False
    if settings.output is not None and not exclusive:
        schema: dict[str, Any] = {"name": OUTPUT_NAME, "schema": settings.output.schema}
        if _sends_strict(settings) and settings.output.strict:
            schema["strict"] = True
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return apply_extra(body, settings.extra)


def _limit_member(settings: ModelSettings) -> str:
    """OpenAI's and Azure's reasoning models refuse `max_tokens`; most other servers know nothing else."""
    return "max_completion_tokens" if _sends_strict(settings) else "max_tokens"


def _sends_strict(settings: ModelSettings) -> bool:
    return find_dialect(settings.base_url) in ("OpenAI", "Azure")


def _write_tool(tool: ToolDefinition, settings: ModelSettings) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "description": tool.description}
    function["parameters"] = tool.parameters.schema
    if tool.parameters.strict and _sends_strict(settings):  # others answer 400 to `strict`
        function["strict"] = True
    return {"type": "function", "function": function}


def _write_choice(choice: str) -> Any:
    if choice in ("auto", "required", "none"):
        return choice
    return {"type": "function", "function": {"name": choice}}


def _write_message(entry: Entry, settings: ModelSettings) -> dict[str, Any]:
    match entry:
        case Prompt():
            return {"role": entry.role, "content": _write_content(entry.parts)}
        case ToolResult():
            return {"role": "tool", "tool_call_id": entry.call_id, "content": entry.content}
        case AssistantTurn(api="ChatCompletions"):
            return {key: value for key, value in entry.items[0].items() if key not in settings.omitted}
        case AssistantTurn():
            return write_plain_message(entry)


def write_plain_message(turn: AssistantTurn) -> dict[str, Any]:
    """A turn that another API gave, without what only that one understands."""
    message: dict[str, Any] = {"role": "assistant", "content": turn.text or None}
    if turn.calls:
        message["tool_calls"] = [_write_call(call) for call in turn.calls]
    return message


def _write_call(call: ToolCall) -> dict[str, Any]:
    arguments = call.written if is_object(call.written) else "{}"
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _write_content(parts: Sequence[Part]) -> Any:
    if all(isinstance(part, TextPart) for part in parts):  # a text is what every server takes
        return "\n\n".join(part.text for part in parts if isinstance(part, TextPart))
    return [_write_part(part) for part in parts]


def _write_part(part: Part) -> dict[str, Any]:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case ImagePart():
            detail = {} if part.detail is None else {"detail": part.detail}
            return {"type": "image_url", "image_url": {"url": part.url} | detail}
        case FilePart():
            return {"type": "file", "file": {"filename": part.name, "file_data": part.url}}


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_chat_answer(answer: EndpointAnswer, call: ModelCall, now: datetime) -> Outcome:
    """What an answer means."""
    body = read_body(answer, call, now)
    if isinstance(body, Failure):
        return body
    usage = _read_usage(body.get("usage"))
    choices = body.get("choices")
    if not isinstance(choices, list):
        return Failure(FailureReason.INVALID_ANSWER, "the answer has no list of choices", usage=usage)
    if not choices:
        return Failure(FailureReason.EMPTY_ANSWER, "the answer has no choice", usage=usage)
    choice = choices[0]
    if isinstance(choice, Mapping) and isinstance(choice.get("error"), Mapping):  # OpenRouter
        return read_error_member(choice["error"], now, answer.headers)
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(message, Mapping):
        return Failure(FailureReason.INVALID_ANSWER, "the answer's choice has no message", usage=usage)
    calls = read_calls(_written_calls(message), call.settings)
    text = _read_text(message.get("content"))
    parts = AnswerParts(
        turn=AssistantTurn("ChatCompletions", (_keep_message(message, calls),), text, calls),
        finish=str(choice.get("finish_reason") or ""),
        model=str(body.get("model") or call.settings.model),
        refusal=_read_text(message.get("refusal")),
        usage=usage,
    )
    return conclude_answer(parts, call)


def _written_calls(message: Mapping[str, Any]) -> list[WrittenCall]:
    """The calls, whatever the finish reason says."""
    written = []
    for call in _listed_calls(message):
        function = call.get("function") if isinstance(call, Mapping) else None
        inner = function if isinstance(function, Mapping) else {}
        identity = call.get("id") if isinstance(call, Mapping) else None
        written.append(WrittenCall(identity, inner.get("name"), inner.get("arguments")))
    return written


def _listed_calls(message: Mapping[str, Any]) -> list[Any]:
    calls = message.get("tool_calls")
    return calls if isinstance(calls, list) else []


def _keep_message(message: Mapping[str, Any], calls: Sequence[ToolCall]) -> Mapping[str, Any]:
    """The message as it goes back: as it came, but for ids that are no ids and arguments that no server could parse."""
    kept = {"role": "assistant", **message}
    if calls:
        kept["tool_calls"] = [_keep_call(*pair) for pair in zip(_listed_calls(message), calls, strict=True)]
    return kept


def _keep_call(written: Any, call: ToolCall) -> dict[str, Any]:
    if not isinstance(written, Mapping) or not isinstance(written.get("function"), Mapping):
        return _write_call(call)
    function = written["function"]
    arguments = function.get("arguments")
    mended = {"arguments": arguments if is_object(arguments) else "{}", "name": call.name}
    return {**written, "type": "function", "id": call.id, "function": {**function, **mended}}


def _read_text(content: Any) -> str:
    """The text of a message; Mistral and others give a list of parts, of which some are thoughts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = (part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") == "text")
    return "".join(text for text in texts if isinstance(text, str))


def _read_usage(usage: Any) -> Usage | None:
    """Tokens as counted by the endpoint; None where it does not count, or counts nothing at all."""
    if not isinstance(usage, Mapping):
        return None
    counted = Usage(
        input=count(usage.get("prompt_tokens")),
        output=count(usage.get("completion_tokens")),
        cached=_detail(usage, "prompt_tokens_details", "cached_tokens"),
        reasoning=_detail(usage, "completion_tokens_details", "reasoning_tokens"),
    )
    hidden = count(usage.get("total_tokens")) - counted.total  # Google's thoughts are in the total alone
    if hidden > 0 and counted.total:
        counted = Usage(counted.input, counted.output + hidden, counted.cached, counted.reasoning or hidden)
    return counted if counted.total else None


def _detail(usage: Mapping[str, Any], group: str, name: str) -> int:
    inner = usage.get(group)
    return count(inner.get(name)) if isinstance(inner, Mapping) else 0
