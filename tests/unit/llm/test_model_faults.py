"""What endpoints do wrong, over real HTTP and in both APIs: each fault has its reason, and what it cost."""

import json
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from heed.core.llm.model_answer import Answer, Failure, FailureReason, Outcome
from heed.core.llm.model_call import ModelCall
from heed.core.llm.model_settings import CheckedSchema
from heed.core.llm.transcript import Api, Prompt
from heed.core.policy.egress import Egress
from heed.util.clock import now
from heed.worker.llm.model_client import EndpointAccess, ModelClient
from tests.builders.models import ORDER_SCHEMA, a_tool, chat_call, model_settings
from tests.http_services import ScriptedService, raw, reply, silent_after
from tests.ports import reserved_port
from tests.unit.llm.model_service import Speech, bodies, call, serving_model

HERE = Egress(networks=("127.0.0.0/8",))
ACCESS = EndpointAccess(key="sk-canary-key", egress=HERE)
APIS: list[Api] = ["ChatCompletions", "Responses"]
CLIENT = ModelClient()


@pytest.fixture(params=APIS)
def speech(request: pytest.FixtureRequest) -> Speech:
    return Speech(request.param)


async def ask(
    speech: Speech,
    service: ScriptedService,
    access: EndpointAccess = ACCESS,
    prompt: str = "Where?",
    **given: Any,
) -> Outcome:
    settings = model_settings(base_url=f"{service.url}/v1", api=speech.api, **given)
    return await CLIENT.ask(ModelCall.of(settings, [Prompt.of("user", prompt)]), access)


async def failure(speech: Speech, answer: Any, **given: Any) -> Failure:
    async with serving_model([answer]) as service:
        outcome = await ask(speech, service, **given)
    assert isinstance(outcome, Failure), outcome
    assert len(service.requests) == 1  # nothing is tried again where no one counts it
    return outcome


async def answer(speech: Speech, given: Any, **settings: Any) -> Answer:
    async with serving_model([given]) as service:
        outcome = await ask(speech, service, **settings)
    assert isinstance(outcome, Answer), outcome
    return outcome


async def test_a_request_has_key_path_and_json(speech: Speech) -> None:
    async with serving_model([speech.text("In Oslo.")]) as service:
        outcome = await ask(speech, service)
    assert isinstance(outcome, Answer) and outcome.turn.text == "In Oslo."
    (seen,) = service.requests
    path = "/v1/responses" if speech.api == "Responses" else "/v1/chat/completions"
    assert (seen.method, seen.target) == ("POST", path)
    assert seen.headers["authorization"] == "Bearer sk-canary-key"
    assert seen.headers["content-type"] == "application/json"
    assert bodies(service)[0]["model"] == "small"


@pytest.mark.parametrize("seconds", [0, 7])
async def test_too_many_requests_with_seconds_to_wait(speech: Speech, seconds: int) -> None:
    failed = await failure(speech, reply(429, "{}", Retry_After=str(seconds)))
    assert (failed.reason, failed.retry_after_s) == (FailureReason.RATE_LIMITED, float(seconds))
    assert failed.unpaid


async def test_too_many_requests_until_a_date(speech: Speech) -> None:
    later = format_datetime(now() + timedelta(minutes=30), usegmt=True)
    failed = await failure(speech, reply(429, "{}", Retry_After=later))
    assert failed.reason is FailureReason.RATE_LIMITED
    assert 0 < failed.retry_after_s <= 1800


async def test_a_quota_that_is_gone_is_not_waited_for(speech: Speech) -> None:
    error = {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}
    failed = await failure(speech, reply(429, json.dumps(error)))
    assert (failed.reason, failed.rule) == (FailureReason.QUOTA_GONE, "never")


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_an_error_of_the_server_passes(speech: Speech, status: int) -> None:
    failed = await failure(speech, reply(status, "<html>oops</html>"))
    assert (failed.reason, failed.rule, failed.unpaid) == (FailureReason.ENDPOINT_AWAY, "again", True)


async def test_an_error_body_that_is_a_list(speech: Speech) -> None:
    error = [{"error": {"code": 400, "message": "Unknown name", "status": "INVALID_ARGUMENT"}}]
    failed = await failure(speech, reply(400, json.dumps(error)))
    assert failed.reason is FailureReason.INVALID_REQUEST and "Unknown name" in failed.message


async def test_an_answer_that_does_not_begin_may_have_been_paid(speech: Speech) -> None:
    access = EndpointAccess(egress=HERE, timeout_s=3.0)  # in which the request arrives, on any machine
    failed = await failure(speech, silent_after(), access=access)
    assert (failed.reason, failed.unpaid) == (FailureReason.ENDPOINT_AWAY, False)


async def test_an_answer_that_stops_in_its_middle_may_have_been_paid(speech: Speech) -> None:
    failed = await failure(speech, raw(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"choices": ['))
    assert (failed.reason, failed.unpaid) == (FailureReason.ENDPOINT_AWAY, False)


async def test_a_connection_that_ends_without_an_answer_may_have_been_paid(speech: Speech) -> None:
    failed = await failure(speech, raw(b""))
    assert (failed.reason, failed.unpaid) == (FailureReason.ENDPOINT_AWAY, False)


async def test_an_endpoint_that_is_not_there_was_not_paid(speech: Speech) -> None:
    with reserved_port() as port:
        service = ScriptedService([], port.getsockname()[1])
        failed = await ask(speech, service)
    assert isinstance(failed, Failure)
    assert (failed.reason, failed.unpaid) == (FailureReason.ENDPOINT_AWAY, True)


@pytest.mark.parametrize("body", ["{", "", "null", "<html>"])
async def test_an_answer_that_is_no_json(speech: Speech, body: str) -> None:
    failed = await failure(speech, reply(200, body))
    assert (failed.reason, failed.rule, failed.unpaid) == (FailureReason.INVALID_ANSWER, "again", False)


async def test_an_answer_that_is_too_large(speech: Speech) -> None:
    failed = await failure(speech, raw(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (16 * 1024**2 + 1)))
    assert (failed.reason, failed.unpaid) == (FailureReason.INVALID_ANSWER, False)


async def test_an_answer_without_a_turn(speech: Speech) -> None:
    failed = await failure(speech, speech.empty())
    assert (failed.reason, failed.rule) == (FailureReason.EMPTY_ANSWER, "again")


async def test_an_answer_that_reached_its_limit(speech: Speech) -> None:
    failed = await failure(speech, speech.cut_by_limit("In Os"))
    assert failed.reason is FailureReason.CUT_SHORT
    assert failed.usage is not None and failed.usage.total == 520


async def test_a_prompt_that_was_cut_in_silence(speech: Speech) -> None:
    failed = await failure(speech, speech.counted("Hello!", 149), prompt="word " * 200)
    assert (failed.reason, failed.rule) == (FailureReason.SILENTLY_TRUNCATED, "never")
    assert (await answer(speech, speech.counted("Hello!", 150), prompt="word " * 200)).turn.text == "Hello!"


async def test_an_overflow_is_foreseen_and_not_sent(speech: Speech) -> None:
    async with serving_model([speech.counted("Hello!", 1000)]) as service:
        outcome = await ask(speech, service, prompt="word " * 1000, context_tokens=849)
        assert isinstance(outcome, Failure) and outcome.reason is FailureReason.CONTEXT_OVERFLOW
        assert (service.requests, outcome.unpaid) == ([], True)
        assert isinstance(await ask(speech, service, prompt="word " * 1000, context_tokens=850), Answer)


async def test_an_answer_without_usage_is_an_answer(speech: Speech) -> None:
    assert (await answer(speech, speech.without_usage("Hello!"))).usage is None


async def test_calls_that_say_they_ended_by_stop(speech: Speech) -> None:
    got = await answer(speech, speech.calls(call("look_up", order="7"), finish="stop"), tools=(a_tool(),))
    assert [item.arguments for item in got.turn.calls] == [{"order": "7"}]


async def test_several_calls_where_one_was_asked_for(speech: Speech) -> None:
    said = speech.calls(call("look_up", "a", order="7"), call("look_up", "b", order="8"))
    async with serving_model([said]) as service:
        outcome = await ask(speech, service, tools=(a_tool(),), parallel_tools=False)
    assert bodies(service)[0]["parallel_tool_calls"] is False
    assert isinstance(outcome, Answer) and [item.id for item in outcome.turn.calls] == ["a", "b"]


async def test_missing_and_repeated_ids(speech: Speech) -> None:
    calls = [call("look_up", identity, order="7") for identity in ("x", None, "x")]
    got = await answer(speech, speech.calls(*calls), tools=(a_tool(),))
    assert [item.id for item in got.turn.calls] == ["x", "call_1", "x_2"]


async def test_arguments_that_are_no_json(speech: Speech) -> None:
    got = await answer(speech, speech.calls(chat_call(arguments="order=7")), tools=(a_tool(),))
    assert [item.reason for item in got.turn.calls] == ["MalformedToolArguments"]


async def test_an_answer_of_another_schema(speech: Speech) -> None:
    output = CheckedSchema.of(ORDER_SCHEMA)
    assert (await answer(speech, speech.text('{"order": "7"}'), output=output)).output == {"order": "7"}
    wrong = await answer(speech, speech.text('{"order": 7, "x": 1}'), output=output)
    assert wrong.output is None and wrong.problem is not None


# ── where nothing may be sent, and what may not be told ─────────────────────────────────────────────────────────────


async def test_nothing_is_sent_to_an_address_that_is_refused(speech: Speech) -> None:
    async with serving_model([speech.text("Hello!")]) as service:
        outcome = await ask(speech, service, EndpointAccess(key="sk-canary-key"))
        assert isinstance(outcome, Failure)
        assert (outcome.reason, outcome.rule, outcome.unpaid) == (
            FailureReason.POLICY_VIOLATION,
            "never",
            True,
        )
        assert service.connections == 0


async def test_a_redirect_is_not_followed(speech: Speech) -> None:
    failed = await failure(speech, reply(307, "", Location="http://127.0.0.1:9/v1"))
    assert (failed.reason, failed.status) == (FailureReason.INVALID_REQUEST, 307)


@pytest.mark.parametrize("status", [200, 400, 401, 500])
async def test_a_key_that_is_echoed_is_told_to_no_one(speech: Speech, status: int) -> None:
    echoed = "sk-canary-key and other-canary"
    access = EndpointAccess(key="sk-canary-key", headers=(("X-Tenant", "other-canary"),), egress=HERE)
    said = speech.text(echoed) if status == 200 else reply(status, json.dumps({"error": {"message": echoed}}))
    async with serving_model([said]) as service:
        outcome = await ask(speech, service, access)
    assert service.requests[0].headers["x-tenant"] == "other-canary"
    assert "canary" not in repr(outcome)


async def test_a_base_url_that_is_none_is_no_request(speech: Speech) -> None:
    settings = model_settings(base_url="models.example", api=speech.api)
    outcome = await CLIENT.ask(ModelCall.of(settings, [Prompt.of("user", "Hi")]), ACCESS)
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.unpaid) == (FailureReason.INVALID_REQUEST, True)
