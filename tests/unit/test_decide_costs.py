"""What one event may take: limits that hold while a decision is made, and not only when it is done."""

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.agent import MAX_EXPRESSIONS, MAX_EXPRESSIONS_CHARS, MAX_TEMPLATE_VALUES
from heed.api.fields import MAX_EXPRESSION_CHARS
from heed.core.cel import expression
from heed.core.cel.expression import ExpressionError, Scope, compile_expression
from heed.core.decision.decide import decide
from heed.core.decision.guard import NEEDS_GUARD
from heed.core.ledger.ledger import Ledger
from heed.errors import DecisionFailed
from tests.builders.agents import job, manifest, problems, program
from tests.builders.decisions import after, decide_each, only_task, session_states
from tests.builders.events import received, task_end
from tests.builders.policies import event_type
from tests.unit.test_event_types import schemas


def code_and_handler_after(program_: Any, *events: Any) -> tuple[str, str | None]:
    """Code and handler of the dead letter that the last event becomes."""
    found = decide_each(program_, events)[-1].letter
    assert found is not None
    return found.code, found.handler


# ── from handler to handler ─────────────────────────────────────────────────────────────────────────────────────────


def test_state_that_doubles_from_handler_to_handler_stops_at_the_limit() -> None:
    doubling = program({"state": {"s": "x"}}, *[{"state": {"s": "${state.s + state.s}"}}] * 40)

    assert code_and_handler_after(doubling, received(1)) == (
        "StateTooLarge",
        "h17",
    )  # the first beyond 128 KiB


def test_events_are_not_collected_beyond_what_one_decision_may_make() -> None:
    emitting = program(*[{"emit": [{"type": "com.example.out", "data": "${event.data}"}] * 4}] * 8)

    assert code_and_handler_after(emitting, received(1, data="x" * 100_000)) == ("DecisionTooLarge", "h0")


def test_inputs_are_not_collected_beyond_what_one_decision_may_make() -> None:
    starting = program(*[{"start": [{"task": "work", "input": "${event.data}"}]}] * 8, tasks={"work": job()})

    assert code_and_handler_after(starting, received(1, data="x" * 100_000)) == ("DecisionTooLarge", "h3")


def test_tasks_are_not_rendered_beyond_what_one_decision_may_make(monkeypatch: pytest.MonkeyPatch) -> None:
    many = program(
        {"start": [{"from": "${event.data.map(item, {'task': 'work', 'input': item})}"}]},
        tasks={"work": job("x" * 50_000, "${input}")},
    )
    rendered: list[Scope] = []
    task = many.tasks["work"]

    def render(scope: Scope) -> Any:
        rendered.append(scope)
        return task.template.render(scope)

    counting = replace(many, tasks={"work": replace(task, template=replace(task.template, render=render))})

    assert code_and_handler_after(counting, received(1, data=list(range(700)))) == ("DecisionTooLarge", None)
    assert len(rendered) == 8  # of 50 KB, in 384 KiB


def test_one_thing_too_large_is_called_by_its_name() -> None:
    emitting = program({"emit": [{"type": "com.example.out", "data": "${event.data}"}]})

    assert code_and_handler_after(emitting, received(1, data="x" * 500_000)) == ("EventTooLarge", "h0")


# ── what a manifest may hold ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "handler",
    [
        {"when": "true || " + "x" * MAX_EXPRESSION_CHARS},
        {"state": {"a": ["${true || " + "x" * MAX_EXPRESSION_CHARS + "}"]}},
        {"emit": [{"type": "com.example.out", "data": "so ${true || " + "x" * MAX_EXPRESSION_CHARS + "}"}]},
        {"start": [{"task": "work", "input": "${true || " + "x" * MAX_EXPRESSION_CHARS + "}"}]},
    ],
)
def test_no_expression_is_longer_than_allowed_wherever_it_stands(handler: dict[str, Any]) -> None:
    found = str(problems(manifest(handler, tasks={"work": job()})))

    assert str(MAX_EXPRESSION_CHARS) in found


def test_text_around_expressions_may_be_long() -> None:
    assert problems(manifest({"state": {"a": "x" * 5000 + "${event.id}"}})) == []


@pytest.mark.parametrize(
    "state",
    [
        {f"k{number}": "${1}" for number in range(MAX_EXPRESSIONS + 1)},
        {"k": "${1}" * (MAX_EXPRESSIONS + 1)},
        {f"k{number}": f"${{'{'x' * 1000}'}}" for number in range(MAX_EXPRESSIONS_CHARS // 1000 + 1)},
        {
            f"k{number}": "${optional.of('" + "x" * 500 + "')" + ".optMap(a, a)" * 5 + "}"
            for number in range(10)
        },
    ],
)
def test_there_are_no_more_expressions_than_can_be_compiled_in_passing(state: dict[str, Any]) -> None:
    (problem,) = problems(manifest({"state": state}))

    assert problem.path == "spec"
    assert "several Agents" in problem.remedy


def test_there_are_no_more_values_than_can_be_compiled_in_passing() -> None:
    enough = {f"k{number}": [number] for number in range(MAX_TEMPLATE_VALUES // 2 - 10)}
    assert problems(manifest({"state": enough})) == []

    (problem,) = problems(manifest({"state": enough}, {"state": {"one": "more", "list": [0] * 20}}))

    assert problem.path == "spec"
    assert str(MAX_TEMPLATE_VALUES) in problem.message


@pytest.mark.parametrize(
    "source",
    [
        "optional.of(event)" + ".optMap(a, a)" * 6,
        "optional.of(event)" + ".optFlatMap(a, optional.of(a))" * 12,
        "event.all(a, event.all(b, event.all(c, [" + ",".join(["a+b+c"] * 140) + "].size() > 1)))",
    ],
)
def test_an_expression_that_its_macros_blow_up_is_refused(source: str) -> None:
    with pytest.raises(ExpressionError, match="split it"):
        compile_expression(source)


# ── careful programs ────────────────────────────────────────────────────────────────────────────────────────────────


SEARCHING = {"when": "event.data.words.all(w, !event.data.text.contains(w))", "state": {"n": "${1}"}}


def careful(*handlers: dict[str, Any], **spec: Any) -> Any:
    return replace(program(*handlers, **spec), careful=True)


def test_a_careful_program_decides_what_is_harmless_as_ever() -> None:
    event = received(1, data={"words": ["lamp"], "text": "a rug"})

    assert decide(careful(SEARCHING), Ledger(), event) == decide(program(SEARCHING), Ledger(), event)


def test_a_careful_program_leaves_what_may_be_costly() -> None:
    event = received(1, data={"words": ["xz"] * 5000, "text": "x" * 5000})

    assert code_and_handler_after(careful(SEARCHING), event) == (NEEDS_GUARD, None)


def test_state_counts_as_data_do() -> None:
    searching = {"when": "state.?words.orValue([]).all(w, !state.text.contains(w))", "state": "${event.data}"}
    large = received(1, data={"words": ["xz"] * 5000, "text": "x" * 5000}, correlationid="k")
    ledger = after(program(searching), large)

    found = decide(careful(searching), ledger, received(2, correlationid="k")).letter

    assert found is not None
    assert found.code == NEEDS_GUARD


def test_state_that_grew_in_the_same_decision_counts_too() -> None:
    handlers: list[dict[str, Any]] = [
        {"state": {"text": "${event.data.words.join('') + event.data.text}"}},
        {"state": {"text": "${state.text + state.text + state.text + state.text + state.text}"}},
        {"state": {"text": "${state.text + state.text + state.text + state.text + state.text}"}},
        {"when": "event.data.words.all(w, !state.text.contains(w))", "state": {"n": "${1}"}},
    ]
    few = {"words": ["xz"] * 40, "text": "x" * 4000}

    assert careful(*handlers).limit.allows(few)
    assert code_and_handler_after(careful(*handlers), received(1, data=few)) == (NEEDS_GUARD, None)


def test_the_input_of_a_task_counts_when_it_starts_and_when_it_ends() -> None:
    tasks = {"work": job("${input.words.all(w, !input.text.contains(w)) ? 'yes' : 'no'}")}
    handlers: list[dict[str, Any]] = [
        {"start": [{"task": "work", "input": "${event.data.map(d, {'words': d.words, 'text': d.text})[0]}"}]},
        {
            "type": names.TASK_COMPLETED,
            "when": "input.words.all(w, !input.text.contains(w))",
            "state": {"done": "${true}"},
        },
    ]
    large = received(1, data=[{"words": ["xz"] * 2000, "text": "x" * 9000}])

    assert code_and_handler_after(careful(*handlers, tasks=tasks), large) == (NEEDS_GUARD, None)
    ledger = after(program(*handlers, tasks=tasks), large)
    ended = decide(careful(*handlers, tasks=tasks), ledger, task_end(2, only_task(ledger))).letter
    assert ended is not None
    assert ended.code == NEEDS_GUARD


# ── verdicts ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_verdict_is_the_letter_of_what_the_handlers_would_have_got() -> None:
    verdict = DecisionFailed("TooCostly", "took too long", "h0")
    condemned = replace(program({"state": {"n": "${1}"}}), verdict=verdict)

    assert code_and_handler_after(condemned, received(1)) == ("TooCostly", "h0")


def test_the_end_of_a_task_takes_it_out_of_the_ledger_whatever_the_verdict() -> None:
    handlers: list[dict[str, Any]] = [
        {"start": [{"task": "work"}]},
        {"type": names.TASK_COMPLETED, "state": {"n": "${1}"}},
    ]
    running = program(*handlers, tasks={"work": job()})
    ledger = after(running, received(1))
    verdict = DecisionFailed("TooCostly", "took too long")

    decision = decide(replace(running, verdict=verdict), ledger, task_end(2, only_task(ledger)))

    assert decision.letter is not None
    assert (decision.letter.code, decision.letter.handler) == ("TooCostly", None)
    assert decision.letter.task is not None
    assert decision.ledger.pending_tasks == {}


@pytest.mark.parametrize("place", ["when", "state"])
def test_no_memory_is_a_letter_that_names_the_handler(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    starved = program({place: "event.id == ''" if place == "when" else {"s": "${event.id}"}})

    def broken(self: Any, scope: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(expression.Scope, "evaluate", broken)

    assert code_and_handler_after(starved, received(1)) == ("TooCostly", "h0")
    assert session_states(decide_each(starved, [received(1)])[-1].ledger) == {}


@pytest.mark.parametrize("costly", [False, True])
def test_a_careful_program_leaves_an_event_whose_schema_may_be_costly_to_check(costly: bool) -> None:
    checking = replace(careful({}), schemas=schemas(event_type({"items": {"multipleOf": 0.01}})))
    large = received(1, data=[1] * (100_000 if costly else 2))

    found = decide(checking, Ledger(), large)

    assert (found.letter is not None and found.letter.code == NEEDS_GUARD) is costly
