"""Tasks between their start and their end: the work that is owed, and the event that tells how it ended."""

import json
from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.status import PendingTask, QueuePlace, TaskCause
from heed.core.effects import AgentRef, TaskEnd, TaskWork
from heed.core.events import Event
from heed.core.tasks.work import (
    begin_attempt,
    end_event,
    end_subject,
    owed_work,
    progress_event,
    shrink_end,
    work_of,
)
from tests.builders.events import at

AGENT = AgentRef("demo", "clerk", "uid")
CAUSE = TaskCause("e1", 1, "c1", 4, "00-1", "a=b")
RECORD = PendingTask("work", "s", "job", at(1), CAUSE)
FLOW: dict[str, str | int] = {"correlationid": "c1", "causationid": "e1", "heedhops": 5}
TRACE: dict[str, str | int] = {"traceparent": "00-1", "tracestate": "a=b"}


# ── what is owed ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("publish", [None, (), ("x.*", "y")])
def test_work_is_owed_and_found_again(publish: tuple[str, ...] | None) -> None:
    owed = owed_work({"n": 2.0, "b": 1}, {"input": None}, 9, 60, publish)

    written = {"spec": {"n": 2.0, "b": 1}, "document": {"input": None}, "timeout": 9, "retention": 60}
    assert json.loads(owed) == (written if publish is None else {**written, "publish": list(publish)})
    assert owed.startswith('{"document":{"input":null},')
    assert work_of(AGENT, "t", replace(RECORD, owed=owed)) == TaskWork(
        AGENT, "t", "work", "job", "s", {"n": 2, "b": 1}, {"input": None}, 9, 60, publish
    )


def test_a_number_that_is_too_large_is_left_for_the_job_to_be_refused_by() -> None:
    owed = owed_work({"n": 2**64}, {}, None, 60)

    assert work_of(AGENT, "t", replace(RECORD, owed=owed)).spec == {"n": 2.0**64}


@pytest.mark.parametrize(("kind", "due", "spec"), [("wait", at(9), {"until": at(9)}), ("approval", None, {})])
def test_of_what_only_the_ledger_knows_the_work_is_what_its_record_says(
    kind: str, due: str | None, spec: dict[str, Any]
) -> None:
    document = {
        "task": {"id": "t", "name": "work"},
        "input": {"n": 1},
        "event": {"id": "e1", "correlationid": "c1"},
        "session": {"key": "s"},
        "agent": {"name": "clerk", "namespace": "demo"},
    }

    found = work_of(AGENT, "t", replace(RECORD, kind=kind, due=due, input={"n": 1}))

    assert found == TaskWork(AGENT, "t", "work", kind, "s", spec, document, None, 0)


@pytest.mark.parametrize(
    ("own", "total", "attempt_deadline", "timeout"),
    [
        (None, None, None, None),
        (None, 40, None, 30),
        (None, 39.5, None, 30),
        (None, 10, None, 1),
        (20, None, 30, 20),
        (20, 31, 30, 20),
        (20, 30, None, 20),
        (20, 29, None, 19),
    ],
)
def test_an_attempt_ends_by_the_timeout_that_comes_first(
    own: int | None, total: float | None, attempt_deadline: int | None, timeout: int | None
) -> None:
    owed = owed_work({}, {}, 99, 60, more={} if own is None else {"attemptTimeout": own})
    record = replace(RECORD, owed=owed, phase="Queued", deadline=None if total is None else at(total))

    begun = begin_attempt(record, at(10))

    assert begun.phase == "Owed"
    assert begun.attempt_deadline == (None if attempt_deadline is None else at(attempt_deadline))
    assert work_of(AGENT, "t", begun).timeout == timeout


@pytest.mark.parametrize("owed", [None, "", "{", "[]", '"x"'])
def test_an_attempt_that_cannot_be_read_begins_with_no_times_of_another(owed: str | None) -> None:
    record = replace(
        RECORD, owed=owed, phase="Queued", queue=QueuePlace(at(1), 1), due=at(2), attempt_deadline=at(3)
    )

    assert begin_attempt(record, at(10)) == replace(RECORD, owed=owed, phase="Owed")


# ── what a task says ────────────────────────────────────────────────────────────────────────────────────────────────


def test_progress_has_its_place_in_the_flow_whatever_it_claims() -> None:
    said = Event(
        "p1", "/worker", names.TASK_PROGRESS, 40, None, extensions={"heedhops": 0, "causationid": "x", "y": 1}
    )

    found = progress_event("t", RECORD, said)

    assert found == replace(said, subject="t", extensions={"y": 1, **FLOW})
    assert said.extensions == {"heedhops": 0, "causationid": "x", "y": 1}


COMPLETED = TaskEnd("t", "id-1", at(9), completed=True, result={"n": 1}, message="fine")
FAILED = TaskEnd(
    "t",
    "id-2",
    at(9),
    completed=False,
    result="left out",
    reason="JobFailed",
    message="sorry",
    exit_code=0,
    cause="OOMKilled",
    container="main",
    pod="pod-1",
)


def test_the_end_of_a_task_is_an_event_of_its_agent() -> None:
    found = end_event(AGENT, RECORD, COMPLETED)

    assert found == Event(
        id="id-1",
        source="/apis/heed.dev/v1alpha1/namespaces/demo/agents/clerk",
        type="dev.heed.task.completed",
        data={"task": "work", "result": {"n": 1}, "message": "fine"},
        subject="t",
        time=at(9),
        datacontenttype="application/json",
        extensions={**FLOW, **TRACE},
    )
    assert end_subject(AGENT, found) == "heed.inbox.demo.clerk.dev.heed.task.completed"


def test_a_failure_says_all_that_is_known() -> None:
    found = end_event(AGENT, RECORD, FAILED)

    assert (found.type, found.id) == ("dev.heed.task.failed", "id-2")
    assert found.data == {
        "task": "work",
        "reason": "JobFailed",
        "message": "sorry",
        "exitCode": 0,
        "cause": "OOMKilled",
        "container": "main",
        "pod": "pod-1",
    }


def test_what_is_not_known_is_not_said() -> None:
    bare = replace(RECORD, cause=TaskCause("e1", 1, "c1"))

    completed = end_event(AGENT, bare, TaskEnd("t", "id", at(9), completed=True))
    failed = end_event(AGENT, bare, TaskEnd("t", "id", at(9), completed=False))

    assert completed.data == failed.data == {"task": "work"}
    assert completed.extensions == {"correlationid": "c1", "causationid": "e1", "heedhops": 1}


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (2**63, "number 9223372036854775808 does not fit 64 bits; send it as a string"),
        ("a\0b", "data hold the character U+0000, which ends text in CEL; drop it"),
        ({"a\0": 1}, "data hold the character U+0000, which ends text in CEL; drop it"),
        ("\ud800", "data hold a lone surrogate, which is no Unicode text; drop it"),
    ],
)
def test_a_result_that_no_event_could_carry_is_a_failure(result: Any, message: str) -> None:
    found = end_event(AGENT, RECORD, replace(COMPLETED, result=result))

    assert (found.id, found.type, found.subject) == ("id-1", names.TASK_FAILED, "t")
    assert found.data == {"task": "work", "reason": "BadResult", "message": message}


@pytest.mark.parametrize(("end", "reason"), [(COMPLETED, "BadResult"), (FAILED, "JobFailed")])
def test_an_end_in_few_words_has_nothing_that_may_be_large(end: TaskEnd, reason: str) -> None:
    record, short = shrink_end(RECORD, end, "too large")

    assert record == replace(RECORD, cause=TaskCause("e1", 1, "c1", 4))
    assert short == replace(end, completed=False, result=None, reason=reason, message="too large")
