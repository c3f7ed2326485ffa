"""Whole `llm` tasks over real HTTP, in both APIs: turns, tools, repairs, budgets, and a death at every point."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from heed.core.llm.budget import Amount, Limit, Price
from heed.core.llm.model_settings import CheckedSchema
from heed.core.llm.transcript import Api, Prompt
from heed.core.llm.turn_events import CompleteTask, FailTask
from heed.core.llm.turn_loop import LoopRules
from heed.core.policy.egress import Egress
from heed.worker.llm.model_client import EndpointAccess, ModelClient
from tests.builders.models import ORDER_SCHEMA, a_tool, chat_call, model_settings
from tests.http_services import ScriptedService, raw, reply
from tests.unit.llm.model_service import (
    ANSWER_TOKENS,
    PROMPT_TOKENS,
    Script,
    Speech,
    bodies,
    call,
    serving_model,
)
from tests.unit.llm.playing import TASK, PlayedTask, Points

APIS: list[Api] = ["ChatCompletions", "Responses"]
CLIENT = ModelClient()
TURN = PROMPT_TOKENS + ANSWER_TOKENS
SUM_SCHEMA = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
TOOLS = (a_tool(), a_tool("refund", SUM_SCHEMA))
PROMPTS = (
    Prompt.of("system", "You help with orders."),
    Prompt.of("user", "Where is order 7? I want my money back."),
)


@pytest.fixture(params=APIS)
def speech(request: pytest.FixtureRequest) -> Speech:
    return Speech(request.param)


def look_up(arguments: Mapping[str, Any]) -> str:
    return json.dumps({"order": arguments["order"], "place": "Oslo"})


def refund(arguments: Mapping[str, Any]) -> str:
    return f"refunded {arguments['sum']}"


def played(
    speech: Speech,
    service: ScriptedService,
    limit: Limit | None = None,
    points: Points | None = None,
    **given: Any,
) -> PlayedTask:
    settings = model_settings(base_url=f"{service.url}/v1", api=speech.api, tools=TOOLS, **given)
    rules = LoopRules(
        "chat-1",
        {TASK: limit or Limit()},
        Price.of("1", "2"),
        settings.max_output_tokens,
        settings.parallel_tools,
    )
    access = EndpointAccess(egress=Egress(networks=("127.0.0.0/8",)))
    tools = {"look_up": look_up, "refund": refund}
    return PlayedTask(settings, rules, access, PROMPTS, tools, CLIENT, points or Points())


def support_script(speech: Speech) -> Script:
    both = speech.calls(call("look_up", "a", order="7"), call("refund", "b", sum=5))
    more = speech.calls(call("look_up", "a", order="8"))
    return [both, more, speech.text('{"order": "7"}')]


async def test_two_tools_at_once_one_after_them_and_a_structured_answer(speech: Speech) -> None:
    async with serving_model(support_script(speech)) as service:
        task = played(speech, service, output=CheckedSchema.of(ORDER_SCHEMA))
        assert await task.run() == CompleteTask({"order": "7"})
    assert task.runs == {"look_up": 2, "refund": 1}
    assert task.calls == 3
    cost = 3 * (PROMPT_TOKENS + 2 * ANSWER_TOKENS) * 10**6
    assert task.spent == Amount(tokens=3 * TURN, cost=cost, turns=3, tool_calls=3)
    last = json.dumps(bodies(service)[-1])
    assert last.index("Oslo") < last.index("refunded 5")
    assert ("Hm." in last) is (speech.api == "ChatCompletions")  # what the model thought went back as it came


async def test_each_turn_is_recorded_with_its_figures(speech: Speech) -> None:
    async with serving_model(support_script(speech)) as service:
        task = played(speech, service, output=CheckedSchema.of(ORDER_SCHEMA))
        await task.run()
    assert [record["key"] for record in task.transcript.records] == [
        *("0/0", "0/1", "1/answer", "2/0", "2/1", "2/answer", "3/0", "3/answer")
    ]
    figures = [record["figures"] for record in task.transcript.records if "figures" in record]
    assert {item["model"] for item in figures} == {"small"}
    assert len({item["requestDigest"] for item in figures}) == 3
    assert all(item["latencyMs"] >= 0 and item["finish"] for item in figures)


async def test_a_death_at_every_point_repeats_at_most_the_call_under_way(speech: Speech) -> None:
    output = CheckedSchema.of(ORDER_SCHEMA)
    async with serving_model(support_script(speech)) as service:
        whole = played(speech, service, output=output)
        await whole.run()
        assert whole.points.passed > 40
        repeated = 0
        for crash_at in range(1, whole.points.passed + 1):
            task = played(speech, service, points=Points(crash_at), output=output)
            assert await task.run() == CompleteTask({"order": "7"})
            assert task.runs == whole.runs
            assert task.spent == whole.spent
            assert [record["entry"] for record in task.transcript.records] == [
                record["entry"] for record in whole.transcript.records
            ]
            assert task.calls in (3, 4)
            repeated += task.calls - 3
    assert repeated == 2 * 3  # after the answer came, and before it was recorded, in each of three turns


async def test_a_looping_model_stops_at_its_budget(speech: Speech) -> None:
    async with serving_model([speech.calls(call("look_up", order="7"))]) as service:
        task = played(speech, service, Limit(turns=4))
        end = await task.run()
    assert isinstance(end, FailTask) and end.reason == "BudgetExceeded" and "4 turns" in end.message
    assert (task.calls, task.runs["look_up"], task.spent.tokens) == (4, 4, 4 * TURN)


async def test_tokens_run_out_before_the_call_that_could_cross_their_limit(speech: Speech) -> None:
    async with serving_model([speech.calls(call("look_up", order="7"))]) as service:
        task = played(speech, service, Limit(tokens=3000))
        end = await task.run()
    assert isinstance(end, FailTask) and end.reason == "BudgetExceeded"
    assert task.calls == task.spent.turns == 5  # the sixth could take 722 of the 400 that are left
    assert task.spent.tokens == 5 * TURN


async def test_malformed_arguments_are_repaired_once(speech: Speech) -> None:
    bad = speech.calls(chat_call("a", "look_up", "order=7"))
    async with serving_model(
        [bad, speech.calls(call("look_up", order="7")), speech.text("In Oslo.")]
    ) as service:
        task = played(speech, service)
        assert await task.run() == CompleteTask("In Oslo.")
    assert task.runs == {"look_up": 1}
    told = json.dumps(bodies(service)[1])
    assert "order=7" not in told and "Write one JSON object" in told
    async with serving_model([bad]) as service:
        task = played(speech, service)
        end = await task.run()
    assert isinstance(end, FailTask) and end.reason == "MalformedToolArguments" and task.calls == 2


async def test_an_unknown_tool_is_told_and_then_fails(speech: Speech) -> None:
    async with serving_model([speech.calls(call("lookup", order="7"))]) as service:
        task = played(speech, service)
        end = await task.run()
    assert isinstance(end, FailTask) and end.reason == "UnknownTool"
    assert "Tools: look_up, refund" in json.dumps(bodies(service)[1])


async def test_a_wrong_schema_is_repaired_once(speech: Speech) -> None:
    output = CheckedSchema.of(ORDER_SCHEMA)
    async with serving_model([speech.text("It is 7."), speech.text('{"order": "7"}')]) as service:
        task = played(speech, service, output=output)
        assert await task.run() == CompleteTask({"order": "7"})
    async with serving_model([speech.text("It is 7.")]) as service:
        task = played(speech, service, output=output)
        end = await task.run()
    assert isinstance(end, FailTask) and end.reason == "WrongSchema" and task.calls == 2


async def test_what_passes_is_tried_again_and_costs_nothing(speech: Speech) -> None:
    busy, broken = reply(429, "{}", Retry_After="9"), reply(503, "{}")
    async with serving_model([[busy, broken, speech.text("Hello!")]]) as service:
        task = played(speech, service)
        assert await task.run() == CompleteTask("Hello!")
    assert (task.calls, task.waits) == (3, [9.0, 4.0])
    assert task.spent == Amount(tokens=TURN, cost=(PROMPT_TOKENS + 2 * ANSWER_TOKENS) * 10**6, turns=1)


async def test_an_answer_that_was_lost_is_counted_as_reserved(speech: Speech) -> None:
    async with serving_model([[raw(b""), speech.text("Hello!")]]) as service:
        task = played(speech, service)
        assert await task.run() == CompleteTask("Hello!")
    assert task.spent.turns == 2 and task.spent.tokens > TURN + task.settings.max_output_tokens


async def test_an_endpoint_that_stays_away_ends_the_task(speech: Speech) -> None:
    async with serving_model([reply(500, "{}")]) as service:
        task = played(speech, service)
        end = await task.run()
    assert isinstance(end, FailTask) and end.reason == "EndpointAway"
    assert (task.calls, task.spent) == (5, Amount())


async def test_calls_run_one_by_one_where_parallel_ones_are_forbidden(speech: Speech) -> None:
    running: list[str] = []

    def run(name: str) -> str:
        running.append(name)
        return name

    async with serving_model(support_script(speech)) as service:
        task = played(speech, service, parallel_tools=False)
        task.tools = {"look_up": lambda _: run("look_up"), "refund": lambda _: run("refund")}
        await task.run()
    assert running == ["look_up", "refund", "look_up"]
    assert all(body["parallel_tool_calls"] is False for body in bodies(service))
