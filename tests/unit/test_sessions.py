"""Sessions: which one an event belongs to, when it was last touched, and when it is forgotten."""

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.status import Cursor, PendingTask, RecentTask, Session, TaskCause, TaskRate, Totals
from heed.core.cel.expression import Scope
from heed.core.compiler.program import Program
from heed.core.decision import sessions
from heed.core.decision.sessions import MAX_KEY
from heed.core.events import Event, Received, Redrive
from heed.core.ledger.dedup_window import DedupWindow
from heed.core.ledger.deferred import DeferredEvents
from heed.core.ledger.ledger import Ledger
from tests.unit.builders import AGENT, ASKED, NAMESPACE, at, failure_of, program, received

PLAIN = program({}, session={"idleTimeout": "60s"})
EVENT = Event("e5", "/shop", ASKED, extensions={"correlationid": "c5"})


def scope(data: Any = None) -> Scope:
    return Scope({"event": {"data": data, "type": ASKED}, "agent": {}, "state": {}, "session": {}})


def task(session: str, phase: Any = "Started") -> PendingTask:
    return PendingTask(
        "work", session, "job", at(1), TaskCause("e1", 1, "c1"), phase=phase, input=7, owed="{}"
    )


# ── which one ───────────────────────────────────────────────────────────────────────────────────────────────────────

BY_DATA = program({}, session={"key": "event.data"})


def key(program_: Program, data: Any = None) -> str:
    return sessions.session_key(program_, EVENT, scope(data))


def test_the_key_is_that_of_the_flow_unless_the_agent_says_another_one() -> None:
    assert key(PLAIN) == "c5"
    assert key(BY_DATA, "other") == "other"
    assert sessions.session_key(PLAIN, Event("e5", "/shop", ASKED), scope()) == "e5"


@pytest.mark.parametrize("length", [1, MAX_KEY])
def test_a_key_has_a_character_or_more_up_to_so_many(length: int) -> None:
    assert key(BY_DATA, "é" * length) == "é" * length


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "yields an empty string, not a string of 1 to 256 characters; choose another key"),
        (
            "x" * 257,
            "yields a string of 257 characters, not a string of 1 to 256 characters; choose another key",
        ),
        (7, "yields a number (7), not a string of 1 to 256 characters; write string(…)"),
        (1.5, "yields a number (1.5), not a string of 1 to 256 characters; write string(…)"),
        (True, "yields a boolean (true), not a string of 1 to 256 characters; write string(…)"),
        (None, "yields null, not a string of 1 to 256 characters; choose another key"),
        ([1], "yields a list, not a string of 1 to 256 characters; choose another key"),
        ({"a": 1}, "yields a map, not a string of 1 to 256 characters; choose another key"),
    ],
)
def test_what_is_no_key_is_told_in_few_words(data: Any, said: str) -> None:
    assert failure_of(key, BY_DATA, data) == ("BadSessionKey", f"spec.session.key: {said}", None)


def test_a_key_that_breaks_says_where() -> None:
    assert failure_of(key, program({}, session={"key": "event.data.n"}), {}) == (
        "ExpressionFailed",
        'spec.session.key: there is no "n"; guard it with has(…) or use .?n.orValue(…)',
        None,
    )


# ── which events ────────────────────────────────────────────────────────────────────────────────────────────────────

CHOOSY = program(
    {},
    subscribe=[
        {"type": "com.other"},
        {"type": ASKED, "where": "event.data == 1"},
        {"type": "com.example.>", "where": "event.data.n == 2"},
    ],
)


def heeded(data: Any, subject: str | None = None, redrive: Redrive | None = None) -> bool:
    event = replace(EVENT, data=data)
    came = Received(5, at(5), subject or names.event_subject(NAMESPACE, ASKED), event, redrive)
    return sessions.subscribed(CHOOSY, came, event, scope(data))


def test_an_event_is_heeded_where_a_subscription_takes_it() -> None:
    assert [heeded(data) for data in (1, {"n": 2}, {"n": 3})] == [True, True, False]
    assert failure_of(heeded, 5) == (
        "ExpressionFailed",
        "spec.subscribe[2].where: event.data is a number, not a map; "
        "ask first: type(event.data) == map && has(event.data.n)",
        None,
    )


def test_what_is_for_the_agent_alone_needs_no_subscription() -> None:
    assert heeded({"n": 3}, names.inbox_subject(NAMESPACE, AGENT, ASKED))
    redriven = names.redrive_subject(NAMESPACE, AGENT, ASKED)
    assert heeded({"n": 3}, redriven, Redrive("l", 2))
    assert heeded({"n": 3}, redriven, Redrive("l", 2, subject=names.inbox_subject(NAMESPACE, AGENT, ASKED)))
    assert not heeded({"n": 3}, redriven, Redrive("l", 2, subject=names.event_subject(NAMESPACE, ASKED)))


# ── how it goes on ──────────────────────────────────────────────────────────────────────────────────────────────────

OLD = Session(at(1), at(3), "c1", {"n": 1})


def test_a_session_that_is_not_there_begins_with_its_event() -> None:
    ledger = Ledger(sessions={"a": OLD})

    assert sessions.session_of(ledger, "a", received(5), EVENT) is OLD
    assert sessions.session_of(ledger, "b", received(5), EVENT) == Session(at(5), at(5), "c5", {})


def test_a_session_is_touched_at_the_cursors_time() -> None:
    ledger = Ledger(Cursor(names.STREAM, 5, at(5)))

    assert sessions.touched(ledger, OLD, {"m": 2}) == Session(at(1), at(5), "c1", {"m": 2})
    assert sessions.touched(Ledger(), OLD, {}) == Session(at(1), at(3), "c1", {})


@pytest.mark.parametrize(
    ("state", "tasks", "there"),
    [
        ({"n": 1}, {}, True),
        ({}, {}, False),
        ({}, {"t": task("a")}, True),
        ({}, {"t": task("a", "Abandoned")}, False),
        ({}, {"t": task("a", "Cancelling")}, True),
        ({}, {"t": task("b")}, False),
    ],
)
def test_a_session_exists_while_it_has_state_or_tasks(
    state: dict[str, Any], tasks: dict[str, PendingTask], there: bool
) -> None:
    session, before = replace(OLD, state=state), {"a": OLD, "z": OLD}

    found = sessions.kept(before, tasks, "a", session)

    assert list(found.items()) == [("z", OLD)] + ([("a", session)] if there else [])
    assert list(before) == ["a", "z"]


# ── the cursor ──────────────────────────────────────────────────────────────────────────────────────────────────────

LEDGER = Ledger(
    cursor=Cursor("S", 4, at(4), "made", None),
    totals=Totals(handled=3),
    sessions={"a": Session(at(4), at(4), "c", {"n": 1})},
    pending_tasks={"t": task("a")},
    waiting=DeferredEvents.of({2: "x"}),
    recent_tasks=(RecentTask("t0", "work", "a", "Completed", at(1), at(2)),),
    recent_events=DedupWindow.of(["d"]),
    outbox={},
    task_rate=TaskRate(at(0), 2),
)


def test_the_cursor_moves_and_everything_else_stays() -> None:
    moved = sessions.advanced(PLAIN, LEDGER, received(5))

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

    found = sessions.advanced(
        PLAIN, replace(LEDGER, cursor=cursor), received(sequence, time=20), ahead=ahead
    ).cursor

    assert found == Cursor("S", after[0], at(20), "made", after[1])


def test_the_time_of_the_cursor_never_goes_back() -> None:
    assert sessions.advanced(PLAIN, LEDGER, received(5, time=3)).cursor.time == at(4)
    assert sessions.advanced(PLAIN, Ledger(), received(5, time=3)).cursor.time == at(3)


# ── what is forgotten ───────────────────────────────────────────────────────────────────────────────────────────────

IDLE = Ledger(
    sessions={
        name: Session(at(0), at(seconds), "c", {"n": 1}) for name, seconds in (("a", 0), ("b", 30), ("c", 31))
    }
)


@pytest.mark.parametrize(
    ("now", "left"),
    [(60, "abc"), (60.9, "abc"), (61, "bc"), (90.5, "bc"), (91, "c"), (91.9, "c"), (92, "")],
)
def test_a_session_is_forgotten_once_it_was_idle_for_longer_than_it_may_be(now: float, left: str) -> None:
    found = sessions.without_idle(PLAIN, IDLE, at(now))

    assert list(found.sessions) == list(left)
    assert found == replace(
        IDLE, sessions=dict(found.sessions), totals=Totals(sessions_expired=3 - len(left))
    )
    assert (found is IDLE) == (left == "abc")


def test_a_session_whose_task_is_pending_is_not_forgotten() -> None:
    tasks = {"t": task("a"), "u": task("b", "Abandoned"), "v": task("c", "Cancelling")}

    found = sessions.without_idle(PLAIN, replace(IDLE, pending_tasks=tasks), at(1000))

    assert list(found.sessions) == ["a", "c"]
    assert found.totals == Totals(sessions_expired=1)
    both = replace(IDLE, pending_tasks={name: task(name) for name in "abc"})
    assert sessions.without_idle(PLAIN, both, at(1000)) is both


def test_a_time_is_moved_by_seconds_in_the_streams_own_form() -> None:
    assert sessions.later("2026-01-31T23:59:59.000001Z", 1) == "2026-02-01T00:00:00.000001Z"
    assert sessions.later("2026-01-31T12:00:00Z", -60) == "2026-01-31T11:59:00.000000Z"


# ── ends of tasks ───────────────────────────────────────────────────────────────────────────────────────────────────


def ended(type_: str, data: Any = None, *, may_run: bool = False) -> Ledger:
    """A ledger of two tasks, after the end of one."""
    ledger = Ledger(totals=Totals(tasks_started=2), pending_tasks={"t": task("a"), "u": task("b")})
    event = Event("e5", "/x", type_, data)
    return sessions.task_ended(ledger, "t", received(5), event, may_run=may_run)


def test_a_task_that_completed_is_waited_for_no_more() -> None:
    assert ended(names.TASK_COMPLETED, {"reason": "none"}) == Ledger(
        totals=Totals(tasks_started=2, tasks_completed=1),
        pending_tasks={"u": task("b")},
        recent_tasks=(RecentTask("t", "work", "a", "Completed", at(1), at(5), None),),
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"reason": "JobFailed"}, "JobFailed"),
        ({"reason": "x" * 101}, "x" * 100),
        ({"reason": 7}, "7"),
        ({"reason": ""}, "Unknown"),
        ({}, "Unknown"),
        (None, "Unknown"),
        ("JobFailed", "Unknown"),
    ],
)
def test_a_task_that_failed_is_remembered_with_its_reason(data: Any, reason: str) -> None:
    assert ended(names.TASK_FAILED, data) == Ledger(
        totals=Totals(tasks_started=2, tasks_failed=1),
        pending_tasks={"u": task("b")},
        recent_tasks=(RecentTask("t", "work", "a", "Failed", at(1), at(5), reason),),
    )


def test_what_may_still_run_is_kept_until_it_is_stopped() -> None:
    left = ended(names.TASK_COMPLETED, may_run=True).pending_tasks

    assert left == {"t": replace(task("a", "Abandoned"), input=None, owed=None), "u": task("b")}


def test_the_last_ten_ends_are_remembered() -> None:
    ledger = Ledger(pending_tasks={f"t{n}": task("a") for n in range(12)})
    for n in range(12):
        ledger = sessions.task_ended(ledger, f"t{n}", received(n), Event("e", "/x", names.TASK_COMPLETED))

    assert [item.id for item in ledger.recent_tasks] == [f"t{n}" for n in range(2, 12)]
