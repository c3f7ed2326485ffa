"""A real inference server, where it is built (`make inference`): shapes, tools, structured output, windows, tokenizers.

Its model says nothing sensible, so what it is made to say is forced by grammars, or made probable by a bias of tokens.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from heed.core.llm.budget import Limit
from heed.core.llm.chat_completions import read_chat_answer
from heed.core.llm.model_answer import Answer, Failure, FailureReason, Outcome
from heed.core.llm.model_call import ModelCall
from heed.core.llm.model_settings import CheckedSchema, ModelSettings, ToolDefinition
from heed.core.llm.token_estimate import least_tokens, most_tokens
from heed.core.llm.transcript import Api, AssistantTurn, Entry, Prompt, ToolResult
from heed.core.llm.turn_events import CompleteTask
from heed.core.llm.turn_loop import LoopRules
from heed.core.policy.egress import Egress
from heed.worker.llm.model_client import EndpointAccess, ModelClient
from tests.builders.models import NOW, chat_body, chat_call, chat_calls, http_answer
from tests.inference.build import VOCABULARIES, InferenceFiles, find_built
from tests.inference.llama_server import LlamaServer, running_server
from tests.inference.texts import TEXTS
from tests.unit.llm.playing import TASK, PlayedTask

APIS: list[Api] = ["ChatCompletions", "Responses"]
CLIENT = ModelClient()
TEMPLATE_TOKENS = 200  # what Qwen's template says about tools is not in the request
ACCESS = EndpointAccess(egress=Egress(networks=("127.0.0.0/8",)))
KIND = {
    "type": "object",
    "properties": {"kind": {"enum": ["a", "b"]}},
    "required": ["kind"],
    "additionalProperties": False,
}
TOOLS = tuple(ToolDefinition(name, f"Does {name}.", CheckedSchema.of(KIND)) for name in ("look_up", "refund"))
OUTPUT = CheckedSchema.of({**KIND, "properties": {"kind": {"enum": ["found", "lost"]}}})
# Made probable: to begin a call with its line's end, to end it rather than to write a comma, and to end where the
# grammar lets it; or to say a few words.
CALLING = {"logit_bias": {"50254": 20, "198": 20, "50255": 12, "11": -20, "50253": 40}}
TALKING = {"logit_bias": {"50253": 9}}
SEEDS = range(1, 6)
QUESTION = Prompt.of("user", "Where is order 7?")


@pytest.fixture(scope="module")
def files() -> InferenceFiles:
    return find_built()


@pytest.fixture(scope="module")
def server(files: InferenceFiles, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    with running_server(files, tmp_path_factory.mktemp("llama")) as running:
        yield running


def settings(server: LlamaServer, api: Api, **given: Any) -> ModelSettings:
    base: dict[str, Any] = {
        "base_url": server.base_url,
        "model": "tiny",
        "api": api,
        "max_output_tokens": 600,
    }
    return ModelSettings(**(base | given))


async def ask(server: LlamaServer, api: Api, *entries: Entry, **given: Any) -> Outcome:
    return await CLIENT.ask(ModelCall.of(settings(server, api, **given), entries or (QUESTION,)), ACCESS)


async def answer(server: LlamaServer, api: Api, *entries: Entry, **given: Any) -> Answer:
    outcome = await ask(server, api, *entries, **given)
    assert isinstance(outcome, Answer), outcome
    return outcome


async def call_tools(server: LlamaServer, api: Api, **given: Any) -> Answer:
    """A turn that calls tools, as it has to; of a model that ends by chance, the first one that ended in time."""
    for seed in SEEDS:
        extra = CALLING | {"seed": seed} | given.get("extra", {})
        outcome = await ask(
            server, api, **({"tools": TOOLS, "tool_choice": "required"} | given | {"extra": extra})
        )
        if isinstance(outcome, Answer):
            return outcome
        assert outcome.reason is FailureReason.CUT_SHORT, outcome
    raise AssertionError("no turn ended in time")


@pytest.mark.parametrize("api", APIS)
async def test_an_answer_that_its_limit_cut_is_told_from_one_that_ended(
    server: LlamaServer, api: Api
) -> None:
    cut = await ask(server, api, max_output_tokens=4)
    assert isinstance(cut, Failure) and cut.reason is FailureReason.CUT_SHORT
    assert cut.usage is not None and cut.usage.output == 4
    ended = await ask(server, api, extra={"logit_bias": {"50253": 100}})
    assert isinstance(ended, Failure) and ended.reason is FailureReason.EMPTY_ANSWER


@pytest.mark.parametrize("api", APIS)
async def test_usage_lies_within_the_estimate(server: LlamaServer, api: Api) -> None:
    call = ModelCall.of(settings(server, api, max_output_tokens=4, tools=TOOLS), (QUESTION,))
    outcome = await CLIENT.ask(call, ACCESS)
    assert isinstance(outcome, Failure) and outcome.usage is not None
    assert call.estimate.least <= outcome.usage.input <= call.estimate.most + TEMPLATE_TOKENS


@pytest.mark.parametrize("api", APIS)
async def test_a_request_beyond_the_window_is_an_overflow(server: LlamaServer, api: Api) -> None:
    outcome = await ask(server, api, Prompt.of("user", "word " * (2 * server.window)))
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.status) == (FailureReason.CONTEXT_OVERFLOW, 400)
    assert outcome.unpaid and str(server.window) in outcome.message


@pytest.mark.parametrize("api", APIS)
async def test_tools_that_are_required_are_called_with_arguments_of_their_schema(
    server: LlamaServer, api: Api
) -> None:
    got = await call_tools(server, api)
    assert got.turn.calls
    for call in got.turn.calls:
        assert call.reason is None and call.name in ("look_up", "refund")
        assert call.arguments is not None and call.arguments["kind"] in ("a", "b")
    assert len({call.id for call in got.turn.calls}) == len(got.turn.calls)
    assert got.usage is not None and got.usage.output > 0


@pytest.mark.parametrize("api", APIS)
async def test_a_turn_with_calls_and_their_results_goes_back(server: LlamaServer, api: Api) -> None:
    got = await call_tools(server, api)
    results = [ToolResult(call.id, call.name, "in Oslo") for call in got.turn.calls]
    again = await ask(server, api, QUESTION, got.turn, *results, tools=TOOLS, max_output_tokens=4)
    assert isinstance(again, Failure) and again.reason is FailureReason.CUT_SHORT
    assert again.usage is not None and got.usage is not None and again.usage.input > got.usage.input


async def test_a_structured_answer_is_forced_by_a_grammar(server: LlamaServer) -> None:
    got = await answer(server, "ChatCompletions", output=OUTPUT)
    assert got.output in ({"kind": "found"}, {"kind": "lost"})
    assert got.problem is None


async def test_responses_ignores_the_format_which_is_noticed_here(server: LlamaServer) -> None:
    outcome = await ask(server, "Responses", output=OUTPUT, max_output_tokens=20)
    assert isinstance(outcome, Failure) and outcome.reason is FailureReason.CUT_SHORT


async def test_what_a_grammar_does_not_know_is_checked_here(server: LlamaServer) -> None:
    number = {
        "type": "object",
        "properties": {"n": {"enum": [3]}},
        "required": ["n"],
        "not": {"required": ["n"]},
    }
    got = await answer(server, "ChatCompletions", output=CheckedSchema.of(number))
    assert got.output is None and got.problem is not None


async def test_a_format_beside_tools_would_forbid_them_and_is_not_sent(server: LlamaServer) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": OUTPUT.schema}}
    forced = await call_tools(server, "ChatCompletions", extra={"response_format": form})
    assert forced.turn.calls == ()  # the server's way, for which the client does not send it
    free = await call_tools(server, "ChatCompletions", output=OUTPUT)
    assert free.turn.calls


async def test_arguments_that_are_no_json_would_break_the_server_and_do_not_go_back(
    server: LlamaServer,
) -> None:
    given = settings(server, "ChatCompletions", tools=TOOLS, max_output_tokens=4)
    message = chat_calls(chat_call("a", "look_up", "oops"))
    read = read_chat_answer(http_answer(chat_body(message)), ModelCall.of(given, (QUESTION,)), NOW)
    assert isinstance(read, Answer)
    told = ToolResult("a", "look_up", read.turn.calls[0].problem)
    mended = await CLIENT.ask(ModelCall.of(given, (QUESTION, read.turn, told)), ACCESS)
    assert isinstance(mended, Failure) and mended.reason is FailureReason.CUT_SHORT
    raw = AssistantTurn("ChatCompletions", (message,))
    broken = await CLIENT.ask(ModelCall.of(given, (QUESTION, raw, told)), ACCESS)
    assert isinstance(broken, Failure) and (broken.reason, broken.status) == (
        FailureReason.ENDPOINT_AWAY,
        500,
    )


class LedModel(ModelClient):
    """A model that calls tools where it has to, says a few words where it may, and answers where a grammar makes it."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    async def ask(self, call: ModelCall, access: EndpointAccess) -> Outcome:
        self.seed += 1
        biases = {"required": CALLING, "auto": TALKING, "none": {}}
        extra = {**biases[call.settings.tool_choice], "seed": self.seed}
        return await super().ask(replace(call, settings=replace(call.settings, extra=extra)), access)


async def test_a_whole_task_calls_tools_and_ends_with_a_structured_answer(server: LlamaServer) -> None:
    """The first turn has to call; the words of the second are no answer; that of the repair has to fit."""

    def run(arguments: Mapping[str, Any]) -> str:
        return f"{arguments['kind']} is in Oslo"

    given = settings(server, "ChatCompletions", tools=TOOLS, tool_choice="required", output=OUTPUT)
    rules = LoopRules("chat-1", {TASK: Limit(turns=8)}, max_output_tokens=given.max_output_tokens)
    ends = []
    for seed in (100, 200, 300, 400, 500):
        task = PlayedTask(given, rules, ACCESS, (QUESTION,), {"look_up": run, "refund": run}, LedModel(seed))
        end = await task.run()
        assert task.spent.tool_calls == task.runs.total()
        assert task.spent.turns == task.calls <= 8
        if isinstance(end, CompleteTask):
            assert task.runs.total() >= 1
            assert end.result in ({"kind": "found"}, {"kind": "lost"})
            return
        ends.append(end)
    raise AssertionError(f"no task came to an answer: {ends}")


# ── tokenizers ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_real_tokenizers_stay_within_the_bounds(
    files: InferenceFiles, tmp_path: Path, vocabulary: str
) -> None:
    with running_server(files, tmp_path, vocabulary) as server:
        counted = {name: count_tokens(server, text) for name, text in TEXTS.items()}
    beyond = {
        name: (least_tokens(text), counted[name], most_tokens(text))
        for name, text in TEXTS.items()
        if not least_tokens(text) <= counted[name] <= most_tokens(text)
    }
    assert beyond == {}


def count_tokens(server: LlamaServer, text: str) -> int:
    body = json.dumps({"content": text, "add_special": False}).encode()
    request = Request(f"{server.url}/tokenize", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as said:
        return len(json.load(said)["tokens"])
