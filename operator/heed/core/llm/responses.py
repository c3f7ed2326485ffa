"""The Responses API: a transcript as the body of a request, and what an answer means.

Nothing is kept by the endpoint (`store: false`): each request has the whole transcript, so that a turn can be repeated,
and any replica of an endpoint can take it. Reasoning comes back encrypted and is returned as it is.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from heed.core.llm.answer_reading import AnswerParts, conclude_answer, read_body
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
ENCRYPTED_REASONING: Final = "reasoning.encrypted_content"
CALL_ITEM: Final = "function_call"
_REASONING_MODEL: Final = re.compile(r"(?:o\d|gpt-[5-9]|codex)", re.IGNORECASE)


def write_responses_request(settings: ModelSettings, entries: Sequence[Entry]) -> dict[str, Any]:
    """The body of `POST …/responses`."""
    told = tell_schema(entries, settings) if _needs_words(settings) else entries
    body: dict[str, Any] = {
        "model": settings.model,
        "input": [item for entry in told for item in _write_items(entry, settings)],
        "max_output_tokens": settings.max_output_tokens,
        "temperature": settings.temperature,
        "store": False,
    }
    if settings.reasoning_effort is not None:
        body["reasoning"] = {"effort": settings.reasoning_effort}
    if _encrypts_reasoning(settings):
        body["include"] = [ENCRYPTED_REASONING]
    if settings.tools:
        body["tools"] = [_write_tool(tool) for tool in settings.tools]
        body["tool_choice"] = _write_choice(settings.tool_choice)
        body["parallel_tool_calls"] = None if settings.parallel_tools else False
    if settings.output is not None and not is_format_exclusive(settings):
        form = {"type": "json_schema", "name": OUTPUT_NAME, "schema": settings.output.schema}
        body["text"] = {"format": form | {"strict": settings.output.strict}}
    return apply_extra(body, settings.extra)


def _needs_words(settings: ModelSettings) -> bool:
    """Whether the schema is told in words: llama.cpp takes `text.format` without a word, and ignores it."""
    return settings.output is not None and find_dialect(settings.base_url) not in ("OpenAI", "Azure")


def _encrypts_reasoning(settings: ModelSettings) -> bool:
    """Whether to ask for encrypted reasoning: models of OpenAI's that do not reason answer 400 to that."""
    reasons = (
        settings.reasoning_effort not in (None, "none") or _REASONING_MODEL.match(settings.model) is not None
    )
    return reasons and find_dialect(settings.base_url) in ("OpenAI", "Azure")


def _write_tool(tool: ToolDefinition) -> dict[str, Any]:
    """A function; without `strict` it would be taken as a strict one here, unlike in Chat Completions."""
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters.schema,
        "strict": tool.parameters.strict,
    }


def _write_choice(choice: str) -> Any:
    return choice if choice in ("auto", "required", "none") else {"type": "function", "name": choice}


def _write_items(entry: Entry, settings: ModelSettings) -> Iterator[Mapping[str, Any]]:
    match entry:
        case Prompt():
            yield {"role": entry.role, "content": [_write_part(part) for part in entry.parts]}
        case ToolResult():
            yield {"type": "function_call_output", "call_id": entry.call_id, "output": entry.content}
        case AssistantTurn(api="Responses"):
            for item in entry.items:
                if not _is_lost_reasoning(item, settings):
                    yield {key: value for key, value in item.items() if key not in settings.omitted}
        case AssistantTurn():
            yield from write_plain_items(entry)


def _is_lost_reasoning(item: Mapping[str, Any], settings: ModelSettings) -> bool:
    """Reasoning that OpenAI would look for by its id, and not find, as nothing was stored: its answer is 404."""
    by_id = find_dialect(settings.base_url) in ("OpenAI", "Azure")
    return by_id and item.get("type") == "reasoning" and not item.get("encrypted_content")


def write_plain_items(turn: AssistantTurn) -> Iterator[Mapping[str, Any]]:
    """A turn that another API gave, without what only that one understands."""
    if turn.text:
        yield {"role": "assistant", "content": [{"type": "output_text", "text": turn.text}]}
    for call in turn.calls:
        yield _write_call(call)


def _write_call(call: ToolCall) -> dict[str, Any]:
    arguments = call.written if is_object(call.written) else "{}"
    return {"type": CALL_ITEM, "call_id": call.id, "name": call.name, "arguments": arguments}


def _write_part(part: Part) -> dict[str, Any]:
    match part:
        case TextPart():
            return {"type": "input_text", "text": part.text}
        case ImagePart():
            return {"type": "input_image", "image_url": part.url, "detail": part.detail or "auto"}
        case FilePart():
            return {"type": "input_file", "filename": part.name, "file_data": part.url}


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_responses_answer(answer: EndpointAnswer, call: ModelCall, now: datetime) -> Outcome:
    """What an answer means. `status` is completed, incomplete, failed, or one of what is still under way."""
    body = read_body(answer, call, now)
    if isinstance(body, Failure):
        return body
    usage = _read_usage(body.get("usage"))
    items = body.get("output")
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        return Failure(FailureReason.INVALID_ANSWER, "the answer has no list of output items", usage=usage)
    status = str(body.get("status") or "completed")
    if status not in ("completed", "incomplete"):
        reason = (
            FailureReason.ENDPOINT_AWAY if status in ("failed", "cancelled") else FailureReason.INVALID_ANSWER
        )
        return Failure(reason, f"the response is {status[:40]}, not completed", usage=usage)
    written = [_written_call(item) for item in items if item.get("type") == CALL_ITEM]
    calls = read_calls(written, call.settings)
    texts, refusals = _read_messages(items)
    parts = AnswerParts(
        turn=AssistantTurn("Responses", tuple(_keep_items(items, calls)), "".join(texts), calls),
        finish=_read_finish(status, body.get("incomplete_details"), usage, call.settings),
        model=str(body.get("model") or call.settings.model),
        refusal=" ".join(refusals),
        usage=usage,
    )
    return conclude_answer(parts, call)


def _read_finish(status: str, details: Any, usage: Usage | None, settings: ModelSettings) -> str:
    """Why it is incomplete: `max_output_tokens` or `content_filter`; else its status.

    llama.cpp calls an answer completed that its limit cut, and OpenAI has done so: there the count tells.
    """
    if usage is not None and usage.output >= settings.max_output_tokens:
        return "max_output_tokens"
    reason = details.get("reason") if isinstance(details, Mapping) else None
    if status == "incomplete":
        return reason if isinstance(reason, str) and reason else "max_output_tokens"
    return status


def _written_call(item: Mapping[str, Any]) -> WrittenCall:
    return WrittenCall(item.get("call_id") or item.get("id"), item.get("name"), item.get("arguments"))


def _keep_items(items: Sequence[Mapping[str, Any]], calls: Sequence[ToolCall]) -> Iterator[Mapping[str, Any]]:
    """The items as they go back: as they came, but for ids that are none and arguments that no server could parse."""
    left = iter(calls)
    for item in items:
        if item.get("type") != CALL_ITEM:
            yield item
            continue
        call = next(left)
        arguments = item.get("arguments")
        mended = {
            "call_id": call.id,
            "name": call.name,
            "arguments": arguments if is_object(arguments) else "{}",
        }
        yield {**item, **mended}


def _read_messages(items: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Texts and refusals of all messages among the items."""
    texts, refusals = [], []
    for item in items:
        content = item.get("content") if item.get("type", "message") == "message" else None
        if isinstance(content, str):
            texts.append(content)
        for part in content if isinstance(content, list) else ():
            if isinstance(part, Mapping):
                texts += [part["text"]] if isinstance(part.get("text"), str) else []
                refusals += [part["refusal"]] if isinstance(part.get("refusal"), str) else []
    return texts, refusals


def _read_usage(usage: Any) -> Usage | None:
    if not isinstance(usage, Mapping):
        return None
    counted = Usage(
        input=count(usage.get("input_tokens")),
        output=count(usage.get("output_tokens")),
        cached=_detail(usage, "input_tokens_details", "cached_tokens"),
        reasoning=_detail(usage, "output_tokens_details", "reasoning_tokens"),
    )
    return counted if counted.total else None


def _detail(usage: Mapping[str, Any], group: str, name: str) -> int:
    inner = usage.get(group)
    return count(inner.get(name)) if isinstance(inner, Mapping) else 0
