"""The judge of ticks finds what is amiss: a clock that ticks as it has to, and the same clock with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from heed import names
from heed.api.status import Totals
from heed.core.decision.decide import decide
from heed.core.decision.model import Decision
from heed.core.due.due_events import due_event, timer_event
from heed.core.due.due_times import DueTime, list_due_times
from heed.core.effects import CancelTask
from heed.core.events import Event, Received
from heed.core.ledger.ledger import Ledger, settle
from tests.faults.calendar import TICK, list_late, tick_findings
from tests.faults.incarnation import Incarnation
from tests.faults.test_judging import compiled
from tests.integration.engine.oracle import Fold

BEGIN = datetime(2026, 11, 1, 12, 0, 1, 250_000, tzinfo=UTC)
PROGRAM = compiled("storm-b", "clock")


def story(seconds: int, away: range = range(0)) -> list[Decision]:
    """The decisions of so many seconds, while the operator is away in some of them."""
    ledger, decisions = Ledger(), list[Decision]()
    for second in (number for number in range(seconds) if number not in away):
        now = BEGIN + timedelta(seconds=second)
        while due := sorted(due for due in list_due_times(PROGRAM, ledger) if due.at <= text(now)):
            event = said(ledger, due[0], now)
            assert event is not None
            subject = names.inbox_subject("storm-b", "clock", event.type)
            received = Received(len(decisions) + 1, text(now), subject, event)
            decisions.append(decide(PROGRAM, ledger, received))
            ledger = settle(decisions[-1].ledger, decisions[-1].effects)
    return decisions


def said(ledger: Ledger, due: DueTime, now: datetime) -> Event | None:
    """What is published when that is due."""
    match due.kind:
        case "timer" | "timers":
            return timer_event(PROGRAM, ledger, due, now)
        case "wait" | "deadline":
            return ended(due.key, now)
    return due_event(PROGRAM.agent, names.origin(PROGRAM.agent.uid, ""), due)


def ended(task_id: str, now: datetime) -> Event:
    """The end of a task of any kind."""
    source = names.agent_source("storm-b", "clock")
    return Event(f"end {task_id}", source, names.TASK_COMPLETED, {"result": {}}, task_id, text(now))


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def findings(decisions: list[Decision]) -> list[str]:
    ledger = decisions[-1].ledger
    return tick_findings(Incarnation(PROGRAM, ledger, Fold(decisions, ledger), True))


def place(decisions: list[Decision], timer: str, number: int = 1) -> int:
    """Where a timer's tick of that number is, from 0 on."""
    found = [
        place
        for place, decision in enumerate(decisions)
        if isinstance(decision.received.event, Event)
        and decision.received.event.extensions.get(names.TIMER_EXTENSION) == timer
    ]
    return found[number]


def test_a_clock_that_ticks_gives_no_finding() -> None:
    decisions = story(40)
    totals = decisions[-1].ledger.totals
    assert findings(decisions) == []
    assert (totals.ticks_fired, totals.ticks_missed) == (19 + 13 + 13 + 5 + 5 + 6, 0)
    assert totals.ticks_skipped == 4


def test_a_clock_that_was_away_gives_no_finding_and_lets_go_what_its_policies_do() -> None:
    decisions = story(60, range(20, 38))
    totals = decisions[-1].ledger.totals
    assert findings(decisions) == []
    assert totals.ticks_missed > 8
    assert any(decision.received.event.type == names.DUE_TICKS_DROPPED for decision in decisions)  # type: ignore[union-attr]


def test_a_clock_that_was_away_for_long_may_leave_out_what_comes_before_the_last_hundred() -> None:
    decisions = story(260, range(20, 250))
    assert findings(decisions) == []
    ticks = [
        item
        for item in decisions
        if "ticked" in item.handlers and item.session and item.session.startswith("all@")
    ]
    assert 100 <= len(ticks) < 125


def twice(decisions: list[Decision]) -> None:
    decisions.insert(place(decisions, "all") + 1, decisions[place(decisions, "all")])


def lost(decisions: list[Decision]) -> None:
    del decisions[place(decisions, "all")]


def ignored(decisions: list[Decision]) -> None:
    tick = place(decisions, "latest")
    decisions[tick] = replace(decisions[tick], handlers=(), effects=(), outcome="ignored")


def early(decisions: list[Decision]) -> None:
    tick = decisions[place(decisions, "latest")]
    decisions[place(decisions, "latest")] = replace(tick, received=replace(tick.received, at=text(BEGIN)))


def elsewhere(decisions: list[Decision]) -> None:
    tick = place(decisions, "latest")
    event = decisions[tick].received.event
    assert isinstance(event, Event) and event.type == TICK and isinstance(event.data, dict)
    event = replace(event, data=event.data | {"scheduledAt": "2026-11-01T12:00:07Z"})
    decisions[tick] = replace(decisions[tick], received=replace(decisions[tick].received, event=event))


def let_go(decisions: list[Decision]) -> None:
    del decisions[place(decisions, "none")]


def not_skipped(decisions: list[Decision]) -> None:
    decisions[place(decisions, "skip")] = replace(decisions[place(decisions, "skip")], handlers=("ticked",))


def not_replaced(decisions: list[Decision]) -> None:
    tick = place(decisions, "replace")
    effects = tuple(item for item in decisions[tick].effects if not isinstance(item, CancelTask))
    decisions[tick] = replace(decisions[tick], effects=effects)


def counted_wrong(decisions: list[Decision]) -> None:
    ledger = replace(decisions[-1].ledger, totals=Totals())
    decisions[-1] = replace(decisions[-1], ledger=ledger)


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (twice, "timer all acted on 2026-11-01 12:00:05+00:00 once more"),
        (lost, "timer all left out 1 ticks"),
        (ignored, "timer latest did not act on"),
        (early, "timer latest is not due at"),
        (elsewhere, "timer latest is not due at"),
        (let_go, "timer none let go"),
        (not_skipped, "timer skip acted on"),
        (not_replaced, "timer replace stopped set()"),
        (counted_wrong, "0 ticks fired in the totals"),
    ],
)
def test_what_is_wrong_with_a_tick_is_found(break_it: Callable[[list[Decision]], None], says: str) -> None:
    decisions = story(20)
    break_it(decisions)
    assert any(says in finding for finding in findings(decisions)), findings(decisions)


def test_a_timer_that_is_behind_is_told_from_one_that_is_not() -> None:
    ledger = story(20)[-1].ledger
    assert list_late(Ledger(), BEGIN) == ["all"]
    assert list_late(ledger, BEGIN + timedelta(seconds=20)) == []
    assert set(list_late(ledger, BEGIN + timedelta(seconds=60))) == {*PROGRAM.timers}
