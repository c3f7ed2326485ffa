"""Errors of endpoints told apart: status, code, words, and how long to wait."""

import json
from typing import Any

import pytest

from heed.core.llm.endpoint_errors import MAX_INNER_ERRORS, parse_error, read_error, read_error_member
from heed.core.llm.model_answer import MAX_MESSAGE_CHARS, RETRY_RULES, EndpointAnswer, Failure, FailureReason
from heed.core.llm.overflow_messages import MAX_SEARCHED_CHARS, says_overflow
from tests.builders.models import NOW, http_answer

# What real endpoints say, as reported; the names are of the threads where it stands.
OVERFLOWS = [
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 8545 tokens.",
    "Your input exceeds the context window of this model. Please adjust your input and try again.",
    "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 509178 tokens.",
    "Input length (265330) exceeds model's maximum context length (262144).",
    "The input token count (2800010) exceeds the maximum number of tokens allowed (1048575).",
    "The input token count exceeds the maximum number of tokens allowed (1048576).",
    "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    "Please reduce the length of the messages or completion.",
    "prompt is too long: 213462 tokens > 200000 maximum",
    "Input is too long for requested model.",
    "the request exceeds the available context size, try increasing it",
    "The number of tokens to keep from the initial prompt is greater than the context length.",
    "Input length 877338 exceeds the maximum allowed input length of 639968 tokens",
    "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
    "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
    "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens and 100 `max_new_tokens`",
    "prompt token count of 200000 exceeds the limit of 128000",
]
OTHERS = [
    "Too many tokens, please wait before trying again.",  # Bedrock, which means its rate
    "Rate limit reached for model in organization on tokens per min (TPM): Limit 30000, Used 29000",
    "max_tokens is too large: 99999. This model supports at most 16384 completion tokens",
    "Invalid value for 'temperature'",
    "",
]


def read(body: Any, status: int, request_tokens: int = 10, **headers: str) -> Failure:
    return read_error(http_answer(body, status, **headers), request_tokens, NOW)


def error(message: str = "no", **members: Any) -> dict[str, Any]:
    return {"error": {"message": message} | members}


@pytest.mark.parametrize("message", OVERFLOWS)
def test_an_overflow_is_known_by_its_words(message: str) -> None:
    assert says_overflow(message)
    assert read(error(message), 400).reason is FailureReason.CONTEXT_OVERFLOW
    assert read([error(message)], 500).reason is FailureReason.CONTEXT_OVERFLOW


@pytest.mark.parametrize("message", OTHERS)
def test_other_words_are_no_overflow(message: str) -> None:
    assert not says_overflow(message)
    assert read(error(message), 400).reason is FailureReason.INVALID_REQUEST


def test_words_are_looked_for_at_the_beginning_of_a_message() -> None:
    words = "prompt is too long"
    assert says_overflow("x" * (MAX_SEARCHED_CHARS - len(words)) + words)
    assert not says_overflow("x" * (MAX_SEARCHED_CHARS - len(words) + 1) + words)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (429, error("You exceeded your current quota", code="insufficient_quota"), FailureReason.QUOTA_GONE),
        (429, error("You exceeded your current quota", type="insufficient_quota"), FailureReason.QUOTA_GONE),
        (429, error("You exceeded your current quota", code=429), FailureReason.RATE_LIMITED),
        (429, error("Your prompt is too long for this minute"), FailureReason.RATE_LIMITED),
        (429, [error("Quota exceeded", code=429, status="RESOURCE_EXHAUSTED")], FailureReason.RATE_LIMITED),
        (429, b"", FailureReason.RATE_LIMITED),
        (402, error("Insufficient Balance"), FailureReason.QUOTA_GONE),
        (403, error("billing", code="insufficient_quota"), FailureReason.QUOTA_GONE),
        (401, error("Incorrect API key"), FailureReason.NOT_AUTHORIZED),
        (403, error("no access"), FailureReason.NOT_AUTHORIZED),
        (404, error("no such model", code="model_not_found"), FailureReason.INVALID_REQUEST),
        (422, {"detail": "bad member"}, FailureReason.INVALID_REQUEST),
        (301, b"", FailureReason.INVALID_REQUEST),
        (400, error("x", code="context_length_exceeded"), FailureReason.CONTEXT_OVERFLOW),
        (400, error("x", type="exceed_context_size_error", n_ctx=256), FailureReason.CONTEXT_OVERFLOW),
        (413, b"", FailureReason.CONTEXT_OVERFLOW),
        (413, error("TPM", code="rate_limit_exceeded"), FailureReason.CONTEXT_OVERFLOW),
        (400, error("x", code="content_filter"), FailureReason.CONTENT_FILTERED),
        (
            400,
            error("x", code=None, innererror={"code": "ResponsibleAIPolicyViolation"}),
            FailureReason.CONTENT_FILTERED,
        ),
        (400, error("x", code="invalid_prompt"), FailureReason.CONTENT_FILTERED),
        (500, b"<html>busy</html>", FailureReason.ENDPOINT_AWAY),
        (502, b"", FailureReason.ENDPOINT_AWAY),
        (503, error("loading", type="unavailable_error"), FailureReason.ENDPOINT_AWAY),
        (529, error("x", type="overloaded_error"), FailureReason.ENDPOINT_AWAY),
        (408, b"", FailureReason.ENDPOINT_AWAY),
    ],
)
def test_errors_are_told_apart(status: int, body: Any, reason: FailureReason) -> None:
    failure = read(body, status)
    assert failure.reason is reason
    assert failure.status == status


@pytest.mark.parametrize(
    ("tokens", "reason"), [(3999, FailureReason.INVALID_REQUEST), (4000, FailureReason.CONTEXT_OVERFLOW)]
)
def test_a_400_without_a_word_is_an_overflow_of_a_long_request(tokens: int, reason: FailureReason) -> None:
    assert read(b"", 400, tokens).reason is reason
    assert read(error("no such model"), 400, tokens).reason is FailureReason.INVALID_REQUEST


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "Mon, 30 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Mon, 30 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, 0.0),
        ({"retry-after": "99999999"}, 3600.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"llm_provider-retry-after": "11"}, 11.0),
    ],
)
def test_the_wait_is_the_one_that_headers_ask_for(headers: dict[str, str], seconds: float) -> None:
    assert read_error(EndpointAnswer(429, headers, b""), 0, NOW).retry_after_s == seconds


def test_google_says_in_the_body_how_long_to_wait() -> None:
    details = [{"@type": "x"}, {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38.5s"}]
    body = [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details}}]
    assert read(body, 429).retry_after_s == 38.5
    assert read(body, 429, retry_after="60").retry_after_s == 60.0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"Bad gateway\n  at all", "Bad gateway at all"),
        (b"<!doctype html>", ""),
        (b"", ""),
        (b"[]", ""),
        (b"null", ""),
        (b'"words"', "words"),
        (b'{"error": "model is loading"}', "model is loading"),
        (b'{"error": null}', ""),
        (b'{"message": "plain", "type": "x"}', "plain"),
        (b'{"detail": [{"loc": 1}]}', ""),
        (b"[" * 100_000, "[" * MAX_SEARCHED_CHARS),
    ],
)
def test_a_message_is_found_in_any_body(body: bytes, message: str) -> None:
    assert parse_error(body).message == message


def test_the_words_of_a_refused_key_are_not_repeated() -> None:
    body = json.dumps(error("Incorrect API key provided: sk-canary")).encode()
    assert "canary" not in read(body, 401).message
    assert "canary" in read(body, 400).message  # who holds the key takes it out of messages


def test_an_overflow_is_found_behind_the_words_of_proxies_and_told_in_short() -> None:
    failure = read(error("litellm.BadRequestError: " + "x" * 1000 + " the prompt is too long"), 400)
    assert failure.reason is FailureReason.CONTEXT_OVERFLOW
    assert len(failure.message) == MAX_MESSAGE_CHARS


@pytest.mark.parametrize("status", [408, 409, 425, 498, 500, 599])
def test_statuses_that_pass(status: int) -> None:
    assert read(b"", status).reason is FailureReason.ENDPOINT_AWAY


@pytest.mark.parametrize(
    ("member", "reason", "status"),
    [
        ({"code": 429}, FailureReason.RATE_LIMITED, 429),
        ({"code": "429"}, FailureReason.RATE_LIMITED, 429),
        ({"code": 400, "message": "no such model"}, FailureReason.INVALID_REQUEST, 400),
        ({"code": "bad"}, FailureReason.ENDPOINT_AWAY, 500),
        ({"code": "1234"}, FailureReason.ENDPOINT_AWAY, 500),
        ({"code": "٤٢٩"}, FailureReason.ENDPOINT_AWAY, 500),
        ({"code": True}, FailureReason.ENDPOINT_AWAY, 500),
        ({"code": "invalid_prompt", "message": "flagged"}, FailureReason.CONTENT_FILTERED, 500),
        ("upstream is away", FailureReason.ENDPOINT_AWAY, 500),
    ],
)
def test_an_error_in_an_answer_of_status_200(member: Any, reason: FailureReason, status: int) -> None:
    failure = read_error_member(member, NOW, {"retry-after": "3"})
    assert (failure.reason, failure.status, failure.retry_after_s) == (reason, status, 3.0)
    assert not failure.unpaid


def test_what_is_said_of_an_error_in_an_answer() -> None:
    assert read_error_member({"message": "oops"}, NOW, {}).message == "the endpoint answered 500: oops"
    assert read_error_member({}, NOW, {}).message == "the endpoint answered 500: without a reason"
    assert "canary" not in read_error_member({"code": 401, "message": "canary"}, NOW, {}).message


def test_codes_are_looked_for_in_errors_inside_of_errors() -> None:
    inner: dict[str, Any] = {"code": "content_filter"}
    for depth in range(1, MAX_INNER_ERRORS + 2):
        inner = {"code": True, "innererror": inner}
        found = parse_error(json.dumps({"error": inner}).encode()).codes
        assert found == ({"content_filter"} if depth <= MAX_INNER_ERRORS else frozenset())


def test_every_reason_has_a_rule() -> None:
    assert set(RETRY_RULES) == set(FailureReason)
