"""Calls of tools in a model's answer: ids that can be relied upon, arguments parsed and checked.

Ids are missing (Gemini's compatible endpoint, some servers behind proxies) and repeated; a result finds its call by
the id alone, so here each has one that is unique in its turn. Arguments come as text, as an object, or empty.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from heed.core.codec.strict_json import Unreadable, parse_json
from heed.core.llm.model_settings import ModelSettings
from heed.core.llm.transcript import MALFORMED_ARGUMENTS, UNKNOWN_TOOL, ToolCall

MAX_CALLS: Final = 128  # in one turn; OpenAI's own limit is on tools
MAX_ID_CHARS: Final = 128
_SHOWN_NAMES: Final = 20


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """A call as an endpoint wrote it."""

    id: Any
    name: Any
    arguments: Any


def read_calls(written: Sequence[WrittenCall], settings: ModelSettings) -> tuple[ToolCall, ...]:
    """The calls, each with an id of its own; those that cannot be made say why."""
    taken: set[str] = set()
    calls: list[ToolCall] = []
    for index, call in enumerate(written):
        calls.append(_read_call(call, _choose_id(call.id, index, taken), settings))
    return tuple(calls)


def _choose_id(given: Any, index: int, taken: set[str]) -> str:
    """The endpoint's own id where it has one that no earlier call has."""
    chosen = given if isinstance(given, str) and given and len(given) <= MAX_ID_CHARS else f"call_{index}"
    while chosen in taken:
        chosen = f"{chosen}_{index}"
    taken.add(chosen)
    return chosen


def _read_call(call: WrittenCall, identity: str, settings: ModelSettings) -> ToolCall:
    name = call.name if isinstance(call.name, str) else ""
    written = write_arguments(call.arguments)
    tool = settings.find_tool(name)
    if tool is None:
        names = ", ".join(tool.name for tool in settings.tools[:_SHOWN_NAMES]) or "none"
        return ToolCall(
            identity, name, written, None, UNKNOWN_TOOL, f"There is no tool {name!r}. Tools: {names}."
        )
    arguments, problem = parse_arguments(written)
    if arguments is not None and (mismatch := tool.parameters.validator.problem(dict(arguments))) is not None:
        problem = f"The arguments do not fit the tool's schema: {mismatch}."
    if problem:
        return ToolCall(identity, name, written, None, MALFORMED_ARGUMENTS, problem)
    return ToolCall(identity, name, written, arguments)


def write_arguments(arguments: Any) -> str:
    """Arguments as text. An object, which some servers send instead of its text, is written as JSON."""
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else json.dumps(arguments, ensure_ascii=False)


def parse_arguments(written: str) -> tuple[Mapping[str, Any] | None, str]:
    """The object that arguments stand for, or None and what is wrong. No text at all stands for no arguments."""
    if not written.strip():
        return {}, ""
    try:
        value = parse_json(written.encode(errors="replace"), "NoJson", "they are no JSON")
    except Unreadable as error:
        return None, f"The arguments cannot be read: {error}. Write one JSON object."
    if not isinstance(value, dict):
        return None, "The arguments are JSON, but no object. Write one JSON object."
    return value, ""


def is_object(written: Any) -> bool:
    """Whether arguments may stand in a history: servers parse them there, and llama.cpp answers 500 to no JSON."""
    if not isinstance(written, str):
        return isinstance(written, dict)
    try:
        return isinstance(json.loads(written), dict)
    except (ValueError, RecursionError):
        return False
