"""How a decision ends: letters, what is counted, and what waits."""

from dataclasses import replace

import pytest

from heed import names
from heed.api.status import Cursor, DeadLetterCause, OutboxMessage, Session, Totals
from heed.core.decision.conclusion import conclude, write_letter
from heed.core.decision.model import Decision, Outcome
from heed.core.decision.step import Step, TaskContext
from heed.core.effects import Publish
from heed.core.events import Received, Redrive
from heed.core.ledger.dedup_window import DedupWindow
from heed.core.ledger.deferred import DeferredEvents
from heed.core.ledger.ledger import Ledger
from heed.errors import DecisionFailed
from tests.builders.agents import AGENT, NAMESPACE, UID, program
from tests.builders.events import at, received
from tests.builders.tasks import session_task

AGENT_ = program({})
LEDGER = Ledger(
    cursor=Cursor("S", 5, at(5), "made"),
    totals=Totals(handled=7, ignored=2, duplicates=1, stale=4, dead_lettered=5),
    sessions={"s": Session(at(1), at(2), "c1", {"n": 1})},
    waiting=DeferredEvents.of({2: "x"}),
    recent_events=DedupWindow.of(["d1"]),
    outbox={"m": OutboxMessage(4, 0, "subject", at(4), event="{}")},
)
ORIGIN = f"{UID}@made"


def dead(failure: DecisionFailed, came: Received | None = None, digest: str | None = None) -> Decision:
    """The decision on an event that could not be decided."""
    step = Step(AGENT_, came or received(5), LEDGER, None)
    step.digest = digest
    return conclude(step, write_letter(step, failure))


@pytest.mark.parametrize(("redrive", "attempt"), [(None, 1), (Redrive("l", 4, "{}"), 4)])
def test_a_letter_is_owed_with_all_that_is_known(redrive: Redrive | None, attempt: int) -> None:
    came = replace(received(5), redrive=redrive)

    found = dead(DecisionFailed("Code", "m" * 1001, "h"), came, digest="d2")

    key = names.letter_id(ORIGIN, 5)
    letter = DeadLetterCause("Code", "m" * 1000, "h", 3, attempt, redrive.task if redrive else None)
    owed = OutboxMessage(5, 0, names.dead_subject(NAMESPACE, AGENT), at(5), letter=letter)
    ledger = replace(
        LEDGER,
        totals=replace(LEDGER.totals, dead_lettered=6),
        outbox={**LEDGER.outbox, key: owed},
        recent_events=DedupWindow.of(["d1", "d2"]),
    )
    assert found == Decision(came, ledger, "dead_lettered", (Publish(key, owed),), letter=letter)


@pytest.mark.parametrize("length", [0, 999, 1000])
def test_a_letter_says_all_of_a_cause_that_is_short(length: int) -> None:
    letter = dead(DecisionFailed("Code", "m" * length)).letter

    assert letter == DeadLetterCause("Code", "m" * length, None, 3, 1, None)


def test_a_letter_without_a_digest_is_not_remembered() -> None:
    found = dead(DecisionFailed("Code", "m"))

    assert found.ledger.recent_events == LEDGER.recent_events
    assert found.letter == DeadLetterCause("Code", "m", None, 3, 1, None)


@pytest.mark.parametrize("ended", [True, False])
def test_the_letter_of_a_tasks_end_touches_its_session(ended: bool) -> None:
    ledger = replace(LEDGER, cursor=Cursor("S", 6, at(6), "made"))
    step = Step(AGENT_, received(6), ledger, None)
    step.task, step.session = TaskContext.of("t", session_task("s"), ended=ended), ledger.sessions["s"]

    write_letter(step, DecisionFailed("Code", "m"))

    assert step.ledger.sessions == {"s": Session(at(1), at(6 if ended else 2), "c1", {"n": 1})}


@pytest.mark.parametrize("outcome", ["ignored", "duplicates", "stale", "dead_lettered"])
def test_counting_changes_one_total(outcome: Outcome) -> None:
    came, before = received(5), getattr(LEDGER.totals, outcome)

    assert conclude(Step(AGENT_, came, LEDGER, None), outcome) == Decision(
        came, replace(LEDGER, totals=replace(LEDGER.totals, **{outcome: before + 1})), outcome
    )


@pytest.mark.parametrize("outcome", ["passed", "waiting"])
def test_what_is_not_decided_is_not_counted(outcome: Outcome) -> None:
    assert conclude(Step(AGENT_, received(5), LEDGER, None), outcome).ledger == LEDGER


@pytest.mark.parametrize(("outcome", "left"), [("ignored", {}), ("stale", {}), ("waiting", {2: "x"})])
def test_an_event_waits_no_more_once_it_is_decided(outcome: Outcome, left: dict[int, str]) -> None:
    step = Step(AGENT_, received(2), LEDGER, None)
    step.waited = True

    assert conclude(step, outcome).ledger.waiting == DeferredEvents.of(left)
