"""The judge of held events finds what is amiss: one that acted too early, twice or never, or was given up too soon."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heed import names
from heed.core.decision.model import Decision
from heed.core.due.due_events import due_event
from heed.core.due.due_times import list_due_times
from tests.faults.held_events import held_findings
from tests.faults.incarnation import Incarnation
from tests.faults.spec_parts import DOMAIN
from tests.faults.test_judging import CREATED, compiled, received_at
from tests.integration.engine.oracle import Fold, folded

PROGRAM = compiled()
EARLY = received_at(1, DOMAIN + "order.settled", {})
PLACED = received_at(2, DOMAIN + "order.placed", {"item": "tea"})


def incarnation(*decisions: Decision) -> Incarnation:
    """The clerk as these decisions left it."""
    ledger = decisions[-1].ledger
    return Incarnation(PROGRAM, ledger, Fold(list(decisions), ledger), True)


def held_and_settled() -> list[Decision]:
    """An event that came early, what it waited for, and the event again."""
    decisions = folded(PROGRAM, [EARLY, PLACED], CREATED).decisions
    assert [decision.outcome for decision in decisions] == ["held", "handled", "handled"]
    return decisions


def given_up() -> list[Decision]:
    """An event that came early, and that its time was over."""
    first = folded(PROGRAM, [EARLY], CREATED)
    (due,) = (due for due in list_due_times(PROGRAM, first.ledger) if due.kind == "hold")
    event = due_event(PROGRAM.agent, names.origin(PROGRAM.agent.uid, CREATED), due)
    said = replace(received_at(2, event.type, None, "hold"), event=event, at=due.at)
    return folded(PROGRAM, [EARLY, said], CREATED).decisions


@pytest.mark.parametrize("story", [held_and_settled, given_up])
def test_an_event_that_acts_when_it_has_to_gives_no_finding(story: type[list[Decision]]) -> None:
    assert held_findings(incarnation(*story())) == []


def test_an_event_that_never_acted_or_acted_twice_is_found() -> None:
    held, placed, settled = held_and_settled()
    assert "is held still" in held_findings(incarnation(held, placed))[0]
    assert "acted again" in held_findings(incarnation(held, placed, settled, settled))[0]


def test_an_event_that_acted_too_early_or_was_held_too_long_is_found() -> None:
    held, placed, settled = held_and_settled()
    early = replace(settled, before={})
    assert "acted although its session was not ready" in held_findings(incarnation(held, early))[0]
    late = replace(held, ledger=placed.ledger)
    assert "was held although" in held_findings(incarnation(placed, late, settled))[0]


def test_an_event_that_was_given_up_too_soon_or_came_to_something_else_is_found() -> None:
    held, due, letter = given_up()
    soon = replace(letter, ledger=held.ledger)
    assert "it had time left" in held_findings(incarnation(held, due, soon))[0]
    placed = held_and_settled()[1]
    assert (
        "its session was ready"
        in held_findings(incarnation(placed, replace(letter, ledger=placed.ledger)))[0]
    )
    assert "became ignored" in held_findings(incarnation(held, replace(held, outcome="ignored")))[0]
