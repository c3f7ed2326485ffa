"""Opening a step: the cursor, the inbox that may be read ahead of it, and events that were decided before."""

from dataclasses import replace

import pytest

from heed.api.status import Cursor, PendingTask, RecentTask, Session, TaskCause, TaskRate, Totals
from heed.core.decision.model import Outcome
from heed.core.decision.opening import open_step
from heed.core.decision.step import Step
from heed.core.events import Received
from heed.core.ledger.dedup_window import DedupWindow
from heed.core.ledger.deferred import DeferredEvents
from heed.core.ledger.ledger import Ledger
from tests.builders.agents import program
from tests.builders.events import at, received

PLAIN = program({}, session={"idleTimeout": "60s"})
TASK = PendingTask("work", "a", "job", at(1), TaskCause("e1", 1, "c1"), phase="Started")
DEFERRED = DeferredEvents.of(dict.fromkeys(range(1, 11), "x"))  # they are decided wherever the cursor is


def opened(ledger: Ledger, came: Received, *, ahead: bool = False) -> Ledger:
    """The ledger of an event that is opened."""
    step = Step(PLAIN, came, ledger, None)
    assert open_step(step, ahead=ahead) is None
    assert step.ledger is step.opened
    return step.ledger


LEDGER = Ledger(
    cursor=Cursor("S", 4, at(4), "made", None),
    totals=Totals(handled=3),
    sessions={"a": Session(at(4), at(4), "c", {"n": 1})},
    pending_tasks={"t": TASK},
    waiting=DeferredEvents.of({2: "x"}),
    recent_tasks=(RecentTask("t0", "work", "a", "Completed", at(1), at(2)),),
    recent_events=DedupWindow.of(["d"]),
    outbox={},
    task_rate=TaskRate(at(0), 2),
)


def test_the_cursor_moves_and_everything_else_stays() -> None:
    moved = opened(LEDGER, received(5))

    assert moved == replace(LEDGER, cursor=Cursor("S", 5, at(5), "made", None))


@pytest.mark.parametrize(
    ("ahead", "before", "sequence", "after"),
    [
        (False, (4, None), 5, (5, None)),
        (False, (4, None), 3, (4, None)),
        (False, (4, 9), 5, (5, 9)),
        (False, (4, 9), 8, (8, 9)),
        (False, (4, 9), 9, (9, None)),
        (False, (4, 9), 10, (10, None)),
        (True, (4, None), 7, (4, 7)),
        (True, (4, 9), 7, (4, 9)),
        (True, (4, 6), 7, (4, 7)),
        (True, (4, None), 4, (4, None)),
        (True, (0, None), 1, (0, 1)),
    ],
)
def test_the_inbox_alone_may_be_ahead(
    ahead: bool, before: tuple[int, int | None], sequence: int, after: tuple[int, int | None]
) -> None:
    cursor = replace(LEDGER.cursor, sequence=before[0], inbox=before[1])

    found = opened(
        replace(LEDGER, cursor=cursor, waiting=DEFERRED), received(sequence, time=20), ahead=ahead
    ).cursor

    assert found == Cursor("S", after[0], at(20), "made", after[1])


def test_the_time_of_the_cursor_never_goes_back() -> None:
    assert opened(LEDGER, received(5, time=3)).cursor.time == at(4)
    assert opened(Ledger(), received(5, time=3)).cursor.time == at(3)


@pytest.mark.parametrize(
    ("sequence", "inbox", "outcome"),
    [
        (4, False, "duplicates"),
        (4, True, "passed"),
        (5, False, None),
        (5, True, "passed"),
        (9, False, None),
        (9, True, "passed"),
        (10, True, None),
        (2, False, None),
        (2, True, None),
    ],
)
def test_an_event_behind_a_cursor_is_decided_only_where_it_was_deferred(
    sequence: int, inbox: bool, outcome: Outcome | None
) -> None:
    ledger = replace(LEDGER, cursor=Cursor("S", 4, at(4), "made", 9))
    step = Step(PLAIN, received(sequence, inbox=inbox), ledger, None)

    assert open_step(step, ahead=False) == outcome
    assert step.waited == (sequence == 2)
    assert (step.ledger is ledger) == (outcome == "duplicates")


def test_idle_sessions_are_forgotten_as_time_goes_on() -> None:
    ledger = replace(LEDGER, pending_tasks={})

    assert opened(ledger, received(5, time=64)).sessions == LEDGER.sessions
    assert opened(ledger, received(5, time=65)).sessions == {}
