"""What policies say about resource tasks, in whatever order they are asked: manifest, decision, start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from heed.api.policy import closed_policy
from heed.core.policy.permissions import UNRESTRICTED, CreatableKind, Permissions
from heed.core.tasks.work import work_problem
from tests.builders.decisions import decide_each, letter_of
from tests.builders.events import received
from tests.builders.manifests import policy_manifest
from tests.builders.policies import allowed_by, policy, refusal_of_agent, restricted

WORKFLOW = {"group": "argoproj.io", "kind": "Workflow"}
HIDDEN = "what Workflow.argoproj.io runs is not known; a policy must name it in tasks.resources"
START = {"start": [{"task": "work"}]}


def resource(kind: str = "Workflow", api: str = "argoproj.io/v1alpha1") -> dict[str, Any]:
    return {"work": {"resource": {"template": {"apiVersion": api, "kind": kind}, "succeeded": "true"}}}


def refused(may: Permissions) -> str | None:
    """Why a Workflow may not be created."""
    return may.resource_problem("argoproj.io", "Workflow")


@pytest.mark.parametrize(
    ("tasks", "why"),
    [
        ({}, None),
        ({"kinds": ["resource"]}, None),
        ({"resources": [WORKFLOW]}, None),
        ({"resources": [WORKFLOW], "images": ["a/*"], "serviceAccounts": ["default"]}, None),
        (
            {"resources": []},
            "AgentPolicy demo/strict allows no resource Workflow.argoproj.io; allowed: nothing",
        ),
        (
            {"resources": [{"kind": "ConfigMap"}, {"group": "argoproj.io", "kind": "CronWorkflow"}]},
            "AgentPolicy demo/strict allows no resource Workflow.argoproj.io; "
            "allowed: ConfigMap, CronWorkflow.argoproj.io",
        ),
        (
            {"resources": [{"group": "other.io", "kind": "Workflow"}]},
            "AgentPolicy demo/strict allows no resource Workflow.argoproj.io; allowed: Workflow.other.io",
        ),
        (
            {"images": ["a/*"]},
            f"AgentPolicy demo/strict allows only some images or service accounts, and {HIDDEN}",
        ),
        (
            {"serviceAccounts": ["default"]},
            f"AgentPolicy demo/strict allows only some images or service accounts, and {HIDDEN}",
        ),
    ],
)
def test_kinds_are_named_where_policies_restrict_them_or_what_pods_may_be(
    tasks: dict[str, Any], why: str | None
) -> None:
    assert refused(allowed_by(policy(tasks=tasks))) == why


def test_policies_add_up() -> None:
    may = allowed_by(
        policy("images", tasks={"images": ["a/*"]}), policy("kinds", tasks={"resources": [WORKFLOW]})
    )

    assert refused(may) is None
    assert may.resources is not None
    assert may.resources.allowed == (CreatableKind("argoproj.io", "Workflow"),)
    assert refused(UNRESTRICTED) is None


def test_a_policy_that_cannot_be_read_allows_no_kind() -> None:
    closed = closed_policy({**policy_manifest("broken"), "spec": {"tasks": {"resources": "all"}}})

    assert refused(allowed_by(closed)) is not None


def test_an_agent_that_may_not_create_its_kind_is_refused_with_its_place() -> None:
    may = allowed_by(policy(tasks={"resources": [{"kind": "ConfigMap"}]}))

    error = refusal_of_agent(may, START, tasks=resource())

    assert error is not None
    assert error.reason == "PolicyViolation"
    assert [item.path for item in error.problems] == ["spec.tasks.work.resource"]
    assert refusal_of_agent(may, START, tasks=resource("ConfigMap", "v1")) is None


def test_a_kind_of_tasks_that_is_not_allowed_is_refused() -> None:
    error = refusal_of_agent(allowed_by(policy(tasks={"kinds": ["job"]})), START, tasks=resource())

    assert error is not None
    assert [item.path for item in error.problems] == ["spec.tasks.work"]


def test_a_task_that_is_started_under_a_policy_is_asked_for_again() -> None:
    strict = allowed_by(policy(tasks={"resources": [{"kind": "ConfigMap"}]}))
    spec = {"template": {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow"}}

    assert work_problem(strict, "resource", spec) == refused(strict)
    assert work_problem(UNRESTRICTED, "resource", spec) is None
    assert work_problem(strict, "resource", {}) is not None
    assert work_problem(allowed_by(policy(tasks={"images": ["a"]})), "job", {}) is None

    program = restricted(UNRESTRICTED, START, tasks=resource())
    (decision,) = decide_each(replace(program, permissions=strict), [received(1)])
    assert letter_of(decision)[0] == "PolicyViolation"
