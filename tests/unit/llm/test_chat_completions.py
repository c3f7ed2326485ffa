"""Chat Completions: requests for each dialect, and what answers mean."""

from typing import Any

import pytest

from heed.core.llm.chat_completions import read_chat_answer, write_chat_request
from heed.core.llm.model_answer import Answer, Failure, FailureReason, Outcome, Usage
from heed.core.llm.model_settings import CheckedSchema
from heed.core.llm.transcript import (
    AssistantTurn,
    Entry,
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
    chat_body,
    chat_call,
    chat_calls,
    http_answer,
    model_call,
    model_settings,
)

OPENAI = "https://api.openai.com/v1"
LOOSE = {"type": "object", "properties": {"order": {"type": "string"}}}


def read(body: Any, **settings: Any) -> Outcome:
    return read_chat_answer(http_answer(body), model_call(**settings), NOW)


def answer(body: Any, **settings: Any) -> Answer:
    outcome = read(body, **settings)
    assert isinstance(outcome, Answer), outcome
    return outcome


def failure(body: Any, **settings: Any) -> Failure:
    outcome = read(body, **settings)
    assert isinstance(outcome, Failure), outcome
    return outcome


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_has_only_what_was_asked_for() -> None:
    body = write_chat_request(
        model_settings(), [Prompt.of("system", "Be brief."), Prompt.of("user", "Hello")]
    )
    assert body == {
        "model": "small",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "max_tokens": 100,
        "stream": False,
    }


@pytest.mark.parametrize("base_url", [OPENAI, "https://x.openai.azure.com/openai/v1"])
def test_openai_and_azure_have_another_name_for_the_limit(base_url: str) -> None:
    body = write_chat_request(model_settings(base_url=base_url), [])
    assert body["max_completion_tokens"] == 100 and "max_tokens" not in body


def test_strict_is_said_only_where_it_is_understood_and_kept() -> None:
    tools = (a_tool(), a_tool("loose", LOOSE))
    at_openai = write_chat_request(model_settings(base_url=OPENAI, tools=tools), [])
    assert [tool["function"].get("strict") for tool in at_openai["tools"]] == [True, None]
    elsewhere = write_chat_request(model_settings(tools=tools), [])
    assert [tool["function"].get("strict") for tool in elsewhere["tools"]] == [None, None]
    assert elsewhere["tools"][0]["function"]["parameters"] == ORDER_SCHEMA


@pytest.mark.parametrize(
    ("base_url", "schema", "strict"), [(OPENAI, ORDER_SCHEMA, True), (OPENAI, LOOSE, None)]
)
def test_a_schema_of_the_output_is_a_response_format(base_url: str, schema: Any, strict: bool | None) -> None:
    body = write_chat_request(model_settings(base_url=base_url, output=CheckedSchema.of(schema)), [])
    assert body["response_format"]["type"] == "json_schema"
    assert body["response_format"]["json_schema"]["schema"] == schema
    assert body["response_format"]["json_schema"].get("strict") is strict


@pytest.mark.parametrize(
    ("base_url", "choice", "formatted"),
    [
        (OPENAI, "auto", True),
        ("http://models.example/v1", "auto", False),
        ("http://models.example/v1", "required", False),
        ("http://models.example/v1", "none", True),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "auto", False),
    ],
)
def test_a_schema_beside_tools_is_told_in_words_where_a_format_would_forbid_them(
    base_url: str, choice: str, formatted: bool
) -> None:
    output = CheckedSchema.of(ORDER_SCHEMA)
    settings = model_settings(base_url=base_url, tools=(a_tool(),), tool_choice=choice, output=output)
    body = write_chat_request(
        settings, [ToolResult("a", "t", "x"), Prompt.of("system", "Help."), Prompt.of("user", "?")]
    )
    assert ("response_format" in body) is formatted
    first, second = body["messages"][1]["content"], body["messages"][2]["content"]
    assert second == "?"
    assert (
        first == "Help." if formatted else first.startswith("Help.\n\nGive your final answer as JSON alone")
    )
    assert formatted or '"order"' in first


def test_parallel_calls_are_forbidden_only_beside_tools() -> None:
    assert "parallel_tool_calls" not in write_chat_request(model_settings(parallel_tools=False), [])
    one = write_chat_request(model_settings(parallel_tools=False, tools=(a_tool(),)), [])
    assert one["parallel_tool_calls"] is False
    assert "parallel_tool_calls" not in write_chat_request(model_settings(tools=(a_tool(),)), [])


@pytest.mark.parametrize(
    ("choice", "written"),
    [("required", "required"), ("look_up", {"type": "function", "function": {"name": "look_up"}})],
)
def test_a_tool_can_be_demanded(choice: str, written: Any) -> None:
    body = write_chat_request(model_settings(tools=(a_tool(),), tool_choice=choice), [])
    assert body["tool_choice"] == written


def test_extra_members_replace_drop_and_add_but_never_stream() -> None:
    extra = {"max_tokens": None, "top_p": 0.5, "tools": [{"type": "web_search"}], "stream": True}
    body = write_chat_request(model_settings(tools=(a_tool(),), extra=extra), [])
    assert "max_tokens" not in body
    assert (body["top_p"], body["stream"]) == (0.5, False)
    assert [tool["type"] for tool in body["tools"]] == ["function", "web_search"]


def test_images_and_files_make_a_list_of_parts() -> None:
    parts = (
        TextPart("Look"),
        ImagePart("https://x/y.png", "low"),
        FilePart("a.pdf", "data:application/pdf;base64,AA=="),
    )
    body = write_chat_request(model_settings(), [Prompt("user", parts)])
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
    ]


def test_unknown_members_of_a_turn_go_back_as_they_came() -> None:
    signature = {"google": {"thought_signature": "AbC=="}}
    message = chat_calls(
        chat_call() | {"extra_content": signature}, reasoning_content="Hm.", reasoning="Hm.", annotations=[]
    )
    turn = answer(chat_body(message), tools=(a_tool(),)).turn
    entries: list[Entry] = [Prompt.of("user", "Where?"), turn, ToolResult("call_a", "look_up", "in Oslo")]
    body = write_chat_request(model_settings(), entries)
    assert body["messages"][1] == message
    assert body["messages"][2] == {"role": "tool", "tool_call_id": "call_a", "content": "in Oslo"}


def test_members_that_an_endpoint_refuses_are_left_out() -> None:
    turn = answer(chat_body({"role": "assistant", "content": "Hi", "reasoning_content": "Hm."})).turn
    body = write_chat_request(model_settings(omitted=frozenset(["reasoning_content"])), [turn])
    assert body["messages"] == [{"role": "assistant", "content": "Hi"}]


def test_a_turn_of_the_other_api_is_told_in_words() -> None:
    call = ToolCall("c", "look_up", "no json")
    turn = AssistantTurn("Responses", ({"type": "reasoning"},), "Hi", (call,))
    body = write_chat_request(model_settings(), [turn])
    function = {"name": "look_up", "arguments": "{}"}
    assert body["messages"] == [
        {
            "role": "assistant",
            "content": "Hi",
            "tool_calls": [{"id": "c", "type": "function", "function": function}],
        }
    ]


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_text_is_an_answer() -> None:
    got = answer(chat_body())
    assert (got.turn.text, got.turn.calls, got.finish, got.model) == ("On its way.", (), "stop", "small")
    assert got.usage == Usage(50, 7)


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "function_call", "", "unknown"])
def test_calls_count_whatever_the_finish_reason_says(finish: str) -> None:
    got = answer(chat_body(chat_calls(chat_call()), finish), tools=(a_tool(),))
    assert got.turn.calls == (ToolCall("call_a", "look_up", '{"order": "7"}', {"order": "7"}),)


def test_an_empty_list_of_calls_is_none() -> None:
    got = answer(chat_body({"role": "assistant", "content": "Hi", "tool_calls": []}, "tool_calls"))
    assert (got.turn.text, got.turn.calls) == ("Hi", ())


def test_missing_and_repeated_ids_are_made_unique_also_in_what_goes_back() -> None:
    message = chat_calls(chat_call(None), chat_call("x"), chat_call("x"), chat_call(""), chat_call(5))
    turn = answer(chat_body(message), tools=(a_tool(),)).turn
    ids = [call.id for call in turn.calls]
    assert ids == ["call_0", "x", "x_2", "call_3", "call_4"]
    assert [call["id"] for call in turn.items[0]["tool_calls"]] == ids


def test_a_made_up_id_avoids_those_given() -> None:
    turn = answer(chat_body(chat_calls(chat_call("call_1"), chat_call(None))), tools=(a_tool(),)).turn
    assert [call.id for call in turn.calls] == ["call_1", "call_1_1"]


def test_arguments_that_are_no_json_do_not_go_back() -> None:
    turn = answer(chat_body(chat_calls(chat_call(arguments="{order: 7"))), tools=(a_tool(),)).turn
    assert turn.calls[0].reason == "MalformedToolArguments" and turn.calls[0].arguments is None
    assert turn.calls[0].written == "{order: 7"
    assert turn.items[0]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_a_call_that_is_no_object_goes_back_as_one() -> None:
    turn = answer(chat_body(chat_calls("junk")), tools=(a_tool(),)).turn  # type: ignore[arg-type]
    assert turn.calls[0].reason == "UnknownTool"
    assert turn.items[0]["tool_calls"][0] == {
        "id": "call_0",
        "type": "function",
        "function": {"name": "", "arguments": "{}"},
    }


def test_arguments_may_come_as_an_object() -> None:
    turn = answer(chat_body(chat_calls(chat_call(arguments={"order": "7"}))), tools=(a_tool(),)).turn
    assert turn.calls[0].arguments == {"order": "7"}
    assert turn.items[0]["tool_calls"][0]["function"]["arguments"] == {"order": "7"}


def test_text_comes_in_parts_too_without_thoughts() -> None:
    content = [
        {"type": "thinking", "thinking": [{"text": "Hm"}]},
        {"type": "text", "text": "A"},
        {"type": "text", "text": "B"},
    ]
    assert answer(chat_body({"role": "assistant", "content": content})).turn.text == "AB"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>", FailureReason.INVALID_ANSWER),
        (b'{"choices": [NaN]}', FailureReason.INVALID_ANSWER),
        (b"[" * 100_000, FailureReason.INVALID_ANSWER),
        (b"\xff\xfe", FailureReason.INVALID_ANSWER),
        ([], FailureReason.INVALID_ANSWER),
        ({}, FailureReason.INVALID_ANSWER),
        ({"choices": [None]}, FailureReason.INVALID_ANSWER),
        ({"choices": [{"message": None}]}, FailureReason.INVALID_ANSWER),
        ({"choices": []}, FailureReason.EMPTY_ANSWER),
        (chat_body({"role": "assistant", "content": None}), FailureReason.EMPTY_ANSWER),
        (chat_body({"role": "assistant", "content": " \n"}), FailureReason.EMPTY_ANSWER),
        (chat_body({"content": None, "refusal": "I will not."}), FailureReason.REFUSED),
        (chat_body({"content": "Ra"}, "length"), FailureReason.CUT_SHORT),
        (chat_body({"content": ""}, "content_filter"), FailureReason.CONTENT_FILTERED),
        (chat_body({"content": "Half a"}, "content_filter"), FailureReason.CONTENT_FILTERED),
        (chat_body({"content": None}, "malformed_function_call"), FailureReason.MALFORMED_TOOL_ARGUMENTS),
        ({"error": {"message": "busy", "code": 503}}, FailureReason.ENDPOINT_AWAY),
        ({"error": {"message": "slow down", "code": 429}}, FailureReason.RATE_LIMITED),
        ({"choices": [{"error": {"code": 502, "message": "upstream"}}]}, FailureReason.ENDPOINT_AWAY),
    ],
)
def test_what_is_no_answer_says_why(body: Any, reason: FailureReason) -> None:
    assert failure(body).reason is reason


def test_a_failure_keeps_what_was_paid() -> None:
    assert failure(chat_body({"content": "Ra"}, "length")).usage == Usage(50, 7)
    assert failure(chat_body(choices=[])).usage == Usage(50, 7)


def test_too_many_calls_are_no_answer() -> None:
    calls = [chat_call(f"c{index}") for index in range(129)]
    assert len(answer(chat_body(chat_calls(*calls[:128])), tools=(a_tool(),)).turn.calls) == 128
    assert failure(chat_body(chat_calls(*calls)), tools=(a_tool(),)).reason is FailureReason.INVALID_ANSWER


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (None, None),
        ({}, None),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 9}, None),
        ({"prompt_tokens": True, "completion_tokens": "7"}, None),
        ({"prompt_tokens": 5, "completion_tokens": 2}, Usage(5, 2)),
        ({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 10}, Usage(5, 5, 0, 3)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "total_tokens": 13,
                "prompt_tokens_details": {"cached_tokens": 3},
                "completion_tokens_details": {"reasoning_tokens": 1},
            },
            Usage(9, 4, 3, 1),
        ),
    ],
)
def test_usage_is_what_the_endpoint_counted(usage: Any, counted: Usage | None) -> None:
    assert answer(chat_body(usage=usage)).usage == counted


def test_a_prompt_that_was_cut_in_silence_is_noticed() -> None:
    long = [Prompt.of("user", "word " * 100)]  # at least 75 tokens
    read_all = chat_body(usage={"prompt_tokens": 75, "completion_tokens": 1})
    cut = chat_body(usage={"prompt_tokens": 74, "completion_tokens": 1})
    assert isinstance(read_chat_answer(http_answer(read_all), model_call(long), NOW), Answer)
    outcome = read_chat_answer(http_answer(cut), model_call(long), NOW)
    assert isinstance(outcome, Failure) and outcome.reason is FailureReason.SILENTLY_TRUNCATED


def test_an_endpoint_that_counts_no_input_has_cut_nothing() -> None:
    body = chat_body(usage={"prompt_tokens": 0, "completion_tokens": 5})
    outcome = read_chat_answer(http_answer(body), model_call([Prompt.of("user", "word " * 100)]), NOW)
    assert isinstance(outcome, Answer) and outcome.usage == Usage(0, 5)


@pytest.mark.parametrize(("status", "fine"), [(199, False), (200, True), (299, True), (300, False)])
def test_an_answer_has_a_status_of_success(status: int, fine: bool) -> None:
    outcome = read_chat_answer(http_answer(chat_body(), status), model_call(), NOW)
    assert isinstance(outcome, Answer) is fine


@pytest.mark.parametrize(("said", "model"), [("large", "large"), (None, "small"), ("", "small")])
def test_the_model_is_the_one_that_answered(said: str | None, model: str) -> None:
    assert answer(chat_body(model=said)).model == model


def test_a_structured_answer_is_checked_here() -> None:
    output = CheckedSchema.of(ORDER_SCHEMA)
    good = answer(chat_body({"content": '```json\n{"order": "7"}\n```'}), output=output)
    assert (good.output, good.problem) == ({"order": "7"}, None)
    wrong = answer(chat_body({"content": '{"order": 7}'}), output=output)
    assert (
        wrong.output is None
        and wrong.problem == "The answer does not fit the schema: data.order: is a number, not string."
    )
    prose = answer(chat_body({"content": "It is 7."}), output=output)
    assert prose.problem is not None and "no JSON" in prose.problem


def test_calls_come_before_a_structured_answer() -> None:
    got = answer(chat_body(chat_calls(chat_call())), output=CheckedSchema.of(ORDER_SCHEMA), tools=(a_tool(),))
    assert (got.output, got.problem) == (None, None)
