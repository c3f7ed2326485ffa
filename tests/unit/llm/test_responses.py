"""The Responses API: requests, and what answers mean."""

from typing import Any

import pytest

from heed.core.llm.model_answer import Answer, Failure, FailureReason, Outcome, Usage
from heed.core.llm.model_settings import CheckedSchema
from heed.core.llm.responses import read_responses_answer, write_responses_request
from heed.core.llm.transcript import (
    AssistantTurn,
    FilePart,
    ImagePart,
    Prompt,
    TextPart,
    ToolCall,
    ToolResult,
)
from tests.builders.models import (
    NOW,
    ORDER_SCHEMA,
    a_tool,
    http_answer,
    model_call,
    model_settings,
    responses_body,
)

OPENAI = "https://api.openai.com/v1"
LOOSE = {"type": "object", "properties": {"order": {"type": "string"}}}


def call_item(
    identity: Any = "call_a", name: str = "look_up", arguments: Any = '{"order": "7"}'
) -> dict[str, Any]:
    return {"type": "function_call", "id": "fc_1", "call_id": identity, "name": name, "arguments": arguments}


def message_item(*parts: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(parts)}


def read(body: Any, **settings: Any) -> Outcome:
    return read_responses_answer(http_answer(body), model_call(**settings), NOW)


def answer(body: Any, **settings: Any) -> Answer:
    outcome = read(body, **settings)
    assert isinstance(outcome, Answer), outcome
    return outcome


def test_a_request_has_only_what_was_asked_for_and_stores_nothing() -> None:
    body = write_responses_request(
        model_settings(), [Prompt.of("system", "Be brief."), Prompt.of("user", "Hello")]
    )
    assert body == {
        "model": "small",
        "input": [
            {"role": "system", "content": [{"type": "input_text", "text": "Be brief."}]},
            {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
        ],
        "max_output_tokens": 100,
        "store": False,
        "stream": False,
    }


@pytest.mark.parametrize(
    ("base_url", "tools", "formatted", "told"),
    [(OPENAI, (a_tool(),), True, False), (None, (), True, True), (None, (a_tool(),), False, True)],
)
def test_the_schema_of_the_output_is_told_in_words_where_its_format_is_ignored(
    base_url: str | None, tools: Any, formatted: bool, told: bool
) -> None:
    given = {} if base_url is None else {"base_url": base_url}
    settings = model_settings(tools=tools, output=CheckedSchema.of(ORDER_SCHEMA), **given)
    body = write_responses_request(settings, [Prompt.of("user", "Hello")])
    assert ("text" in body) is formatted
    assert (len(body["input"][0]["content"]) == 2) is told


def test_strictness_is_always_said_as_it_is_on_unless_denied() -> None:
    tools = (a_tool(), a_tool("loose", LOOSE))
    settings = model_settings(base_url=OPENAI, tools=tools, output=CheckedSchema.of(LOOSE))
    body = write_responses_request(settings, [])
    assert [tool["strict"] for tool in body["tools"]] == [True, False]
    form = body["text"]["format"]
    assert (form["type"], form["schema"], form["strict"]) == ("json_schema", LOOSE, False)


@pytest.mark.parametrize(
    ("base_url", "model", "effort", "asked"),
    [
        (OPENAI, "gpt-5.4", None, True),
        (OPENAI, "o3", None, True),
        (OPENAI, "gpt-4o", None, False),
        (OPENAI, "gpt-4o", "none", False),
        ("https://x.openai.azure.com/openai/v1", "my-deployment", "low", True),
        ("http://models.example/v1", "gpt-oss-20b", "low", False),
    ],
)
def test_encrypted_reasoning_is_asked_of_models_that_reason(
    base_url: str, model: str, effort: str | None, asked: bool
) -> None:
    settings = model_settings(base_url=base_url, model=model, reasoning_effort=effort)
    body = write_responses_request(settings, [])
    assert ("include" in body) is asked
    assert body.get("reasoning") == (None if effort is None else {"effort": effort})


def test_a_named_tool_is_demanded_by_name_and_calls_can_be_single() -> None:
    settings = model_settings(tools=(a_tool(),), tool_choice="look_up", parallel_tools=False)
    body = write_responses_request(settings, [])
    assert body["tool_choice"] == {"type": "function", "name": "look_up"}
    assert body["parallel_tool_calls"] is False


def test_images_and_files_are_parts() -> None:
    parts = (
        TextPart("Look"),
        ImagePart("https://x/y.png"),
        FilePart("a.pdf", "data:application/pdf;base64,AA=="),
    )
    body = write_responses_request(model_settings(), [Prompt("user", parts)])
    assert body["input"][0]["content"][1:] == [
        {"type": "input_image", "image_url": "https://x/y.png", "detail": "auto"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
    ]


def test_all_items_go_back_as_they_came() -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    unknown = {"type": "web_search_call", "id": "ws_1", "status": "completed", "new": [1]}
    items: list[dict[str, Any]] = [reasoning, unknown, call_item()]
    turn = answer(responses_body(*items), tools=(a_tool(),)).turn
    result = ToolResult("call_a", "look_up", "in Oslo")
    body = write_responses_request(model_settings(base_url=OPENAI), [turn, result])
    assert body["input"][:3] == items
    assert body["input"][3] == {"type": "function_call_output", "call_id": "call_a", "output": "in Oslo"}


@pytest.mark.parametrize(("base_url", "kept"), [(OPENAI, 0), ("http://models.example/v1", 1)])
def test_reasoning_that_only_its_id_stands_for_does_not_go_back_to_openai(base_url: str, kept: int) -> None:
    turn = AssistantTurn("Responses", ({"type": "reasoning", "id": "rs_1", "summary": []},), "Hi")
    body = write_responses_request(model_settings(base_url=base_url), [turn])
    assert len(body["input"]) == kept


def test_a_turn_of_the_other_api_is_told_in_words() -> None:
    turn = AssistantTurn("ChatCompletions", ({"role": "assistant"},), "Hi", (ToolCall("c", "look_up", "{"),))
    assert write_responses_request(model_settings(), [turn])["input"] == [
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
        {"type": "function_call", "call_id": "c", "name": "look_up", "arguments": "{}"},
    ]


def test_texts_of_all_messages_are_the_answer() -> None:
    first, second = ({"type": "output_text", "text": text} for text in ("A", "B"))
    got = answer(
        responses_body(message_item(first), {"role": "assistant", "content": "C"}, message_item(second))
    )
    assert (got.turn.text, got.finish, got.usage) == ("ACB", "completed", Usage(50, 7))


def test_calls_are_read_and_mended_in_what_goes_back() -> None:
    items = (call_item(None), message_item(), call_item("fc_1", arguments="{"))
    turn = answer(responses_body(*items), tools=(a_tool(),)).turn
    assert [(call.id, call.reason) for call in turn.calls] == [
        ("fc_1", None),
        ("fc_1_1", "MalformedToolArguments"),
    ]
    assert turn.items[0]["call_id"] == "fc_1"
    assert turn.items[1] == items[1]
    assert (turn.items[2]["call_id"], turn.items[2]["arguments"]) == ("fc_1_1", "{}")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"output": None}, FailureReason.INVALID_ANSWER),
        ({"output": ["text"]}, FailureReason.INVALID_ANSWER),
        (responses_body(status="in_progress"), FailureReason.INVALID_ANSWER),
        (responses_body(status="cancelled"), FailureReason.ENDPOINT_AWAY),
        (responses_body(status="failed"), FailureReason.ENDPOINT_AWAY),
        (
            responses_body(status="failed", error={"code": "rate_limit_exceeded", "message": "slow"}),
            FailureReason.RATE_LIMITED,
        ),
        (
            responses_body(status="failed", error={"code": "server_error", "message": "oops"}),
            FailureReason.ENDPOINT_AWAY,
        ),
        (
            responses_body(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            FailureReason.CUT_SHORT,
        ),
        (responses_body(status="incomplete", incomplete_details=None), FailureReason.CUT_SHORT),
        (responses_body(status="incomplete", incomplete_details={"reason": 5}), FailureReason.CUT_SHORT),
        (responses_body(status="incomplete", incomplete_details={"reason": ""}), FailureReason.CUT_SHORT),
        (
            responses_body(status="incomplete", incomplete_details={"reason": "content_filter"}),
            FailureReason.CONTENT_FILTERED,
        ),
        (responses_body({"type": "reasoning", "summary": []}), FailureReason.EMPTY_ANSWER),
        (responses_body(message_item({"type": "refusal", "refusal": "No."})), FailureReason.REFUSED),
    ],
)
def test_what_is_no_answer_says_why(body: Any, reason: FailureReason) -> None:
    outcome = read(body)
    assert isinstance(outcome, Failure) and outcome.reason is reason


@pytest.mark.parametrize(("said", "complete"), [(99, True), (100, False), (101, False)])
def test_an_answer_as_long_as_its_limit_was_cut_whatever_its_status(said: int, complete: bool) -> None:
    outcome = read(responses_body(usage={"input_tokens": 50, "output_tokens": said}))
    assert isinstance(outcome, Answer) is complete
    assert isinstance(outcome, Answer) or outcome.reason is FailureReason.CUT_SHORT


@pytest.mark.parametrize(("said", "model"), [("large", "large"), (None, "small"), ("", "small")])
def test_the_model_is_the_one_that_answered(said: str | None, model: str) -> None:
    assert answer(responses_body(model=said)).model == model


def test_cached_and_reasoning_tokens_are_told() -> None:
    usage = {
        "input_tokens": 9,
        "output_tokens": 4,
        "input_tokens_details": {"cached_tokens": 3},
        "output_tokens_details": {"reasoning_tokens": 1},
    }
    assert answer(responses_body(usage=usage)).usage == Usage(9, 4, 3, 1)
    assert answer(responses_body(usage=None)).usage is None


def test_a_structured_answer_is_checked_here() -> None:
    output = CheckedSchema.of(ORDER_SCHEMA)
    text = message_item({"type": "output_text", "text": '{"order": "7"}'})
    assert answer(responses_body(text), output=output).output == {"order": "7"}
    assert answer(responses_body(), output=output).problem is not None
