"""What tasks say of themselves: which task it is, what is stale, what a letter keeps, and what is stopped."""

import json
from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.status import Cursor, DeadLetterCause, PendingTask, RecentTask, Session, TaskCause, Totals
from heed.core.decision.model import Decision
from heed.core.decision.task_events import decide_task_event
from heed.core.effects import CancelTask, Publish
from heed.core.events import Event, Received, Redrive
from heed.core.ledger.dedup_window import DedupWindow
from heed.core.ledger.headroom import Headroom
from heed.core.ledger.ledger import Ledger
from tests.unit.builders import AGENT, NAMESPACE, at, job, program, received, task_end

NOTE: dict[str, Any] = {"when": "event.data.?result.orValue(1) != 0 && event.data.?percent.orValue(1) != 0"}
SEEN = "${[task.id, task.name, task.kind, task.startedAt, string(input), event.subject]}"
AGENT_ = program(
    {
        "name": "done",
        "type": names.TASK_COMPLETED,
        **NOTE,
        "state": {"seen": SEEN, "d": "${event.data.result}"},
    },
    {"name": "lost", "type": names.TASK_FAILED, "end": True},
    {
        "name": "on",
        "type": names.TASK_PROGRESS,
        **NOTE,
        "state": {"seen": SEEN, "d": "${event.data.percent}"},
    },
    tasks={"work": job(publish=True)},
)
SOURCE = names.agent_source(NAMESPACE, AGENT)
RECORD = PendingTask(
    "work", "s", "job", at(1), TaskCause("e1", 1, "c1", 4), phase="Started", input=7, owed=None
)
LEDGER = Ledger(
    cursor=Cursor("S", 5, at(5)),
    totals=Totals(handled=1, tasks_started=1),
    sessions={"s": Session(at(1), at(1), "c1", {"n": 1}), "z": Session(at(1), at(2), "cz", {"n": 1})},
    pending_tasks={"t": RECORD},
    recent_events=DedupWindow.of(["d1"]),
)
KEPT = {"session": "s", "input": 7, "id": "t", "name": "work", "kind": "job", "startedAt": at(1)}
MISSING = 'spec.handlers[0].state.d: ${event.data.result}: there is no "result"; '


def decided(came: Received, ledger: Ledger = LEDGER, room: Headroom | None = None) -> Decision:
    assert isinstance(came.event, Event)
    return decide_task_event(AGENT_, ledger, came, came.event, room)


def said(data: Any = None, *, task: str = "t", type_: str = names.TASK_PROGRESS, **more: Any) -> Received:
    """What the task itself says."""
    event = Event(more.pop("id", "p1"), more.pop("source", "/worker"), type_, data, **more)
    return Received(5, at(5), names.task_subject(NAMESPACE, AGENT, task, type_), event)


def seen(subject: str = "t") -> list[str]:
    return ["t", "work", "job", at(1), "7", subject]


# ── ends ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_end_of_a_task_is_decided_in_its_session_with_its_input() -> None:
    found = decided(task_end(5, "t", 3))

    state = {"n": 1, "seen": seen(), "d": 3}
    assert found.ledger == replace(
        LEDGER,
        totals=Totals(handled=2, tasks_started=1, tasks_completed=1),
        sessions={"z": LEDGER.sessions["z"], "s": Session(at(1), at(5), "c1", state)},
        pending_tasks={},
        recent_tasks=(RecentTask("t", "work", "s", "Completed", at(1), at(5)),),
    )
    assert (found.outcome, found.session, found.handlers, found.effects) == ("handled", "s", ("done",), ())
    assert (found.before, found.after) == ({"n": 1}, state)


def test_a_failure_is_an_end_too() -> None:
    found = decided(task_end(5, "t", reason="JobFailed"))

    assert (found.handlers, list(found.ledger.sessions)) == (("lost",), ["z"])
    assert found.ledger.recent_tasks == (RecentTask("t", "work", "s", "Failed", at(1), at(5), "JobFailed"),)


@pytest.mark.parametrize(
    "came",
    [
        task_end(5, "other", 3),
        received(5, names.TASK_COMPLETED, inbox=True, source=SOURCE),
        received(5, names.TASK_PROGRESS, {"percent": 1}, inbox=True, subject="t"),
        received(5, names.TASK_RESULT, {"result": 1}, inbox=True, subject="t", source=SOURCE),
        said({"percent": 1}, task="other"),
        said({"percent": 1}, subject="other"),
        said({"result": 1}, type_=names.TASK_COMPLETED),
        said({"result": 1}, type_=names.TASK_RESULT),
    ],
)
def test_what_is_no_word_of_a_pending_task_is_stale(came: Received) -> None:
    found = decided(came)

    assert found == Decision(came, replace(LEDGER, totals=replace(LEDGER.totals, stale=1)), "stale")


@pytest.mark.parametrize("came", [task_end(5, "t", 3), said({"percent": 1})])
def test_what_a_task_says_that_nobody_waits_for_is_stale(came: Received) -> None:
    given_up = replace(LEDGER, pending_tasks={"t": replace(RECORD, phase="Abandoned")})

    assert decided(came, given_up).outcome == "stale"
    assert (
        decided(came, replace(LEDGER, pending_tasks={"t": replace(RECORD, phase="Cancelling")})).outcome
        == "handled"
    )


def test_a_broadcast_event_of_a_task_is_a_letter() -> None:
    came = received(5, names.TASK_COMPLETED, {"result": 1}, subject="t")

    found = decided(came)

    message = "dev.heed.task.completed is for the ends of tasks; choose a type of your own"
    assert found.letter == DeadLetterCause("ReservedType", message, None, 3, 1, None)
    assert (found.ledger.pending_tasks, found.ledger.totals.dead_lettered) == ({"t": RECORD}, 1)


def test_an_end_whose_handler_breaks_is_a_letter_with_its_task_and_the_session_is_touched() -> None:
    end = task_end(5, "t", 3)
    assert isinstance(end.event, Event)
    came = replace(end, event=replace(end.event, data={"x": 1}))

    found = decided(came)

    message = MISSING + "guard it with has(…) or use .?result.orValue(…)"
    assert found.letter is not None
    assert replace(found.letter, task=None) == DeadLetterCause("TemplateFailed", message, "done", 3, 1, None)
    assert json.loads(found.letter.task or "") == KEPT
    assert found.ledger.pending_tasks == {}
    assert found.ledger.sessions == {"z": LEDGER.sessions["z"], "s": Session(at(1), at(5), "c1", {"n": 1})}
    assert list(found.ledger.sessions) == ["z", "s"]
    assert found.ledger.recent_events == LEDGER.recent_events
    assert found.ledger.totals == Totals(handled=1, tasks_started=1, tasks_completed=1, dead_lettered=1)
    assert len(found.effects) == 1 and isinstance(found.effects[0], Publish)


@pytest.mark.parametrize(("result", "outcome"), [(3, "handled"), (0, "ignored")])
def test_who_may_run_all_the_same_is_stopped(result: int, outcome: str) -> None:
    found = decided(task_end(5, "t", result, source="/someone"))

    assert (found.outcome, found.effects) == (outcome, (CancelTask("t", None),))
    assert found.ledger.pending_tasks == {"t": replace(RECORD, phase="Abandoned", input=None)}


def test_who_may_run_is_stopped_also_where_the_end_is_a_letter() -> None:
    end = task_end(5, "t", source="/someone")
    assert isinstance(end.event, Event)

    found = decided(replace(end, event=replace(end.event, data={"x": 1})))

    assert found.outcome == "dead_lettered"
    assert found.effects[1:] == (CancelTask("t", None),)


FULL = "the Agent's status is full; end sessions, or remember less"


@pytest.mark.parametrize("came", [task_end(5, "t", 3), said({"percent": 1})])
def test_what_tasks_say_takes_all_room_and_no_more(came: Received) -> None:
    growth = decided(came).growth

    assert decided(came, room=Headroom(growth, growth)).outcome == "handled"
    full = decided(came, room=Headroom(growth - 1, 0)).letter
    assert full is not None
    assert (full.code, full.message, full.handler) == ("StatusFull", FULL, None)
    assert json.loads(full.task or "") == KEPT


# ── progress ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("subject", [None, "t"])
def test_progress_is_decided_in_the_session_of_its_task(subject: str | None) -> None:
    came = said({"percent": 40}, subject=subject, extensions={"correlationid": "mine", "heedhops": 0, "x": 1})

    found = decided(came)

    state = {"n": 1, "seen": seen(), "d": 40}
    assert found.ledger == replace(
        LEDGER,
        totals=Totals(handled=2, tasks_started=1),
        sessions={"z": LEDGER.sessions["z"], "s": Session(at(1), at(5), "c1", state)},
        recent_events=DedupWindow.of(["d1", names.progress_digest("t", "/worker", "p1")]),
    )
    assert (found.received, found.handlers) == (came, ("on",))


def test_progress_is_decided_once_by_its_source_and_id() -> None:
    first = decided(said({"percent": 40})).ledger

    assert decided(said({"percent": 40}), first).outcome == "duplicates"
    assert decided(said({"percent": 40}), first).ledger.totals.duplicates == 1
    assert decided(said({"percent": 40}, id="p2"), first).outcome == "handled"
    assert decided(said({"percent": 40}, source="/x"), first).outcome == "handled"


def test_progress_that_cannot_be_decided_is_a_letter_with_its_task_and_is_remembered() -> None:
    found = decided(said({"x": 1}))

    assert found.letter is not None
    assert (found.letter.code, found.letter.handler) == ("TemplateFailed", "on")
    assert json.loads(found.letter.task or "") == KEPT
    assert found.ledger.pending_tasks == {"t": RECORD}
    assert found.ledger.recent_events == DedupWindow.of(["d1", names.progress_digest("t", "/worker", "p1")])


# ── redrives ────────────────────────────────────────────────────────────────────────────────────────────────────────


def again(data: Any, task: str | None = json.dumps(KEPT), attempt: int = 2) -> Received:
    """The end of a task that left the ledger, by a letter that is redriven."""
    end = task_end(5, "t", source=SOURCE)
    assert isinstance(end.event, Event)
    subject = names.redrive_subject(NAMESPACE, AGENT, names.TASK_COMPLETED)
    redrive = Redrive("letter", attempt, task, names.inbox_subject(NAMESPACE, AGENT, names.TASK_COMPLETED))
    return Received(5, at(5), subject, replace(end.event, data=data), redrive)


GONE = replace(LEDGER, pending_tasks={})
DIGEST = names.redrive_digest("letter", 2)


def test_an_end_that_is_redriven_has_its_task_from_the_letter() -> None:
    found = decided(again({"result": 3}), GONE)

    assert found.after == {"n": 1, "seen": seen(), "d": 3}
    assert found.ledger.recent_events == DedupWindow.of(["d1", DIGEST])
    assert found.ledger.totals == Totals(handled=2, tasks_started=1)
    assert decided(again({"result": 3}), found.ledger).outcome == "duplicates"
    assert decided(again({"result": 3}, attempt=3), found.ledger).outcome == "handled"


def test_an_end_that_breaks_again_keeps_its_task() -> None:
    found = decided(again({"x": 1}), GONE)

    assert found.letter is not None
    assert (found.letter.task, found.letter.attempt) == (json.dumps(KEPT), 2)
    assert found.ledger.recent_events == DedupWindow.of(["d1", DIGEST])
