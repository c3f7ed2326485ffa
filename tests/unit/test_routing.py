"""What tasks say of themselves: which task it is, what is stale, what a letter keeps, and what is stopped."""

import json
from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.status import Cursor, DeadLetterCause, PendingTask, RecentTask, Session, TaskCause, Totals
from heed.core.compiler.program import Program
from heed.core.decision.decide import Decision, decide
from heed.core.decision.routing import digest_event, read_task, route
from heed.core.decision.step import Step, TaskContext
from heed.core.effects import CancelTask, Publish
from heed.core.events import Event, MalformedMessage, Received, Redrive
from heed.core.ledger.dedup_window import DedupWindow
from heed.core.ledger.headroom import Headroom
from heed.core.ledger.ledger import Ledger
from tests.builders.agents import AGENT, ASKED, NAMESPACE, job, program
from tests.builders.decisions import failure_of
from tests.builders.events import at, received, task_end
from tests.builders.policies import allowed_by, grant, restricted
from tests.builders.tasks import session_task
from tests.unit.steps import routed

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
KEPT = {
    "session": "s",
    "input": 7,
    "id": "t",
    "name": "work",
    "kind": "job",
    "startedAt": at(1),
    "attempt": 1,
}
MISSING = 'spec.handlers[0].state.d: ${event.data.result}: there is no "result"; '


def decided(came: Received, ledger: Ledger = LEDGER, room: Headroom | None = None) -> Decision:
    ledger = replace(ledger, cursor=Cursor("S", 4, at(4)))
    return decide(AGENT_, ledger, came, room=room)


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

    message = "dev.heed.task.completed is Heed's own to say; choose a type of your own"
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


@pytest.mark.parametrize("came", [task_end(5, "t", 0), said({"percent": 0})])
def test_what_no_handler_takes_needs_no_room(came: Received) -> None:
    assert decided(came, room=Headroom(0, 0)).outcome == "ignored"


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


def redriven_end(task: str | None) -> Received:
    """The end of a task, by a letter that is redriven and keeps this."""
    subject = names.redrive_subject(NAMESPACE, AGENT, names.TASK_COMPLETED)
    return Received(5, at(5), subject, Event("e", "/x", names.TASK_COMPLETED), Redrive("letter", 2, task))


@pytest.mark.parametrize(
    "task", ["", "{", "[]", "{}", "7", json.dumps({**KEPT, "session": None} | {"id": 1})]
)
def test_a_task_of_a_letter_is_read_as_far_as_it_can_be(task: str) -> None:
    readable = task.startswith('{"')
    message = "the task that came with the letter cannot be read; redrive it with `heed dead redrive`"

    if readable:
        variable: dict[str, str | int] = {
            "id": "1",
            "name": "work",
            "kind": "job",
            "startedAt": at(1),
            "attempt": 1,
        }
        assert read_task(redriven_end(task)) == TaskContext("None", variable, 7)
    else:
        assert failure_of(read_task, redriven_end(task)) == ("BadRedrive", message, None)


@pytest.mark.parametrize("missing", ["session", "input", "id", "name", "kind", "startedAt"])
def test_a_task_of_a_letter_is_whole(missing: str) -> None:
    task = json.dumps({name: value for name, value in KEPT.items() if name != missing})

    assert failure_of(read_task, redriven_end(task))[0] == "BadRedrive"


def test_what_is_no_redrive_has_no_task() -> None:
    assert failure_of(read_task, received(5))[0] == "BadRedrive"


@pytest.mark.parametrize("ended", [True, False])
def test_what_a_letter_keeps_is_what_it_gives_back(ended: bool) -> None:
    kept = TaskContext.of("t", RECORD, ended=ended)
    variable: dict[str, str | int] = {
        "id": "t",
        "name": "work",
        "kind": "job",
        "startedAt": at(1),
        "attempt": 1,
    }

    assert kept == TaskContext("s", variable, 7, ended, limited=True)
    assert json.loads(kept.to_letter()) == KEPT
    assert read_task(redriven_end(kept.to_letter())) == TaskContext("s", variable, 7)


# ── the dedup window ────────────────────────────────────────────────────────────────────────────────────────────────

READS = restricted(
    allowed_by(grants=[grant("shop", ">")]),
    {},
    subscribe=[{"type": ASKED}, {"type": ASKED, "namespace": "shop"}],
)


def digest(agent: Program, came: Received) -> str:
    """What an event is remembered by."""
    return digest_event(routed(agent, came))


def test_events_of_other_namespaces_are_remembered_apart() -> None:
    event = Event("i", "/shop", ASKED)
    theirs = Received(5, at(5), names.event_subject("shop", ASKED), event)
    ours = Received(5, at(5), names.event_subject(NAMESPACE, ASKED), event)

    assert digest(READS, ours) == names.event_digest("/shop", "i")
    assert digest(READS, theirs) == names.event_digest("shop /shop", "i")
    assert digest(AGENT_, theirs) == names.event_digest("/shop", "i")
    assert digest(READS, replace(theirs, redrive=Redrive("l", 3))) == names.redrive_digest("l", 3)


# ── ends in the ledger ──────────────────────────────────────────────────────────────────────────────────────────────


def ended(type_: str, data: Any = None, *, may_run: bool = False) -> Ledger:
    """A ledger of two tasks, after the end of one."""
    ledger = Ledger(
        totals=Totals(tasks_started=2), pending_tasks={"t": session_task("a"), "u": session_task("b")}
    )
    return without_task(ledger, "t", type_, data, may_run=may_run)


def without_task(
    ledger: Ledger, task_id: str, type_: str, data: Any = None, *, may_run: bool = False
) -> Ledger:
    source = "/x" if may_run else SOURCE
    step = Step(AGENT_, received(5, type_, data, inbox=True, subject=task_id, source=source), ledger, None)
    assert route(step) is None
    assert step.stops == ((CancelTask(task_id, None),) if may_run else ())
    return step.ledger


def test_a_task_that_completed_is_waited_for_no_more() -> None:
    assert ended(names.TASK_COMPLETED, {"reason": "none"}) == Ledger(
        totals=Totals(tasks_started=2, tasks_completed=1),
        pending_tasks={"u": session_task("b")},
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
        pending_tasks={"u": session_task("b")},
        recent_tasks=(RecentTask("t", "work", "a", "Failed", at(1), at(5), reason),),
    )


def test_what_may_still_run_is_kept_until_it_is_stopped() -> None:
    left = ended(names.TASK_COMPLETED, may_run=True).pending_tasks

    assert left == {
        "t": replace(session_task("a", "Abandoned"), input=None, owed=None),
        "u": session_task("b"),
    }


def test_the_last_ten_ends_are_remembered() -> None:
    ledger = Ledger(pending_tasks={f"t{n}": session_task("a") for n in range(12)})
    for n in range(12):
        ledger = without_task(ledger, f"t{n}", names.TASK_COMPLETED)

    assert [item.id for item in ledger.recent_tasks] == [f"t{n}" for n in range(2, 12)]


# ── what is no event ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_that_is_no_event_fails_with_the_code_and_words_of_its_reader() -> None:
    message = MalformedMessage("BadData", "data: not JSON")
    came = Received(5, at(5), names.event_subject(NAMESPACE, ASKED), message)

    assert failure_of(route, Step(AGENT_, came, LEDGER, None)) == ("BadData", "data: not JSON", None)
