"""Tasks that an Agent starts and stops: each field of what they are given, and what keeps one from starting."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from heed import names
from heed.api.status import PendingTask, TaskCause
from heed.core.compiler.program import Program
from heed.core.decision import outputs
from heed.core.decision.guard import NEEDS_GUARD
from heed.core.decision.model import MAX_WORK_BYTES, HandlerResult, StartRequest
from heed.core.decision.outputs import Outputs
from heed.core.effects import CancelTask, StartTask
from heed.core.events import Event
from heed.core.ledger.ledger import Ledger
from tests.builders.agents import AGENT, ASKED, NAMESPACE, UID, job, program
from tests.builders.decisions import failure_of
from tests.builders.events import at, event, received
from tests.builders.policies import allowed_by, policy, restricted
from tests.builders.tasks import pending_task
from tests.unit.steps import handled, routed

TASKS = {
    "work": job("${input}", "${task.id}"),
    "brief": job(timeout="90s", retention="5m", publish=True),
    "fussy": job("${input.n}"),
}
AGENT_ = program({}, tasks=TASKS)
ORIGIN = names.origin(UID, None)
SESSION = {"key": "s1", "startedAt": at(0)}
NO_DATA = ("data", "data_base64")


def started(
    *wishes: StartRequest, cause: Event | None = None, agent: Program = AGENT_
) -> dict[str, PendingTask]:
    """The tasks that these wishes are, on an event at place 5 of a stream."""
    reacted = HandlerResult({}, starts=list(wishes))
    variables = {"event": {}, "agent": {}, "session": SESSION, "task": {}, "input": {}}
    came = replace(received(5), event=cause or event())
    return outputs.render_tasks(handled(routed(agent, came), reacted, **variables))


# ── tasks that start ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_task_that_starts_carries_all_that_it_takes() -> None:
    cause = event({"n": 1}, correlationid="c5", heedhops=3, traceparent="00-1", tracestate="a=b")

    found = started(StartRequest("h", "work", "tides"), cause=cause)

    id_ = names.task_id(ORIGIN, 5, 0, "work")
    (record,) = found.values()
    assert list(found) == [id_]
    assert replace(record, owed=None) == PendingTask(
        task="work",
        session="s1",
        kind="job",
        started_at=at(5),
        cause=TaskCause("e5", 5, "c5", 3, "00-1", "a=b"),
        deadline=None,
        phase="Owed",
        input="tides",
    )
    assert json.loads(record.owed or "") == {
        "spec": job("tides", id_)["job"],
        "document": {
            "task": {"id": id_, "name": "work", "attempt": 1},
            "input": "tides",
            "event": {
                **{"specversion": "1.0", "id": "e5", "source": "/shop", "type": ASKED},
                **{"correlationid": "c5", "heedhops": 3, "traceparent": "00-1", "tracestate": "a=b"},
                "data": {"n": 1},
            },
            "session": SESSION,
            "agent": {"name": AGENT, "namespace": NAMESPACE},
        },
        "timeout": None,
        "retention": 3600,
    }


def test_a_task_has_the_limits_of_its_kind_of_work() -> None:
    (record,) = started(StartRequest("h", "brief", None)).values()

    assert (record.deadline, record.input) == (at(95), None)
    owed = json.loads(record.owed or "")
    assert (owed["timeout"], owed["retention"], owed["publish"]) == (90, 300, [">"])


def test_tasks_of_one_decision_are_told_apart_by_their_place() -> None:
    found = started(
        StartRequest("h", "work", "a"), StartRequest("h", "work", "a"), StartRequest("h", "brief", None)
    )

    assert list(found) == [
        names.task_id(ORIGIN, 5, 0, "work"),
        names.task_id(ORIGIN, 5, 1, "work"),
        names.task_id(ORIGIN, 5, 2, "brief"),
    ]
    assert Outputs({}, found, {}).effects == tuple(StartTask(key, record) for key, record in found.items())


def test_a_trace_is_passed_on_as_far_as_it_is_one() -> None:
    (record,) = started(
        StartRequest("h", "brief", None), cause=event(traceparent="x" * 600, tracestate=7)
    ).values()

    assert (record.cause.traceparent, record.cause.tracestate) == ("x" * 512, "7")
    assert started(StartRequest("h", "brief", None))[names.task_id(ORIGIN, 5, 0, "brief")].cause == TaskCause(
        "e5", 5, "e5"
    )


def test_a_template_that_breaks_is_a_failure_of_the_handler_that_starts() -> None:
    assert failure_of(started, StartRequest("first", "work", "x"), StartRequest("second", "fussy", {})) == (
        "TemplateFailed",
        "spec.tasks.fussy.job.template.spec.containers[0].args[0]: ${input.n}: "
        'there is no "n"; guard it with has(…) or use .?n.orValue(…)',
        "second",
    )


def test_what_a_policy_does_not_allow_is_not_started() -> None:
    tasks = {"work": {"job": {"template": {"spec": {"containers": [{"name": "a", "image": "${input}"}]}}}}}
    agent = restricted(allowed_by(policy(tasks={"images": ["example/*"]})), {}, tasks=tasks)

    assert len(started(StartRequest("h", "work", "example/a"), agent=agent)) == 1
    assert failure_of(started, StartRequest("h", "work", "evil/a"), agent=agent) == (
        "PolicyViolation",
        "spec.tasks.work.job: AgentPolicy demo/strict allows no image evil/a; allowed: example/*",
        "h",
    )


def test_data_that_make_a_task_too_large_are_left_in_the_stream() -> None:
    empty = len(
        (
            started(StartRequest("h", "brief", None), cause=event(""))[
                names.task_id(ORIGIN, 5, 0, "brief")
            ].owed
            or ""
        ).encode()
    )
    most = "é" * ((MAX_WORK_BYTES - empty) // 2) + "x" * ((MAX_WORK_BYTES - empty) % 2)

    (fits,) = started(StartRequest("h", "brief", None), cause=event(most)).values()
    (slim,) = started(StartRequest("h", "brief", None), cause=event(most + "x")).values()

    assert len((fits.owed or "").encode()) == MAX_WORK_BYTES
    assert json.loads(fits.owed or "")["document"]["event"]["data"] == most
    document = json.loads(slim.owed or "")["document"]["event"]
    assert document["heeddatainstream"] is True and not {*NO_DATA} & {*document}
    (raw,) = started(StartRequest("h", "brief", None), cause=event(b"\xff" * MAX_WORK_BYTES)).values()
    assert not {*NO_DATA} & {*json.loads(raw.owed or "")["document"]["event"]}


def test_an_input_that_makes_a_task_too_large_is_refused() -> None:
    assert failure_of(started, StartRequest("h", "brief", "x" * MAX_WORK_BYTES)) == (
        "InputTooLarge",
        "spec.tasks.brief.job: what task brief is given exceeds 196608 bytes; pass large input by reference",
        "h",
    )


def test_more_than_fits_is_not_rendered_to_its_end() -> None:
    wish = StartRequest("h", "brief", "x" * 100_000)

    code, message, _ = failure_of(started, *[wish] * 9)

    assert code == "DecisionTooLarge"
    assert message.startswith("2 tasks and 0 events of one decision would take 4")


# ── tasks that are stopped ──────────────────────────────────────────────────────────────────────────────────────────


held = partial(pending_task, input=1, owed="{}")
HELD = {
    "a1": held("a", session="s1"),
    "a2": held("a", session="s1", phase="Owed"),
    "a3": held("a", session="s1", phase="Cancelling"),
    "a4": held("a", session="s1", phase="Abandoned"),
    "b1": held("b", session="s1"),
    "x1": held("a", session="s2"),
}


@pytest.mark.parametrize(
    ("reacted", "stopped", "phase"),
    [
        (HandlerResult({}), [], None),
        (HandlerResult({}, cancels={"c"}), [], None),
        (HandlerResult({}, cancels={"a"}), ["a1", "a2"], "Cancelling"),
        (HandlerResult({}, cancels={"a", "b"}), ["a1", "a2", "b1"], "Cancelling"),
        (HandlerResult({}, ended=True), ["a1", "a2", "a3", "b1"], "Abandoned"),
    ],
)
def test_only_tasks_of_the_session_are_stopped_and_once(
    reacted: HandlerResult, stopped: list[str], phase: Any
) -> None:
    found = outputs.cancel_tasks(Ledger(pending_tasks=HELD), "s1", reacted)

    assert found == {key: replace(HELD[key], phase=phase, owed=None) for key in stopped}
    record = None if phase == "Abandoned" else found.get("a1")
    assert Outputs(found, {}, {}).effects[:1] == (CancelTask("a1", record),)[: len(stopped)]


def test_a_careful_program_leaves_a_task_whose_template_may_be_costly_with_its_input() -> None:
    tasks = {"search": job("${input.words.all(w, !input.text.contains(w)) ? 'yes' : 'no'}")}
    starting = program({"start": [{"task": "search", "input": "${event.data}"}]}, tasks=tasks)
    careful = replace(starting, careful=True)
    small, large = {"words": ["lamp"], "text": "a rug"}, {"words": ["xz"] * 5000, "text": "x" * 5000}

    assert len(started(StartRequest("h", "search", small), agent=careful)) == 1
    refused = failure_of(started, StartRequest("h", "search", large), agent=careful)
    assert refused[0] == NEEDS_GUARD
