"""A transcript: what was said to a model and by it, in order, and each entry as JSON for the stream that keeps it.

The assistant's turns are kept as the endpoint wrote them, unknown members included: Google wants its thought signatures
back, DeepSeek `reasoning_content`, vLLM `reasoning` (vllm-project/vllm#27755), OpenAI its encrypted reasoning.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Api = Literal["ChatCompletions", "Responses"]
MALFORMED_ARGUMENTS: Final = "MalformedToolArguments"
UNKNOWN_TOOL: Final = "UnknownTool"


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text of a prompt."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image, by an address that the endpoint fetches or as a `data:` URL. `detail` is `low`, `high` or `auto`."""

    url: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file, such as a PDF, as a `data:` URL."""

    name: str
    url: str


Part = TextPart | ImagePart | FilePart


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the task says to the model."""

    role: Literal["system", "user"]
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, role: Literal["system", "user"], text: str) -> "Prompt":
        """A prompt of text alone."""
        return cls(role, (TextPart(text),))


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model asks for. Its id is unique within its turn, also where the endpoint's was not.

    `written` are the arguments as they came, `arguments` the object they stand for. Where they cannot be used,
    `problem` is a sentence for the model, and `reason` is MalformedToolArguments or UnknownTool.
    """

    id: str
    name: str
    written: str
    arguments: Mapping[str, Any] | None = None
    reason: str | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class AssistantTurn:
    """What the model said. `items` go back to the endpoint as they are: one message, or output items of Responses."""

    api: Api
    items: tuple[Mapping[str, Any], ...]
    text: str = ""
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave, as the text that the model reads; also where it failed, or the call was not made."""

    call_id: str
    name: str
    content: str


Entry = Prompt | AssistantTurn | ToolResult


def entry_to_json(entry: Entry) -> dict[str, Any]:
    """An entry as a JSON object; its kind is in `entry`."""
    match entry:
        case Prompt():
            return {
                "entry": "prompt",
                "role": entry.role,
                "parts": [_part_to_json(part) for part in entry.parts],
            }
        case ToolResult():
            return {"entry": "result", "call": entry.call_id, "name": entry.name, "content": entry.content}
        case AssistantTurn():
            return {
                "entry": "turn",
                "api": entry.api,
                "items": [dict(item) for item in entry.items],
                "text": entry.text,
                "calls": [call_to_json(call) for call in entry.calls],
            }


def entry_from_json(value: Mapping[str, Any]) -> Entry:
    """The entry that `entry_to_json` wrote. Raises ValueError for another shape."""
    try:
        match value["entry"]:
            case "prompt":
                return Prompt(value["role"], tuple(map(_part_from_json, value["parts"])))
            case "result":
                return ToolResult(value["call"], value["name"], value["content"])
            case "turn":
                calls = tuple(map(call_from_json, value["calls"]))
                return AssistantTurn(value["api"], tuple(value["items"]), value["text"], calls)
            case other:
                raise ValueError(f"a transcript has no entry {other!r}; it was written by a newer version")
    except (KeyError, TypeError) as error:
        raise ValueError(f"no entry of a transcript: {type(error).__name__} at {error}") from None


def _part_to_json(part: Part) -> dict[str, Any]:
    match part:
        case TextPart():
            return {"text": part.text}
        case ImagePart():
            return {"image": part.url} | ({} if part.detail is None else {"detail": part.detail})
        case FilePart():
            return {"file": part.url, "name": part.name}


def _part_from_json(value: Mapping[str, Any]) -> Part:
    if "image" in value:
        return ImagePart(value["image"], value.get("detail"))
    if "file" in value:
        return FilePart(value["name"], value["file"])
    return TextPart(value["text"])


def call_to_json(call: ToolCall) -> dict[str, Any]:
    """A call as JSON."""
    said: dict[str, Any] = {"id": call.id, "name": call.name, "written": call.written}
    if call.arguments is not None:
        said["arguments"] = dict(call.arguments)
    if call.reason is not None:
        said |= {"reason": call.reason, "problem": call.problem}
    return said


def call_from_json(value: Mapping[str, Any]) -> ToolCall:
    """The call that `call_to_json` wrote."""
    return ToolCall(
        value["id"],
        value["name"],
        value["written"],
        value.get("arguments"),
        value.get("reason"),
        value.get("problem", ""),
    )
