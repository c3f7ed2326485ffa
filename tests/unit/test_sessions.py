"""Sessions: which one an event belongs to, when it was last touched, and when it is forgotten."""

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.status import Cursor, HeldEvent, PendingTask, Session
from heed.core.cel.expression import Scope
from heed.core.compiler.program import Program
from heed.core.decision import sessions
from heed.core.decision.sessions import MAX_KEY
from heed.core.events import Event
from heed.core.ledger.held import HeldEvents
from heed.core.ledger.ledger import Ledger
from tests.builders.agents import ASKED, program
from tests.builders.decisions import failure_of
from tests.builders.events import at, received
from tests.builders.tasks import session_task

PLAIN = program({}, session={"idleTimeout": "60s"})
EVENT = Event("e5", "/shop", ASKED, extensions={"correlationid": "c5"})


def scope_of(data: Any = None) -> Scope:
    return Scope({"event": {"data": data, "type": ASKED}, "agent": {}, "state": {}, "session": {}})


# ── which one ───────────────────────────────────────────────────────────────────────────────────────────────────────

BY_DATA = program({}, session={"key": "event.data"})


def key(program_: Program, data: Any = None) -> str:
    return sessions.evaluate_key(program_, EVENT, scope_of(data))


def test_the_key_is_that_of_the_flow_unless_the_agent_says_another_one() -> None:
    assert key(PLAIN) == "c5"
    assert key(BY_DATA, "other") == "other"
    assert sessions.evaluate_key(PLAIN, Event("e5", "/shop", ASKED), scope_of()) == "e5"


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


# ── how it goes on ──────────────────────────────────────────────────────────────────────────────────────────────────

OLD = Session(at(1), at(3), "c1", {"n": 1})


def test_a_session_that_is_not_there_begins_with_its_event() -> None:
    ledger = Ledger(sessions={"a": OLD})

    assert sessions.find_session(ledger, "a", received(5), EVENT) is OLD
    assert sessions.find_session(ledger, "b", received(5), EVENT) == Session(at(5), at(5), "c5", {})


def test_a_session_is_touched_at_the_cursors_time() -> None:
    ledger = Ledger(Cursor(names.STREAM, 5, at(5)))

    assert sessions.update_session(ledger, OLD, {"m": 2}) == Session(at(1), at(5), "c1", {"m": 2})
    assert sessions.update_session(Ledger(), OLD, {}) == Session(at(1), at(3), "c1", {})


@pytest.mark.parametrize(
    ("state", "tasks", "there"),
    [
        ({"n": 1}, {}, True),
        ({}, {}, False),
        ({}, {"t": session_task("a")}, True),
        ({}, {"t": session_task("a", "Abandoned")}, False),
        ({}, {"t": session_task("a", "Cancelling")}, True),
        ({}, {"t": session_task("b")}, False),
    ],
)
def test_a_session_exists_while_it_has_state_or_tasks(
    state: dict[str, Any], tasks: dict[str, PendingTask], there: bool
) -> None:
    session, before = replace(OLD, state=state), {"a": OLD, "z": OLD}

    found = sessions.keep_session(before, tasks, "a", session)

    assert list(found.items()) == [("z", OLD)] + ([("a", session)] if there else [])
    assert list(before) == ["a", "z"]


TWO = Ledger(
    cursor=Cursor("S", 5, at(5)),
    sessions={"s": Session(at(1), at(2), "c1", {"n": 1}), "z": Session(at(1), at(3), "cz", {"n": 1})},
)


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
    found = sessions.list_idle_sessions(PLAIN, IDLE, at(now))

    assert found == [key for key in "abc" if key not in left]


def test_a_session_whose_task_is_pending_is_not_forgotten() -> None:
    tasks = {
        "t": session_task("a"),
        "u": session_task("b", "Abandoned"),
        "v": session_task("c", "Cancelling"),
    }

    found = sessions.list_idle_sessions(PLAIN, replace(IDLE, pending_tasks=tasks), at(1000))

    assert found == ["b"]
    both = replace(IDLE, pending_tasks={name: session_task(name) for name in "abc"})
    assert sessions.list_idle_sessions(PLAIN, both, at(1000)) == []


def test_a_session_with_a_held_event_is_not_forgotten() -> None:
    held = HeldEvents.of({7: HeldEvent("a", "h", at(7), at(9000))})

    assert sessions.list_idle_sessions(PLAIN, replace(IDLE, held=held), at(1000)) == ["b", "c"]


def test_a_time_is_moved_by_seconds_in_the_streams_own_form() -> None:
    assert sessions.add_seconds("2026-01-31T23:59:59.000001Z", 1) == "2026-02-01T00:00:00.000001Z"
    assert sessions.add_seconds("2026-01-31T12:00:00Z", -60) == "2026-01-31T11:59:00.000000Z"


def test_a_session_that_only_hears_is_the_last_one_touched() -> None:
    ledger = sessions.touch_session(TWO, "s", TWO.sessions["s"])

    assert ledger == replace(
        TWO, sessions={"z": TWO.sessions["z"], "s": replace(TWO.sessions["s"], last_event_at=at(5))}
    )
    assert list(ledger.sessions) == ["z", "s"]
