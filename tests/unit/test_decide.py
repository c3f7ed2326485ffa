"""One event of the stream: whether it is decided now, was before, or has to wait, and what is left where it breaks."""

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.event_type import parse_event_type
from heed.api.status import Cursor, DeadLetterCause, PendingTask, Session, TaskCause, Totals
from heed.core.compiler.program import Program
from heed.core.decision.decide import decide
from heed.core.decision.model import Decision
from heed.core.events import MalformedMessage, Received
from heed.core.ledger.dedup_window import DedupWindow
from heed.core.ledger.deferred import DeferredEvents
from heed.core.ledger.headroom import Headroom
from heed.core.ledger.ledger import Ledger
from heed.core.schema.registry import compile_schemas
from tests.builders.agents import AGENT, ASKED, NAMESPACE, job, program
from tests.builders.events import at, received, task_end
from tests.builders.manifests import document

PLAIN = program({"state": {"n": "${event.data}"}})
CHOOSY = program(
    {"state": {"n": "${event.data}"}},
    subscribe=[{"type": ASKED, "where": "event.data > 1 && agent.name == 'researcher'"}],
    session={"key": "event.id + 'k'"},
)
LEDGER = Ledger(
    cursor=Cursor("S", 5, at(5), None, 8),
    totals=Totals(handled=2, ignored=3, duplicates=1, dead_lettered=1, schema_warnings=4),
    sessions={"a": Session(at(1), at(4), "a", {"n": 1})},
    recent_events=DedupWindow.of([names.event_digest("/shop", "known")]),
)


def moved(sequence: int, **totals: int) -> Ledger:
    """The ledger whose cursor is on the event at a place, with these totals."""
    inbox = 8 if sequence < 8 else None
    cursor = Cursor("S", sequence, at(sequence), None, inbox)
    return replace(LEDGER, cursor=cursor, totals=replace(LEDGER.totals, **totals))


# ── what is not decided ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sequence", [4, 5])
def test_what_the_cursor_passed_was_decided_and_is_counted_only(sequence: int) -> None:
    came = received(sequence)

    found = decide(PLAIN, LEDGER, came)

    assert found == Decision(came, replace(LEDGER, totals=replace(LEDGER.totals, duplicates=2)), "duplicates")


@pytest.mark.parametrize(("sequence", "outcome"), [(6, "passed"), (8, "passed"), (9, "handled")])
def test_what_was_decided_ahead_in_the_inbox_is_passed(sequence: int, outcome: str) -> None:
    came = received(sequence, inbox=True)

    found = decide(PLAIN, LEDGER, came)

    assert found.outcome == outcome
    if outcome == "passed":
        assert found == Decision(came, moved(sequence), "passed")


def test_only_the_inbox_is_ahead() -> None:
    assert decide(PLAIN, LEDGER, received(6)).outcome == "handled"
    no_inbox = replace(LEDGER, cursor=replace(LEDGER.cursor, inbox=None))
    assert decide(PLAIN, no_inbox, received(6, inbox=True)).outcome == "handled"


def test_while_the_inbox_is_read_ahead_the_cursor_stays() -> None:
    for came in (received(9, inbox=True), received(9, "com.other", inbox=True)):
        assert decide(PLAIN, LEDGER, came, ahead=True).ledger.cursor == Cursor("S", 5, at(9), None, 9)
    passed = decide(PLAIN, LEDGER, received(7, inbox=True), ahead=True)
    assert (passed.outcome, passed.ledger.cursor) == ("passed", Cursor("S", 5, at(7), None, 8))


def test_a_duplicate_is_counted() -> None:
    came = received(9, id_="known")

    assert decide(PLAIN, LEDGER, came) == Decision(came, moved(9, duplicates=2), "duplicates")


@pytest.mark.parametrize(
    "came",
    [
        received(9, "com.example.other"),
        replace(received(9), subject=names.inbox_subject(NAMESPACE, "other", ASKED)),
        replace(received(9), subject=names.inbox_subject("other", AGENT, ASKED)),
        replace(received(9), subject=names.event_subject("other", ASKED)),
        Received(9, at(9), names.event_subject("other", ASKED), MalformedMessage("BadData", "no JSON")),
    ],
)
def test_what_does_not_concern_the_agent_is_ignored_and_counted(came: Received) -> None:
    assert decide(PLAIN, LEDGER, came) == Decision(came, moved(9, ignored=4), "ignored")


def test_what_is_no_event_is_a_letter() -> None:
    for subject in (names.event_subject(NAMESPACE, ASKED), names.inbox_subject(NAMESPACE, AGENT, ASKED)):
        found = decide(PLAIN, LEDGER, Received(9, at(9), subject, MalformedMessage("BadData", "no JSON")))

        assert found.letter == DeadLetterCause("BadData", "no JSON", None, 3, 1, None)
        assert found.ledger.totals == replace(LEDGER.totals, dead_lettered=2)
        assert found.ledger.recent_events == LEDGER.recent_events


# ── what is decided ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "outcome", "session"),
    [(2, "handled", "e9k"), (1, "ignored", None), ("x", "dead_lettered", None)],
)
def test_conditions_and_keys_see_the_event_and_the_agent(
    data: Any, outcome: str, session: str | None
) -> None:
    found = decide(CHOOSY, LEDGER, received(9, data=data))

    assert (found.outcome, found.session) == (outcome, session)


def test_an_event_that_was_decided_is_remembered_and_an_ignored_one_is_not() -> None:
    digest = names.event_digest("/shop", "e9")

    outcomes = {
        data: decide(CHOOSY, LEDGER, received(9, data=data)).ledger.recent_events for data in (2, 1, "x")
    }

    known = LEDGER.recent_events
    assert outcomes == {2: known.with_digest(digest), 1: known, "x": known.with_digest(digest)}


@pytest.mark.parametrize("data", [2, {"n": 1}])
def test_an_event_that_does_not_fit_a_type_that_only_warns_is_counted(data: Any) -> None:
    spec = {"type": ASKED, "schema": {"type": "object"}, "mode": "Warn"}
    schemas, _ = compile_schemas([parse_event_type(document(names.EVENT_TYPE, spec))])

    found = decide(replace(PLAIN, schemas=schemas), LEDGER, received(9, data=data))

    assert found.ledger.totals == replace(LEDGER.totals, handled=3, schema_warnings=5 if data == 2 else 4)


def broken(error: BaseException) -> Program:
    """An Agent whose subscriptions cannot be looked at."""

    class Broken(tuple[Any, ...]):
        def __iter__(self) -> Any:
            raise error

    return replace(PLAIN, subscriptions=Broken())


def test_a_mistake_of_heeds_own_costs_one_event() -> None:
    found = decide(broken(KeyError("x")), LEDGER, received(9))

    assert found.letter == DeadLetterCause(
        "Undecidable", "KeyError: 'x'; please report this", None, 3, 1, None
    )
    assert found.ledger.totals == replace(LEDGER.totals, dead_lettered=2)


def test_no_memory_costs_one_event() -> None:
    found = decide(broken(MemoryError()), LEDGER, received(9))

    message = "needs too much memory; work on less data, pass references, or shorten the expressions"
    assert found.letter == DeadLetterCause("TooCostly", message, None, 3, 1, None)
    assert found.ledger.totals == replace(LEDGER.totals, dead_lettered=2)


# ── what waits ──────────────────────────────────────────────────────────────────────────────────────────────────────

NO_ROOM = Headroom(0, 0)


def test_an_event_that_has_to_wait_leaves_its_place_only() -> None:
    came = received(9, data=7, correlationid="new")

    found = decide(PLAIN, LEDGER, came, room=NO_ROOM)

    waits = replace(moved(9), waiting=DeferredEvents.of({9: names.waiting_digest("new")}))
    assert found == Decision(came, waits, "waiting", session="new")


def test_what_waited_and_is_decided_waits_no_more_whatever_becomes_of_it() -> None:
    waiting = DeferredEvents.of({3: names.waiting_digest("e3"), 4: "xxxx"})
    ledger = replace(LEDGER, waiting=waiting)

    for came, outcome in (
        (received(3), "handled"),
        (received(3, "com.other"), "ignored"),
        (received(3, id_="known"), "duplicates"),
        (
            Received(3, at(3), names.event_subject(NAMESPACE, ASKED), MalformedMessage("BadData", "no")),
            "dead_lettered",
        ),
    ):
        found = decide(PLAIN, ledger, came)
        assert (found.outcome, list(found.ledger.waiting.places)) == (outcome, [4])
        assert found.ledger.cursor == LEDGER.cursor


def growth(data: Any = "x") -> int:
    return decide(PLAIN, LEDGER, received(9, data=data)).growth


@pytest.mark.parametrize(("spare", "outcome"), [(0, "handled"), (-1, "waiting")])
def test_a_new_session_takes_what_is_not_kept_for_others(spare: int, outcome: str) -> None:
    room = Headroom(growth() + 100 + spare, 100)

    assert decide(PLAIN, LEDGER, received(9, data="x"), room=room).outcome == outcome


@pytest.mark.parametrize(("spare", "outcome"), [(0, "handled"), (-1, "waiting")])
def test_a_session_that_exists_takes_what_it_adds_out_of_most_of_what_is_kept(
    spare: int, outcome: str
) -> None:
    before, after = len('{"n":1}'), len('{"n":"xxxx"}')
    room = Headroom(after - before + 25 + spare, 100)

    came = received(9, data="xxxx", correlationid="a")

    assert decide(PLAIN, LEDGER, came, room=room).outcome == outcome


def test_what_adds_nothing_needs_no_room() -> None:
    assert (
        decide(PLAIN, LEDGER, received(9, data=2, correlationid="a"), room=Headroom(-50, 0)).outcome
        == "handled"
    )


def test_the_first_session_needs_no_room_but_a_task_that_is_pending_counts() -> None:
    task = PendingTask("work", "z", "job", at(1), TaskCause("e1", 1, "c"), phase="Abandoned")
    empty = replace(LEDGER, sessions={})

    assert decide(PLAIN, empty, received(9, data=7), room=NO_ROOM).outcome == "handled"
    assert (
        decide(PLAIN, replace(empty, pending_tasks={"t": task}), received(9, data=7), room=NO_ROOM).outcome
        == "waiting"
    )


def test_who_opens_a_session_waits_behind_those_that_came_before_and_not_behind_later_ones() -> None:
    plenty = Headroom(10**6, 0)

    for place, outcome in ((3, "waiting"), (20, "handled")):
        ledger = replace(LEDGER, waiting=DeferredEvents.of({place: "xxxx"}))
        assert decide(PLAIN, ledger, received(9, data=7), room=plenty).outcome == outcome
        assert decide(PLAIN, ledger, received(9, data=7, correlationid="a"), room=plenty).outcome == "handled"


def test_an_event_waits_behind_an_earlier_one_of_its_session() -> None:
    for place, outcome in ((3, "waiting"), (20, "handled")):
        ledger = replace(LEDGER, waiting=DeferredEvents.of({place: names.waiting_digest("a")}))
        assert decide(PLAIN, ledger, received(9, data=7, correlationid="a")).outcome == outcome


def test_the_end_of_a_task_and_what_leaves_no_session_do_not_wait() -> None:
    fleeting = program({"emit": [{"type": "x.y"}]}, tasks={"work": job()})
    ledger = replace(LEDGER, waiting=DeferredEvents.of({3: "xxxx"}))

    assert decide(fleeting, ledger, received(9, data=7), room=Headroom(10**6, 0)).outcome == "handled"
    assert decide(fleeting, ledger, task_end(9, "t"), room=NO_ROOM).outcome == "stale"
