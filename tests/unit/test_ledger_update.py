"""What the handlers did, as a new ledger and as effects; and what is left of an event that could not be decided."""

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.status import Cursor, OutboxMessage, PendingTask, Session, TaskCause, TaskRate, Totals
from heed.core.compiler.program import Program
from heed.core.decision.model import RECORD_BYTES, SESSION_BYTES, Decision
from heed.core.effects import CancelTask, Publish, StartTask
from heed.core.ledger.dedup_window import DedupWindow
from heed.core.ledger.deferred import DeferredEvents
from heed.core.ledger.ledger import Ledger
from tests.builders.agents import ASKED, UID, job, program
from tests.builders.decisions import failure_of
from tests.builders.events import at, received
from tests.builders.policies import allowed_by, policy, restricted
from tests.unit.steps import admitted, finished, routed

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
    waiting=DeferredEvents.of({9: "x"}),
    recent_events=DedupWindow.of(["d1"]),
    outbox={"m": OutboxMessage(4, 0, "subject", at(4), event="{}")},
    task_rate=TaskRate(MINUTE, 1),
)
ORIGIN = f"{UID}@made"


def handled(
    data: Any = None,
    *,
    key: str = "s",
    type_: str = ASKED,
    agent: Program = AGENT_,
    digest: str | None = None,
) -> Decision:
    return finished(admitted(routed(agent, received(5, type_, data), LEDGER, digest=digest), key))


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
    agent = restricted(allowed_by(policy(limits=limits)), *HANDLERS, tasks=TASKS)

    assert failure_of(handled, "act", key="new", agent=agent) == (
        "PolicyViolation",
        f"AgentPolicy demo/strict allows {message}",
        handler,
    )


def test_tasks_of_a_minute_are_counted_where_a_policy_limits_them() -> None:
    agent = restricted(allowed_by(policy(limits={"tasksPerMinute": 2})), *HANDLERS, tasks=TASKS)

    assert handled("act", agent=agent).ledger.task_rate == TaskRate(MINUTE, 2)
    assert handled("x", agent=agent).ledger.task_rate == TaskRate(MINUTE, 1)


def test_a_decision_grows_the_status_by_its_session_and_by_all_that_it_owes() -> None:
    found = handled("act")

    started = [task for task in found.ledger.pending_tasks.values() if task.owed is not None]
    sent = [item for key, item in found.ledger.outbox.items() if key != "m"]
    owed = sum(RECORD_BYTES + len(task.owed or "") for task in started)
    owed += sum(RECORD_BYTES + len(item.event or "") for item in sent)
    assert (len(started), len(sent)) == (1, 2)
    assert found.growth == SESSION_BYTES + found.state_size + owed
