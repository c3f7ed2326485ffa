"""Objects in a script: what a simulation makes of them with a task's own expressions."""

from __future__ import annotations

from typing import Any

import pytest

from heed import names
from heed.core.simulation.simulator import simulate
from heed.core.simulation.task_stubs import answer_from, parse_script
from heed.errors import InvalidManifest
from tests.builders.agents import program
from tests.unit.simulations import message, stored_types

RESOURCE: dict[str, Any] = {
    "template": {"apiVersion": "example.com/v1", "kind": "Widget", "spec": {"name": "${input}", "size": 1}},
    "succeeded": 'object.status.phase == "Ready"',
    "failed": 'object.status.phase == "Broken"',
    "result": "object.spec.name + ' of ' + string(object.spec.size)",
    "progress": "{'percent': object.status.percent}",
    "reason": "object.status.why",
}
WORKER = program(
    {"name": "begin", "start": [{"task": "work", "input": "${event.id}"}]},
    {"name": "hear", "type": names.TASK_PROGRESS, "state": {"heard": "${event.data.percent}"}},
    {"name": "done", "type": names.TASK_COMPLETED, "state": {"got": "${event.data.result}"}},
    {"name": "lost", "type": names.TASK_FAILED, "state": {"lost": "${event.data.reason}"}},
    tasks={"work": {"resource": RESOURCE, "timeout": "1h"}},
)


def played(*objects: dict[str, Any], **rule: Any) -> Any:
    """A simulation of one question, whose object becomes these in turn."""
    script = parse_script([{"task": "work", "objects": list(objects), **rule}], ["work"])
    given = [message("e1"), *([message("e2", "com.example.other")] if "after" in rule else [])]
    return simulate([WORKER], given, answer_from(script))


def percent(value: int, phase: str = "Working", **more: Any) -> dict[str, Any]:
    return {"status": {"phase": phase, "percent": value, **more}}


def state(run: Any) -> Any:
    (session, *_) = run.ledgers[WORKER.agent].sessions.values()
    return session.state


def test_progress_is_said_where_it_changes_and_the_end_is_what_the_expressions_say() -> None:
    run = played({}, percent(10), percent(10), percent(20), percent(100, "Ready"), percent(0, "Broken"))

    assert stored_types(run) == ["asked", "progress", "progress", "completed"]
    assert state(run) == {"heard": 20, "got": "e1 of 1"}


def test_a_failure_has_its_reason() -> None:
    run = played(percent(10, "Broken", why="OutOfPaint"))

    assert stored_types(run) == ["asked", "failed"]
    assert state(run) == {"lost": "OutOfPaint"}


def test_a_task_whose_objects_say_no_end_goes_on() -> None:
    run = played(percent(10), {"spec": {"size": 2}})

    assert stored_types(run) == ["asked", "progress"]
    assert len(run.ledgers[WORKER.agent].pending_tasks) == 1


def test_objects_are_merged_into_what_was_created_and_may_hold_expressions() -> None:
    run = played({"spec": {"size": 7}, "status": {"phase": "${'Rea' + 'dy'}"}})

    assert state(run) == {"got": "e1 of 7"}


def test_objects_may_come_after_a_given_event() -> None:
    run = played(percent(10), percent(100, "Ready"), after="e2")

    assert stored_types(run) == ["asked", "other", "progress", "completed"]


def test_a_mistake_of_an_expression_is_the_tasks_end() -> None:
    run = played({"status": {"phase": 7, "percent": 1}}, percent(1, "Ready"))

    assert stored_types(run) == ["asked", "progress", "completed"]
    assert state(played({"status": {"phase": "Ready"}, "spec": {"size": "x"}})) == {"got": "e1 of x"}
    assert state(played({"status": []})) == {"lost": "ExpressionFailed"}


def test_objects_are_no_end() -> None:
    with pytest.raises(InvalidManifest, match=r"\[0\]: has objects and an end; let the task's CEL say"):
        parse_script([{"task": "work", "objects": [{}], "result": 1}], ["work"])
    with pytest.raises(InvalidManifest, match=r"\[0\].objects\[0\].a: "):
        parse_script([{"task": "work", "objects": [{"a": "${"}]}], ["work"])
