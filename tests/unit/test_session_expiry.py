"""Sessions that end by time: forgotten, or with an event that says so."""

import json
from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.status import HeldEvent, QueuePlace, Session
from heed.core.compiler.program import Program
from heed.core.decision.decide import Decision, decide
from heed.core.decision.session_expiry import MAX_ENDED_SESSIONS, MAX_FAREWELL_BYTES
from heed.core.due.due_times import DueTime, list_due_times
from heed.core.effects import CancelTask, Publish
from heed.core.events import Event, Received
from heed.core.ledger.held import HeldEvents
from heed.core.ledger.ledger import Ledger, list_owed_effects
from tests.builders.agents import AGENT, NAMESPACE, UID, program
from tests.builders.events import at, received
from tests.builders.tasks import session_task

HEARD = {
    "name": "heard",
    "type": names.SESSION_EXPIRED,
    "state": {"was": "${event.data.?state.orValue(null)}", "why": "${event.data.reason}"},
}
SAID = program(
    {"name": "other", "type": "com.example.other"}, HEARD, session={"idleTimeout": "60s", "onExpire": "Emit"}
)
AGED = program(
    {"name": "other", "type": "com.example.other"}, HEARD, session={"maxAge": "60s", "onExpire": "Emit"}
)
QUIET = program({"name": "other", "type": "com.example.other"}, session={"maxAge": "60s"})


def remembering(*moments: float, state: Any = None) -> Ledger:
    """Sessions a, b, … that began, and last heard something, so many seconds after noon."""
    return Ledger(
        sessions={
            f"s{index:03}": Session(at(time), at(time), f"c{index}", state or {"n": index})
            for index, time in enumerate(moments)
        }
    )


def due(
    program_: Program, ledger: Ledger, kind: str, at_: float, *, time: float | None = None, sequence: int = 9
) -> Decision:
    """The decision on a due time that has come."""
    data = {"at": at(at_), "key": ""}
    came = received(sequence, f"dev.heed.due.{kind}", data, inbox=True, time=at_ if time is None else time)
    return decide(program_, ledger, came)


def said(decision: Decision) -> list[dict[str, Any]]:
    """The events that the decision owes."""
    owed = [item.owed for item in decision.effects if isinstance(item, Publish)]
    assert all(item.subject == names.inbox_subject(NAMESPACE, AGENT, names.SESSION_EXPIRED) for item in owed)
    return [json.loads(item.event or "") for item in owed]


def test_an_idle_session_says_its_end_with_its_last_state() -> None:
    decision = due(SAID, remembering(1), "session", 62)

    (event,) = said(decision)
    assert event == {
        "specversion": "1.0",
        "id": names.digest("session expired", UID, "s000", at(1), at(1)),
        "source": names.agent_source(NAMESPACE, AGENT),
        "type": "dev.heed.session.expired",
        "time": at(62),
        "datacontenttype": "application/json",
        "correlationid": "c0",
        "data": {
            "key": "s000",
            "state": {"n": 0},
            "startedAt": at(1),
            "lastEventAt": at(1),
            "reason": "Idle",
        },
    }
    assert (decision.outcome, decision.ledger.sessions) == ("due", {})
    assert (decision.ledger.totals.sessions_expired, decision.ledger.totals.due) == (1, 1)
    assert list_owed_effects(decision.ledger) == list(decision.effects)


def test_any_event_ends_idle_sessions_and_has_effects_of_its_own_beside() -> None:
    agent = program({"emit": [{"type": "x.out"}]}, HEARD, session={"idleTimeout": "60s", "onExpire": "Emit"})

    decision = decide(agent, remembering(1), received(9, time=100))

    types = [
        json.loads(item.owed.event or "")["type"] for item in decision.effects if isinstance(item, Publish)
    ]
    assert types == ["dev.heed.session.expired", "x.out"]
    assert decision.ledger.totals.emitted == 1
    assert len(decision.ledger.outbox) == 2


def test_a_dead_letter_keeps_the_ends_that_were_said() -> None:
    agent = program({"when": "event.data.x > 1"}, HEARD, session={"idleTimeout": "60s", "onExpire": "Emit"})

    decision = decide(agent, remembering(1), received(9, time=100))

    assert decision.outcome == "dead_lettered"
    assert [item.owed.letter is None for item in decision.effects if isinstance(item, Publish)] == [
        True,
        False,
    ]


def test_without_emit_nothing_is_said() -> None:
    quiet = program({}, session={"idleTimeout": "60s"})

    decision = due(quiet, remembering(*range(200)), "session", 500)

    assert (decision.effects, decision.ledger.sessions) == ((), {})
    assert decision.ledger.totals.sessions_expired == 200


def come(event: dict[str, Any], sequence: int = 10) -> Received:
    """What was said, as the stream holds it."""
    extensions = {"correlationid": event["correlationid"]}
    given = Event(event["id"], event["source"], event["type"], event["data"], extensions=extensions)
    return Received(sequence, at(200), names.inbox_subject(NAMESPACE, AGENT, event["type"]), given)


def test_its_handlers_see_it_in_a_session_of_the_same_key() -> None:
    decision = due(SAID, remembering(1), "session", 62)
    (event,) = said(decision)

    heard = decide(SAID, decision.ledger, come(event))

    assert (heard.outcome, heard.session, heard.before) == ("handled", "s000", None)
    assert heard.after == {"was": {"n": 0}, "why": "Idle"}
    assert decide(SAID, heard.ledger, come(event, 11)).outcome == "duplicates"


@pytest.mark.parametrize("data", [None, [], {}, {"key": 7}, {"key": ""}, {"key": "x" * 257}])
def test_one_that_names_no_session_is_stale(data: Any) -> None:
    assert decide(SAID, Ledger(), received(1, names.SESSION_EXPIRED, data, inbox=True)).outcome == "stale"


def test_one_that_is_broadcast_is_refused() -> None:
    decision = decide(SAID, Ledger(), received(1, names.SESSION_EXPIRED, {"key": "s"}))

    assert decision.letter is not None and decision.letter.code == "ReservedType"


def test_a_state_that_nests_too_deep_is_left_out() -> None:
    state: dict[str, Any] = {"n": 1}
    for _ in range(63):
        state = {"n": state}

    (event,) = said(due(SAID, remembering(1, state=state), "session", 62))
    (other,) = said(due(SAID, remembering(1, state=state["n"]), "session", 62))

    assert event["data"].keys() == {"key", "startedAt", "lastEventAt", "reason"}
    assert other["data"]["state"] == state["n"]


# ── too old ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("time", "left"), [(61, ["s001"]), (60.9, ["s000", "s001"]), (62, [])])
def test_a_session_ends_at_its_age_whatever_it_heard(time: float, left: list[str]) -> None:
    ledger = remembering(1, 2)
    touched = {key: replace(item, last_event_at=at(59)) for key, item in ledger.sessions.items()}

    decision = due(QUIET, replace(ledger, sessions=touched), "age", time)

    assert list(decision.ledger.sessions) == left
    assert decision.ledger.totals.sessions_expired == 2 - len(left)
    assert decision.effects == ()


def test_its_tasks_are_stopped_unheard_and_what_it_held_is_looked_at_again() -> None:
    tasks = {"t": session_task("s000"), "u": session_task("s001"), "v": session_task("s000", "Abandoned")}
    held = HeldEvents.of(
        {4: HeldEvent("s000", "h", at(4), at(9000)), 5: HeldEvent("s001", "h", at(4), at(9000))}
    )
    ledger = replace(remembering(1, 50), pending_tasks=tasks, held=held)

    decision = due(AGED, ledger, "age", 61)

    assert [(item.id, item.record) for item in decision.effects if isinstance(item, CancelTask)] == [
        ("t", None)
    ]
    phases = {key: task.phase for key, task in decision.ledger.pending_tasks.items()}
    assert phases == {"t": "Abandoned", "u": tasks["u"].phase, "v": "Abandoned"}
    assert decision.ledger.held.ready == (4,)
    assert [event["data"]["reason"] for event in said(decision)] == ["MaxAge"]


def test_of_a_session_that_is_too_old_only_what_may_run_is_stopped() -> None:
    tasks = {
        "runs": session_task("s000"),
        "queued": replace(session_task("s000", "Queued"), queue=QueuePlace(at(1), 1)),
        "other": replace(session_task("s001", "Queued"), queue=QueuePlace(at(1), 2)),
        "between": replace(session_task("s000", "Retrying"), due=at(70), attempt=2),
        "wait": replace(session_task("s000"), kind="wait", due=at(70)),
    }
    ledger = replace(remembering(1, 50), pending_tasks=tasks)

    decision = due(AGED, ledger, "age", 61)

    stopped = [item for item in decision.effects if isinstance(item, CancelTask)]
    assert stopped == [CancelTask("runs", None), CancelTask("wait", None)]
    phases = {key: task.phase for key, task in decision.ledger.pending_tasks.items()}
    assert phases == {"runs": "Abandoned", "other": "Owed", "wait": "Abandoned"}


def test_without_an_age_a_due_time_ends_none() -> None:
    assert due(SAID, remembering(1), "age", 61).ledger.sessions


@pytest.mark.parametrize(("behind", "ended"), [(0.5, True), (60, True), (60.1, False)])
def test_the_brokers_clock_may_be_behind_a_little(behind: float, ended: bool) -> None:
    for agent, kind in ((AGED, "age"), (SAID, "session")):
        decision = due(agent, remembering(1), kind, 62, time=62 - behind)

        assert (decision.ledger.sessions == {}) is ended


# ── a few at a time ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("agent", "kind"), [(SAID, "session"), (AGED, "age"), (QUIET, "age")])
def test_one_event_ends_so_many_and_the_next_due_time_is_another(agent: Program, kind: str) -> None:
    ledger = remembering(*[1] * (MAX_ENDED_SESSIONS + 1))
    (before,) = [item for item in list_due_times(agent, ledger) if item.kind == kind]

    decision = due(agent, ledger, kind, 62)

    assert list(decision.ledger.sessions) == [f"s{MAX_ENDED_SESSIONS:03}"]
    (after,) = [item for item in list_due_times(agent, decision.ledger) if item.kind == kind]
    assert (before.at, before.key != after.key) == (after.at, True)
    assert due(agent, decision.ledger, kind, 62, sequence=10).ledger.sessions == {}


@pytest.mark.parametrize(("size", "ended"), [(MAX_FAREWELL_BYTES // 3, 2), (MAX_FAREWELL_BYTES, 1), (10, 3)])
def test_what_is_said_at_once_is_bounded_but_for_one(size: int, ended: int) -> None:
    decision = due(SAID, remembering(1, 1, 1, state={"x": "y" * size}), "session", 62)

    assert (len(said(decision)), len(decision.ledger.sessions)) == (ended, 3 - ended)


# ── when it is due ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("last", "due_at"), [(1, 62), (1.5, 62), (1.999999, 62), (2, 63)])
def test_an_end_that_is_said_is_due_at_the_next_second(last: float, due_at: float) -> None:
    ledger = remembering(last)

    assert list(list_due_times(SAID, ledger)) == [DueTime(at(due_at), "session", names.session_hash("s000"))]
    assert due(SAID, ledger, "session", due_at).ledger.sessions == {}
    assert due(SAID, ledger, "session", due_at - 0.5).ledger.sessions != {}


def test_the_oldest_session_is_due_at_its_age() -> None:
    ledger = remembering(5, 3.25, 4)

    found = [item for item in list_due_times(AGED, ledger) if item.kind == "age"]

    assert found == [DueTime(at(63.25), "age", names.session_hash("s001"))]
    assert list(list_due_times(AGED, Ledger())) == []


def test_a_session_with_held_events_is_not_due() -> None:
    held = HeldEvents.of(
        {4: HeldEvent("s000", "h", at(4), at(9000)), 5: HeldEvent("t", "h", at(4), at(8000))}
    )

    found = list(list_due_times(SAID, replace(remembering(1), held=held)))

    assert found == [DueTime(at(8000), "hold", "")]
    assert list(list_due_times(SAID, Ledger(held=held.expire(at(8000))))) == [DueTime(at(9000), "hold", "")]
    assert list(list_due_times(SAID, Ledger(held=held.expire(at(9000))))) == []
