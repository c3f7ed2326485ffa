"""Endpoints: dialects, addresses, keys, and which API `Auto` means."""

import pytest

from heed.core.llm.model_endpoint import choose_api, find_dialect, key_header, request_url
from heed.core.llm.model_settings import is_strict
from heed.core.llm.protocols import foresee_overflow, read_answer, write_request
from heed.core.llm.transcript import Prompt
from tests.builders.models import (
    NOW,
    ORDER_SCHEMA,
    chat_body,
    http_answer,
    model_call,
    model_settings,
    responses_body,
)

AZURE_V1 = "https://x.openai.azure.com/openai/v1/"
AZURE_DEPLOYMENT = "https://x.openai.azure.com/openai/deployments/small?api-version=2024-10-21"
GOOGLE = "https://generativelanguage.googleapis.com/v1beta/openai/"


@pytest.mark.parametrize(
    ("base_url", "dialect", "url"),
    [
        ("https://api.openai.com/v1", "OpenAI", "https://api.openai.com/v1/responses"),
        ("https://EU.api.openai.com/v1/", "OpenAI", "https://EU.api.openai.com/v1/responses"),
        ("https://api.openai.com.example/v1", "Other", "https://api.openai.com.example/v1/chat/completions"),
        ("https://notapi.openai.com/v1", "Other", "https://notapi.openai.com/v1/chat/completions"),
        (AZURE_V1, "Azure", "https://x.openai.azure.com/openai/v1/responses"),
        (
            AZURE_DEPLOYMENT,
            "Azure",
            "https://x.openai.azure.com/openai/deployments/small/chat/completions?api-version=2024-10-21",
        ),
        (GOOGLE, "Google", GOOGLE + "chat/completions"),
        (
            "https://eu-aiplatform.googleapis.com/v1/projects/p/locations/eu/endpoints/openapi",
            "Google",
            "https://eu-aiplatform.googleapis.com/v1/projects/p/locations/eu/endpoints/openapi/chat/completions",
        ),
        ("http://[::1]:11434/v1", "Other", "http://[::1]:11434/v1/chat/completions"),
        ("http://models:8000", "Other", "http://models:8000/chat/completions"),
    ],
)
def test_auto_finds_dialect_and_address(base_url: str, dialect: str, url: str) -> None:
    assert find_dialect(base_url) == dialect
    assert request_url(model_settings(base_url=base_url)) == url


def test_an_api_that_is_named_is_taken() -> None:
    assert choose_api(model_settings(api="Responses")) == "Responses"
    assert (
        choose_api(model_settings(base_url="https://api.openai.com/v1", api="ChatCompletions"))
        == "ChatCompletions"
    )


@pytest.mark.parametrize(
    "base_url", ["", "models.example/v1", "ftp://x/", "http://me:secret@x/v1", "http://x/#a", "http://x/ y"]
)
def test_what_is_no_url_is_refused_without_its_words(base_url: str) -> None:
    with pytest.raises(ValueError, match="base URL") as refused:
        request_url(model_settings(base_url=base_url))
    assert "secret" not in str(refused.value)
    assert find_dialect(base_url) == "Other"


def test_azure_has_a_header_of_its_own_for_keys() -> None:
    assert key_header(AZURE_V1, "k") == ("api-key", "k")
    assert key_header(GOOGLE, "k") == ("Authorization", "Bearer k")


def test_a_call_is_written_and_read_by_the_api_it_goes_to() -> None:
    chat, responses = model_call(), model_call(api="Responses")
    assert b'"messages"' in write_request(chat) and b'"input"' in write_request(responses)
    for call, body in ((chat, chat_body()), (responses, responses_body())):
        outcome = read_answer(http_answer(body), call, NOW)
        assert getattr(outcome, "turn").text == "On its way."  # noqa: B009


@pytest.mark.parametrize(("window", "fits"), [(None, True), (175, True), (174, False)])
def test_an_overflow_is_foreseen_where_it_is_certain(window: int | None, fits: bool) -> None:
    call = model_call(
        [Prompt.of("user", "word " * 100)], context_tokens=window
    )  # 75 at least, and 100 for the answer
    assert (foresee_overflow(call) is None) is fits


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (ORDER_SCHEMA, True),
        ({"type": "object", "properties": {}, "additionalProperties": False}, True),
        ({"type": "object"}, False),
        ({"type": "array", "items": ORDER_SCHEMA}, False),
        ({**ORDER_SCHEMA, "required": []}, False),
        ({**ORDER_SCHEMA, "additionalProperties": True}, False),
        ({**ORDER_SCHEMA, "$defs": {"x": {"type": "object"}}}, False),
        ({**ORDER_SCHEMA, "properties": {"order": {"type": ["object", "null"]}}}, False),
        (
            {**ORDER_SCHEMA, "properties": {"order": {"anyOf": [{"type": "string"}, {"properties": {}}]}}},
            False,
        ),
        ({**ORDER_SCHEMA, "properties": {"order": {"enum": [{"type": "object"}]}}}, True),
        ({**ORDER_SCHEMA, "properties": {"order": {"type": "array", "items": ORDER_SCHEMA}}}, True),
    ],
)
def test_strict_schemas_say_all_of_their_objects(schema: object, strict: bool) -> None:
    assert is_strict(schema) is strict
