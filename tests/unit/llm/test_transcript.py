"""Transcripts as JSON: what is written is read again, whole."""

import json
from typing import Any

import pytest

from heed.core.llm.transcript import (
    AssistantTurn,
    Entry,
    FilePart,
    ImagePart,
    Prompt,
    TextPart,
    ToolCall,
    ToolResult,
    entry_from_json,
    entry_to_json,
)

ENTRIES: list[Entry] = [
    Prompt.of("system", "Be brief."),
    Prompt("user", (TextPart(""), ImagePart("u", "low"), ImagePart("u"), FilePart("n", "u"))),
    AssistantTurn("ChatCompletions", ({"role": "assistant", "new": {"deep": [1, None]}},), "Hi"),
    AssistantTurn(
        "Responses",
        ({"type": "reasoning"}, {"type": "function_call"}),
        "",
        (
            ToolCall("a", "t", "{}", {}),
            ToolCall("b", "t", "{", None, "MalformedToolArguments", "The arguments cannot be read."),
        ),
    ),
    ToolResult("a", "t", "done"),
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_an_entry_is_the_same_after_a_journey(entry: Entry) -> None:
    assert entry_from_json(json.loads(json.dumps(entry_to_json(entry)))) == entry


@pytest.mark.parametrize(
    "value", [{}, {"entry": "later"}, {"entry": "result"}, {"entry": "prompt", "role": "user", "parts": 5}]
)
def test_another_shape_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="transcript"):
        entry_from_json(value)
