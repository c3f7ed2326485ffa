"""What the handlers did, as a new ledger and as effects; and what is left of an event that could not be decided."""

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.status import (
    Cursor,
    DeadLetterCause,
    OutboxMessage,
    PendingTask,
    Session,
    TaskCause,
    TaskRate,
    Totals,
)
from heed.core.compiler.program import Program
from heed.core.decision import transition
from heed.core.decision.model import Decision, Outcome
from heed.core.effects import CancelTask, Publish, StartTask
from heed.core.events import Event, Redrive
from heed.core.ledger.dedup_window import DedupWindow
from heed.core.ledger.deferred import DeferredEvents
from heed.core.ledger.ledger import Ledger
from heed.errors import DecisionFailed
from tests.unit.builders import AGENT, ASKED, NAMESPACE, UID, at, failure_of, job, program, received
from tests.unit.policies import allowed, policy, restricted

STOP, MINUTE = "com.example.stop", "2026-01-31T12:00:00Z"
HANDLERS: tuple[dict[str, Any], ...] = (
    {
        "name": "go",
        "when": "event.data != 'no'",
        "state": {"d": "${event.data}", "at": "${session.startedAt}"},
    },
    {
        "name": "act",
        "when": "event.data == 'act'",
        "start": [{"task": "work", "input": "${session.key}"}],
        "emit": [{"type": "x.y"}, {"type": "x.z"}],
        "cancel": [{"task": "old"}],
    },
    {"name": "fail", "when": "event.data == 'fail'", "state": {"x": "${event.data.n}"}},
    {"name": "stop", "type": STOP, "end": True},
)
TASKS = {"work": job(), "old": job()}
AGENT_ = program(*HANDLERS, tasks=TASKS)
RUNS = PendingTask("old", "s", "job", at(1), TaskCause("e1", 1, "c1"), phase="Started", input=1)
LEDGER = Ledger(
    cursor=Cursor("S", 5, at(5), "made"),
    totals=Totals(handled=7, ignored=2, emitted=3, tasks_started=4, schema_warnings=1, dead_lettered=5),
    sessions={"s": Session(at(1), at(2), "c1", {"n": 1}), "z": Session(at(1), at(3), "cz", {"n": 1})},
    pending_tasks={"t": RUNS},
    waiting=DeferredEvents.of({2: "x"}),
    recent_events=DedupWindow.of(["d1"]),
    outbox={"m": OutboxMessage(4, 0, "subject", at(4), event="{}")},
    task_rate=TaskRate(MINUTE, 1),
)
ORIGIN = f"{UID}@made"


def handled(
    data: Any = None, *, key: str = "s", type_: str = ASKED, agent: Program = AGENT_, **more: Any
) -> Decision:
    came = received(5, type_, data)
    assert isinstance(came.event, Event)
    reactions, variables = (
        transition.reactions_to(agent, came.event),
        transition.variables_of(agent, came.event),
    )
    return transition.handled(agent, LEDGER, came, came.event, key, reactions, variables, **more)


# ── what handlers did ───────────────────────────────────────────────────────────────────────────────────────────────


def test_what_handlers_did_becomes_a_ledger_and_effects() -> None:
    found = handled("act", digest="d2")

    work = names.task_id(ORIGIN, 5, 0, "work")
    events = [names.event_id(ORIGIN, 5, index) for index in (0, 1)]
    started, stopped = found.ledger.pending_tasks[work], replace(RUNS, phase="Cancelling")
    outbox = found.ledger.outbox
    state = {"n": 1, "d": "act", "at": at(1)}
    assert found.ledger == replace(
        LEDGER,
        totals=replace(LEDGER.totals, handled=8, emitted=5, tasks_started=5),
        sessions={"z": LEDGER.sessions["z"], "s": Session(at(1), at(5), "c1", state)},
        pending_tasks={"t": stopped, work: started},
        recent_events=DedupWindow.of(["d1", "d2"]),
        outbox=outbox,
        task_rate=None,
    )
    assert list(found.ledger.sessions) == ["z", "s"]
    assert list(outbox) == ["m", *events]
    assert (started.session, started.input, started.cause.sequence) == ("s", "s", 5)
    assert found == Decision(
        received=found.received,
        ledger=found.ledger,
        outcome="handled",
        effects=(
            StartTask(work, started),
            *(Publish(key, outbox[key]) for key in events),
            CancelTask("t", stopped),
        ),
        session="s",
        handlers=("go", "act"),
        before={"n": 1},
        after=state,
        state_size=len(f'{{"at":"{at(1)}","d":"act","n":1}}'),
    )


def test_a_session_that_opens_has_nothing_before_it() -> None:
    found = handled("x", key="new")

    assert (found.before, found.after) == (None, {"d": "x", "at": at(5)})
    assert found.ledger.sessions["new"] == Session(at(5), at(5), "e5", {"d": "x", "at": at(5)})
    assert found.ledger.recent_events == LEDGER.recent_events


def test_a_session_that_ends_has_nothing_after_it_and_its_tasks_are_stopped() -> None:
    found = handled(type_=STOP)

    assert (found.before, found.after, found.handlers, found.state_size) == ({"n": 1}, None, ("stop",), 2)
    assert list(found.ledger.sessions) == ["z"]
    assert found.ledger.pending_tasks == {"t": replace(RUNS, phase="Abandoned")}
    assert found.effects == (CancelTask("t", None),)


@pytest.mark.parametrize("key", ["s", "new"])
def test_where_no_handler_runs_only_the_sessions_time_is_new(key: str) -> None:
    found = handled("no", key=key, digest="d2")

    state = {"n": 1} if key == "s" else None
    assert (found.outcome, found.session, found.before, found.after) == ("ignored", key, state, state)
    assert (found.effects, found.handlers) == ((), ())
    touched = {"z": LEDGER.sessions["z"], "s": Session(at(1), at(5), "c1", {"n": 1})}
    assert found.ledger == replace(
        LEDGER,
        totals=replace(LEDGER.totals, ignored=3),
        sessions=touched if key == "s" else LEDGER.sessions,
    )


def test_a_handler_that_breaks_takes_the_whole_decision_with_it() -> None:
    assert failure_of(handled, "fail") == (
        "TemplateFailed",
        "spec.handlers[2].state.x: ${event.data.n}: event.data is a string, not a map; "
        "ask first: type(event.data) == map && has(event.data.n)",
        "fail",
    )


@pytest.mark.parametrize(
    ("limits", "message", "handler"),
    [
        ({"pendingTasks": 1}, "at most 1 pending tasks; there are 1, and 1 more would start", "act"),
        ({"tasksPerMinute": 1}, "at most 1 tasks per minute; 1 have started, and 1 more would", "act"),
        ({"hops": 0}, "at most 0 hops; the event is 0 decisions from its origin", "act"),
        ({"sessions": 2}, "at most 2 sessions; this event would open another one", "act"),
    ],
)
def test_limits_are_asked_of_every_decision(limits: dict[str, int], message: str, handler: str) -> None:
    agent = restricted(allowed(policy(limits=limits)), *HANDLERS, tasks=TASKS)

    assert failure_of(handled, "act", key="new", agent=agent) == (
        "PolicyViolation",
        f"AgentPolicy demo/strict allows {message}",
        handler,
    )


def test_tasks_of_a_minute_are_counted_where_a_policy_limits_them() -> None:
    agent = restricted(allowed(policy(limits={"tasksPerMinute": 2})), *HANDLERS, tasks=TASKS)

    assert handled("act", agent=agent).ledger.task_rate == TaskRate(MINUTE, 2)
    assert handled("x", agent=agent).ledger.task_rate == TaskRate(MINUTE, 1)


# ── what could not be decided ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("redrive", "attempt"), [(None, 1), (Redrive("l", 4), 4)])
def test_a_letter_is_owed_with_all_that_is_known(redrive: Redrive | None, attempt: int) -> None:
    came = replace(received(5), redrive=redrive)

    found = transition.dead(
        AGENT_, LEDGER, came, DecisionFailed("Code", "m" * 1001, "h"), task="{}", digest="d2"
    )

    key = names.letter_id(ORIGIN, 5)
    letter = DeadLetterCause("Code", "m" * 1000, "h", 3, attempt, "{}")
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
    letter = transition.dead(AGENT_, LEDGER, received(5), DecisionFailed("Code", "m" * length)).letter

    assert letter == DeadLetterCause("Code", "m" * length, None, 3, 1, None)


def test_a_letter_without_a_digest_is_not_remembered() -> None:
    found = transition.dead(AGENT_, LEDGER, received(5), DecisionFailed("Code", "m"))

    assert found.ledger.recent_events == LEDGER.recent_events
    assert found.letter == DeadLetterCause("Code", "m", None, 3, 1, None)


@pytest.mark.parametrize("outcome", ["handled", "ignored", "duplicates", "stale", "dead_lettered"])
def test_counting_changes_one_total(outcome: Outcome) -> None:
    came, before = received(5), getattr(LEDGER.totals, outcome)

    assert transition.counted(LEDGER, came, outcome) == Decision(
        came, replace(LEDGER, totals=replace(LEDGER.totals, **{outcome: before + 1})), outcome
    )


# ── what handlers see ───────────────────────────────────────────────────────────────────────────────────────────────


def test_expressions_have_a_task_and_an_input_only_where_there_is_one() -> None:
    event = Event("e1", "/shop", ASKED)

    assert transition.variables_of(AGENT_, event) == {
        "event": {
            **{"id": "e1", "source": "/shop", "type": ASKED, "specversion": "1.0"},
            **{"correlationid": "e1", "data": None},
        },
        "agent": {"name": AGENT, "namespace": NAMESPACE, "labels": {}},
        "task": {},
        "input": {},
    }


LISTENING = program({"type": STOP}, {"type": "com.example.>"}, {}, {"type": "com.example.*"})


@pytest.mark.parametrize(
    ("type_", "handlers"), [(ASKED, ["h1", "h2"]), (STOP, ["h0", "h1", "h3"]), ("com.other", [])]
)
def test_handlers_react_to_their_type_in_listed_order(type_: str, handlers: list[str]) -> None:
    found = transition.reactions_to(LISTENING, Event("e", "/x", type_))

    assert [item.name for item in found] == handlers


def test_a_session_that_only_hears_is_the_last_one_touched() -> None:
    ledger = transition.touched(LEDGER, "s", LEDGER.sessions["s"])

    assert ledger == replace(
        LEDGER, sessions={"z": LEDGER.sessions["z"], "s": replace(LEDGER.sessions["s"], last_event_at=at(5))}
    )
    assert list(ledger.sessions) == ["z", "s"]
