"""What a decision of an Agent may cost, before any event comes: all that it evaluates adds up."""

from dataclasses import replace
from typing import Any

import pytest

from heed.core.cel.polynomial import NO_WORK, plus, scale
from heed.core.compiler.program import Program
from tests.builders.agents import ASKED, job, program

COSTLY = "event.data.all(a, event.data.all(b, event.data.all(c, a == b && b == c)))"
MANY = [1] * 400
TEXT, HARD = f"${{{COSTLY}}}", f"${{string({COSTLY})}}"


def costly(program_: Program) -> bool:
    """Whether deciding on many data may harm others."""
    return not program_.limit.allows({"event": {"data": MANY}})


@pytest.mark.parametrize(
    ("handler", "spec"),
    [
        ({"when": COSTLY}, {}),
        ({"state": {"x": TEXT}}, {}),
        ({"start": [{"task": "work", "input": TEXT}]}, {}),
        ({"start": [{"from": f"${{[{{'task': 'work', 'input': {COSTLY}}}]}}"}]}, {}),
        ({"emit": [{"type": "x", "data": TEXT}]}, {}),
        ({"emit": [{"from": f"${{[{{'type': 'x', 'data': {COSTLY}}}]}}"}]}, {}),
        ({"start": [{"task": "hard"}]}, {}),
        ({"start": [{"from": "${event.data}"}]}, {}),
        ({}, {"subscribe": [{"type": "a"}, {"type": ASKED, "where": COSTLY}]}),
        ({}, {"session": {"key": f"string({COSTLY})"}}),
    ],
)
def test_all_that_a_decision_evaluates_is_what_it_costs(
    handler: dict[str, Any], spec: dict[str, Any]
) -> None:
    tasks = {"work": job(), "hard": job(HARD)}

    assert costly(program({}, handler, tasks=tasks, **spec))
    assert not costly(program({}, {}, tasks=tasks))
    assert not costly(program({}, {"start": [{"task": "work"}]}, tasks=tasks))


def test_handlers_add_up() -> None:
    def work(*handlers: dict[str, Any]) -> Any:
        found = program(
            *handlers, tasks={"work": job("${input}"), "hard": job(HARD)}, session={"key": "event.id"}
        )
        assert found.opening.work != NO_WORK
        return found.limit.work, found.opening.work

    handler = {
        "when": "event.id == ''",
        "state": {"x": TEXT},
        "emit": [{"type": "x"}],
        "start": [{"task": "work"}],
    }
    (one, opening), (three, _) = work(handler), work(handler, handler, handler)

    alone = {powers: factor - opening.get(powers, 0.0) for powers, factor in one.items()}
    assert three == pytest.approx(plus(opening, scale(alone, 3)))


def test_a_start_costs_what_its_task_does_and_one_of_many_the_hardest_for_each() -> None:
    easy, hard = job("${input}"), job(HARD)
    many = {"start": [{"from": "${event.data}"}]}

    def work(handler: dict[str, Any], **tasks: Any) -> Any:
        return program(handler, tasks=tasks).limit.work

    def start(name: str) -> dict[str, Any]:
        return {"start": [{"task": name}]}

    assert work(start("easy"), easy=easy) == work(start("easy"), easy=easy, hard=hard)
    assert work(start("hard"), hard=hard) == work(start("hard"), easy=easy, hard=hard)
    assert work(start("easy"), easy=easy) != work(start("hard"), hard=hard)
    alone, both = work(many, hard=hard), work(many, easy=easy, hard=hard)
    assert both != work(many, easy=easy)
    assert all(factor >= alone[powers] for powers, factor in both.items() if powers in alone)
    assert both.keys() >= alone.keys()

    def degree(bound: dict[tuple[int, int], float]) -> int:
        return max(i + j for i, j in bound)

    assert degree(work(many, easy=easy)) == degree(work(start("easy"), easy=easy)) + 1


def test_even_what_evaluates_nothing_takes_its_time_with_what_it_is_given() -> None:
    """The variables are made for each handler, and what starts is rendered with its input and its event."""
    idle, starting = (
        program({}).limit.work,
        program({"start": [{"task": "work"}]}, tasks={"work": job()}).limit.work,
    )

    assert program({}).opening.work == NO_WORK
    assert 0 < idle[1, 0] < starting[1, 0]
    assert starting[1, 0] > 2 * idle[1, 0], "a start has variables of its own, and a document"
    assert replace(program({}), careful=True).limit == program({}).limit
