"""Resource tasks: what is wrong with one, and what CEL over its object says of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from heed import names
from heed.api.task import ResourceSpec
from heed.core.cel.expression import ExpressionError
from heed.core.compiler.program import compile_agent
from heed.core.effects import TaskEnd
from heed.core.tasks.resource import (
    MAX_PROGRESS_BYTES,
    MAX_RESULT_BYTES,
    ObjectKind,
    Progress,
    ResourceTarget,
    dump_target,
)
from tests.builders.agents import agent, manifest, problems, program
from tests.builders.decisions import decide_each
from tests.builders.events import received

ATTEMPT = "work-0123456789abcdef-2"
TEMPLATE = {"apiVersion": "example.com/v1", "kind": "Widget", "spec": {"size": 1}}
READY = 'object.status.phase == "Ready"'
NOW = "2026-01-01T00:00:00Z"


def widget(**members: Any) -> dict[str, Any]:
    """A live object."""
    metadata = {"uid": "uid-1", "resourceVersion": "7", "managedFields": [{"manager": "kubectl"}]}
    return {**TEMPLATE, "metadata": metadata, **members}


def said(body: dict[str, Any], **expressions: str) -> TaskEnd | Progress | None:
    """What an object says of the second attempt of a task with these expressions."""
    given = ResourceSpec.model_validate({"template": TEMPLATE, "succeeded": READY, **expressions})
    target = ResourceTarget(dump_target(given), "spec.tasks.work.resource")
    return target.judge(ATTEMPT, body, NOW)


def ended(body: dict[str, Any], **expressions: str) -> TaskEnd:
    found = said(body, **expressions)
    assert isinstance(found, TaskEnd)
    return found


def mistakes(**resource: Any) -> list[str]:
    """What is wrong with an Agent that has such a task."""
    given = {"template": TEMPLATE, "succeeded": READY, **resource}
    return [str(item) for item in problems(manifest({}, tasks={"work": {"resource": given}}))]


# --- what an object says ------------------------------------------------------------------------------------------


def test_success_has_a_result_and_the_object_as_its_id() -> None:
    end = ended(widget(status={"phase": "Ready", "n": 3}), result="{'n': object.status.n}")

    assert end == TaskEnd("work-0123456789abcdef", "uid-1", NOW, True, result={"n": 3}, attempt=2)


def test_failure_is_asked_for_first_and_says_why() -> None:
    body = widget(status={"phase": "Ready", "why": "OutOfPaint"})

    end = ended(body, failed="true", reason="object.status.why", message="'it is ' + object.status.phase")

    assert (end.completed, end.reason, end.message) == (False, "OutOfPaint", "it is Ready")
    assert (end.task_id, end.attempt, end.id, end.at) == ("work-0123456789abcdef", 2, "uid-1", NOW)


@pytest.mark.parametrize("broken", ["object.status.missing", "1 / 0 == 1", "''"])
def test_a_reason_that_cannot_be_said_changes_nothing_of_the_failure(broken: str) -> None:
    end = ended(widget(), failed="true", reason=broken, message=broken)

    assert (end.completed, end.reason, end.message) == (False, "Failed", None)


@pytest.mark.parametrize(
    "body",
    [
        widget(),
        widget(status=None),
        widget(status={}),
        widget(status={"phase": None}),
        widget(status={"phase": "Working"}),
    ],
)
def test_what_is_not_there_means_not_yet(body: dict[str, Any]) -> None:
    assert said(body, failed="object.status.broken", progress="object.status.percent") is None


def test_an_item_that_is_not_there_means_not_yet() -> None:
    assert said(widget(status={"steps": []}), succeeded='object.status.steps[0].phase == "Done"') is None


@pytest.mark.parametrize(
    ("member", "source"),
    [
        ("succeeded", "object.status.phase + 1 > 2"),
        ("succeeded", "object.status.phase"),
        ("failed", "object.status.phase.size"),
        ("progress", "object.status.phase + 1"),
    ],
)
def test_other_mistakes_end_the_task_with_their_place(member: str, source: str) -> None:
    end = ended(widget(status={"phase": "Working"}), **{member: source})

    assert (end.completed, end.reason, end.id, end.at) == (False, "ExpressionFailed", "uid-1", NOW)
    assert end.message is not None
    assert end.message.startswith(f"spec.tasks.work.resource.{member}: ")


def test_a_result_that_is_not_there_is_no_not_yet() -> None:
    end = ended(widget(status={"phase": "Ready"}), result="object.status.answer")

    assert end.reason == "ExpressionFailed"
    assert end.message == (
        'spec.tasks.work.resource.result: there is no "answer"; guard it with has(…) or use .?answer.orValue(…)'
    )


@pytest.mark.parametrize(("member", "most"), [("result", MAX_RESULT_BYTES), ("progress", MAX_PROGRESS_BYTES)])
def test_results_and_progress_have_a_size(member: str, most: int) -> None:
    phase = "Ready" if member == "result" else "Working"
    fits, too_large = (widget(status={"phase": phase, "text": "x" * size}) for size in (most - 2, most - 1))

    end = said(fits, **{member: "object.status.text"})
    assert not (isinstance(end, TaskEnd) and not end.completed)
    refused = ended(too_large, **{member: "object.status.text"})
    assert refused.message == (
        f"spec.tasks.work.resource.{member}: is {most + 1} bytes of JSON, more than {most}; yield less of the object"
    )


def test_progress_has_an_id_by_version_and_value() -> None:
    body = widget(status={"percent": 40})

    found = said(body, progress="{'percent': object.status.percent}")

    assert found == Progress(names.digest("progress", ATTEMPT, "7", '{"percent":40}'), '{"percent":40}')


def test_expressions_see_the_object_without_what_nobody_reads() -> None:
    body = widget(status={"phase": "a\0b", "gone": None, "whole": 2.0, "huge": 2**70})

    end = ended(body, succeeded="true", result="{'status': object.status, 'metadata': object.metadata}")

    assert end.result == {
        "status": {"phase": "a\ufffdb", "whole": 2, "huge": float(2**70)},
        "metadata": {"uid": "uid-1", "resourceVersion": "7"},
    }


def test_an_object_that_nests_too_deep_or_is_too_large_ends_the_task() -> None:
    deep: Any = "leaf"
    for _ in range(70):
        deep = {"a": deep}
    assert ended(widget(status=deep)).message == (
        "spec.tasks.work.resource: the object nests deeper than 64 levels"
    )

    quadratic = "object.status.items.map(i, i + 1).size() > 0"
    assert said(widget(status={"items": list(range(1000))}), succeeded=quadratic, failed="false") is not None
    assert ended(widget(status={"items": list(range(40_000))}), succeeded=quadratic).message == (
        "spec.tasks.work.resource: the object is too large for what its expressions do; nest fewer macros"
    )


@pytest.mark.parametrize(
    "record", ["", "{}", "[]", "null", '{"apiVersion": "v1", "kind": "Pod"}', '{"apiVersion']
)
def test_a_record_that_somebody_spoilt_is_no_target(record: str) -> None:
    with pytest.raises(ExpressionError, match="cannot be read from its record"):
        ResourceTarget(record, "here")


def test_a_target_keeps_what_the_task_was_started_with() -> None:
    given = ResourceSpec(template=TEMPLATE, succeeded="true", deletion="Keep")
    target = ResourceTarget(dump_target(given), "here")

    assert (target.kind, target.deletion) == (ObjectKind("example.com", "v1", "Widget"), "Keep")
    assert json.loads(dump_target(given)) == {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "deletion": "Keep",
        "succeeded": "true",
    }


@pytest.mark.parametrize(
    ("body", "kind", "shown"),
    [
        ({"apiVersion": "batch/v1", "kind": "Job"}, ObjectKind("batch", "v1", "Job"), "Job of batch/v1"),
        ({"apiVersion": "v1", "kind": "Pod"}, ObjectKind("", "v1", "Pod"), "Pod of v1"),
        ({}, ObjectKind("", "", ""), " of "),
    ],
)
def test_kinds(body: dict[str, Any], kind: ObjectKind, shown: str) -> None:
    assert ObjectKind.of(body) == kind
    assert str(kind) == shown


# --- manifests ----------------------------------------------------------------------------------------------------


def test_a_task_that_is_right_has_no_problem() -> None:
    template = {**TEMPLATE, "metadata": {"labels": {"team": "${input}"}, "annotations": {}}}
    conditions = 'object.status.conditions.exists(c, c.type == "Done" && c.status == "True")'

    assert mistakes(template=template, succeeded=conditions, failed=f"!({conditions})") == []


@pytest.mark.parametrize(
    ("resource", "problem"),
    [
        (
            {"template": {"apiVersion": "example.com/v1"}},
            "template.kind: is missing or no plain text; write it out, such as Job; no ${CEL} may choose it",
        ),
        (
            {"template": {**TEMPLATE, "kind": "${event.data.kind}"}},
            "template.kind: is missing or no plain text; write it out, such as Job; no ${CEL} may choose it",
        ),
        (
            {"template": {**TEMPLATE, "apiVersion": "../v1"}},
            'template.apiVersion: "../v1" is no API version; write it as batch/v1 or v1',
        ),
        (
            {"template": {**TEMPLATE, "metadata": {"name": "mine"}}},
            "template.metadata.name: is not for a template to say; "
            "Heed gives the object its name, namespace and owner; leave it out",
        ),
        (
            {"template": {**TEMPLATE, "metadata": "none"}},
            "template.metadata: is no map; give it `labels` and `annotations`, or leave it out",
        ),
        (
            {"template": {**TEMPLATE, "status": {}}},
            "template.status: is written by the object's controller; leave it out",
        ),
        (
            {"succeeded": "event.data"},
            'succeeded: unknown variable or function "event"; known here are object',
        ),
        ({"failed": "1 + 1"}, "failed: is int, not a boolean; compare it with something"),
        (
            {"reason": "'Why'"},
            "reason: is never read; say with `failed` when the task has failed",
        ),
        (
            {"succeeded": "object.a.all(x, object.b.all(y, object.c.all(z, x == y && y == z)))"},
            "succeeded: may take too long on objects that are no larger than usual; "
            "nest fewer macros, and compare with literals; see docs/resources.md",
        ),
    ],
)
def test_mistakes_are_named_with_their_place(resource: dict[str, Any], problem: str) -> None:
    assert mistakes(**resource) == [f"spec.tasks.work.resource.{problem}"]


def test_a_resource_does_not_publish() -> None:
    task = {"resource": {"template": TEMPLATE, "succeeded": READY}, "publish": True}

    assert [str(item) for item in problems(manifest({}, tasks={"work": task}))] == [
        "spec.tasks.work.publish: is for jobs only; say with `progress` how far it is"
    ]


def test_its_expressions_count_as_the_agents() -> None:
    long = "object.a == '" + "x" * 1000 + "'"
    task = {
        "resource": {"template": TEMPLATE, "succeeded": long, "failed": long, "result": long, "message": long}
    }
    many = manifest({}, tasks={f"t{number}": task for number in range(20)})

    assert "characters of them" in str(problems(many)[0])


@pytest.mark.parametrize(
    ("api_version", "rendered"), [("batch/v1", "$$(X)"), ("v1", "$$(X)"), ("example.com/v1", "$(X)")]
)
def test_variables_of_kubelet_are_made_harmless_where_it_reads_them(api_version: str, rendered: str) -> None:
    containers = [{"name": "main", "image": "i", "args": ["${event.data}"]}]
    template = {"apiVersion": api_version, "kind": "Thing", "spec": {"containers": containers}}
    compiled = program(
        {"start": [{"task": "work"}]},
        tasks={"work": {"resource": {"template": template, "succeeded": "true"}}},
    )

    (decision,) = decide_each(compiled, [received(1, data="$(X)")])

    (record,) = decision.ledger.pending_tasks.values()
    owed = json.loads(record.owed or "")
    assert owed["spec"]["template"]["spec"]["containers"][0]["args"] == [rendered]
    assert (record.kind, record.phase) == ("resource", "Owed")
    assert record.target == dump_target(compiled.manifest.spec.tasks["work"].resource)  # type: ignore[arg-type]


def test_the_kind_of_its_objects_is_known_to_the_program() -> None:
    compiled = compile_agent(
        agent({}, tasks={"work": {"resource": {"template": TEMPLATE, "succeeded": READY}}})
    )

    assert compiled.tasks["work"].created == ObjectKind("example.com", "v1", "Widget")
