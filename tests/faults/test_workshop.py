"""The judge of Widgets finds what is amiss: one made twice, one left over or gone, an end that was not played."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.core.due.due_events import due_event
from heed.core.due.due_times import list_due_times
from heed.core.events import Event, Received
from tests.faults.incarnation import Incarnation, list_attempts
from tests.faults.spec_parts import DOMAIN
from tests.faults.test_judging import CREATED, compiled, received_at
from tests.faults.workshop import NAME, NAMESPACE, widget_findings
from tests.integration.engine.oracle import folded

PROGRAM = compiled(NAMESPACE, NAME)
READY, BROKEN = {"result": {"value": 7}}, {"reason": "OutOfPaint"}


def story(task: str, play: str, *ends: dict[str, Any], stopped: bool = False, **input: Any) -> Incarnation:
    """The workshop after a task whose attempts ended so, ten seconds one after the other."""
    wanted = {"task": task, "input": {"play": play, "value": 7, **input}}
    events = [received_at(1, DOMAIN + "widget.wanted", wanted, namespace=NAMESPACE)]
    (task_id,) = folded(PROGRAM, events, CREATED).ledger.pending_tasks
    if stopped:
        events.append(received_at(2, DOMAIN + "widget.stopped", {}, namespace=NAMESPACE))
    for attempt, end in enumerate(ends, 1):
        if attempt > 1:
            events.append(retried(events, attempt))
        type_ = names.TASK_FAILED if "reason" in end else names.TASK_COMPLETED
        data = {"task": task, "attempt": attempt, **end}
        events.append(said(10 * attempt + 1, Event(f"end-{attempt}", SOURCE, type_, data, task_id)))
    fold = folded(PROGRAM, events, CREATED)
    return Incarnation(PROGRAM, fold.ledger, fold, True)


SOURCE = names.agent_source(NAMESPACE, NAME)


def retried(events: list[Received], attempt: int) -> Received:
    """That the time of the next attempt has come."""
    ledger = folded(PROGRAM, events, CREATED).ledger
    (due,) = (due for due in list_due_times(PROGRAM, ledger) if due.kind == "retry")
    return said(10 * attempt, due_event(PROGRAM.agent, names.origin(PROGRAM.agent.uid, CREATED), due))


def said(sequence: int, event: Event) -> Received:
    """The Agent's own event in its inbox, at a second of its own."""
    place = names.inbox_subject(NAMESPACE, NAME, event.type)
    return Received(sequence, f"2026-11-01T12:00:{sequence:02}.000000Z", place, event)


def widgets(item: Incarnation) -> list[str]:
    """The names of its Widgets."""
    return [names.job_name(NAME, attempt) for attempt in list_attempts(item)]


def findings(
    item: Incarnation, made: dict[str, int] | None = None, left: list[str] | None = None
) -> list[str]:
    """What the judge says; each Widget was made once, and all are there, unless given."""
    counts = dict.fromkeys(widgets(item), 1) if made is None else made
    there = [{"metadata": {"name": name}} for name in (widgets(item) if left is None else left)]
    return widget_findings(item, {(NAMESPACE, name): count for name, count in counts.items()}, there)


@pytest.mark.parametrize(
    ("task", "play", "ends", "stays"),
    [
        ("build", "succeed", [READY], True),
        ("build", "fail", [BROKEN], True),
        ("build", "deleted", [{"reason": "ResourceLost"}], False),
        ("craft", "succeed", [READY], False),
        ("trial", "fail", [BROKEN], False),
        ("stall", "hang", [{"reason": "DeadlineExceeded"}], False),
        ("mend", "mend", [BROKEN, READY], True),
    ],
)
def test_what_ends_as_it_was_played_gives_no_finding(
    task: str, play: str, ends: list[dict[str, Any]], stays: bool
) -> None:
    item = story(task, play, *ends, until=2)
    assert findings(item, left=None if stays else []) == []
    wrong = findings(item, left=[] if stays else None)
    assert len(wrong) == len(ends) and all(
        ("there still" if stays else "left over") in text for text in wrong
    )


def test_a_widget_that_was_refused_was_never_made() -> None:
    item = story("build", "refused", {"reason": "InvalidResource"})
    assert findings(item, {}, []) == []
    assert "was made 1 times" in findings(item, left=[])[0]


def test_one_that_was_called_off_may_have_been_made_or_not() -> None:
    item = story("build", "succeed", {"reason": "Cancelled"}, stopped=True)
    assert findings(item, {}, []) == findings(item, left=[]) == []
    assert "nobody called it off" in findings(story("build", "succeed", {"reason": "Cancelled"}), left=[])[0]


def test_one_that_was_called_off_and_ended_all_the_same_may_be_there_or_not_and_is_not_tried_again() -> None:
    for item in (
        story("build", "fail", BROKEN, stopped=True),
        story("mend", "mend", BROKEN, stopped=True, until=2),
    ):
        assert findings(item, left=[]) == findings(item) == []


def test_one_made_twice_or_never_or_by_nobody_is_found() -> None:
    item = story("build", "succeed", READY)
    (name,) = widgets(item)
    assert findings(item, {name: 2}) == [f"storm-b/workshop: Widget {name} was made 2 times"]
    assert "was never made" in findings(item, {})[0]
    assert "Widget other was made 1 times" in findings(item, {name: 1, "other": 1})[0]


@pytest.mark.parametrize(
    ("task", "play", "end", "says"),
    [
        ("build", "succeed", BROKEN, "ended with OutOfPaint, played was succeed"),
        ("build", "fail", READY, "ended with None, played was fail"),
        ("build", "succeed", {"result": {"value": 8}}, "ended with {'value': 8}, played was 7"),
        ("build", "succeed", {"reason": "ResourceLost"}, "ended with ResourceLost"),
        ("mend", "mend", READY, "ended with None, played was mend"),
    ],
)
def test_an_end_that_was_not_played_is_found(task: str, play: str, end: dict[str, Any], says: str) -> None:
    assert any(says in text for text in findings(story(task, play, end, until=2)))


def test_one_that_was_over_before_its_time_is_found() -> None:
    item = story("stall", "hang", {"reason": "DeadlineExceeded"})
    last = item.fold.decisions[-1]
    early = replace(last, received=replace(last.received, at="2026-11-01T12:00:02.000000Z"))
    fold = replace(item.fold, decisions=[*item.fold.decisions[:-1], early])
    assert "before 2026-11-01T12:00:06" in findings(replace(item, fold=fold), left=[])[0]
