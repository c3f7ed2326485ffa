"""Who may answer approvals, and the policy by which the API server vouches for who that is."""

from __future__ import annotations

from typing import Any

import pytest

from heed.kube.approvals.identity_policy import find_flaws
from tests.chart.rendering import Manifests, render

WATCHED = "watchNamespace=team"
POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
YOUNG, OLD = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def flaws(rendered: Manifests) -> list[str]:
    """What the operator holds against the release's policy."""
    made: list[dict[str, Any]] = []
    for kind in (POLICY, BINDING):
        item = rendered[kind]
        made.append({**item, "metadata": {**item["metadata"], "creationTimestamp": YOUNG}})
    return list(find_flaws(made[0], made[1], OLD))


@pytest.mark.parametrize("values", [(), (WATCHED, "approvals.enabled=true")])
def test_the_operator_believes_the_policy_of_its_chart(values: tuple[str, ...]) -> None:
    rendered = render(*values)

    assert flaws(rendered) == []
    name = rendered[POLICY]["metadata"]["name"]
    assert rendered[BINDING]["metadata"]["name"] == name
    assert rendered.environment()["HEED_ANSWER_POLICY"] == name


@pytest.mark.parametrize("values", [("approvals.enabled=false",), (WATCHED,)])
def test_without_it_the_operator_has_none_to_believe(values: tuple[str, ...]) -> None:
    rendered = render(*values)

    assert not {kind for kind, _ in rendered.names()} & {POLICY, BINDING}
    assert "HEED_ANSWER_POLICY" not in rendered.environment()


def test_how_long_answers_are_kept_is_a_value() -> None:
    assert "HEED_ANSWER_RETENTION" not in render().environment()
    assert render("approvals.retention=0").environment()["HEED_ANSWER_RETENTION"] == "0"


def test_who_answers_may_do_that_and_nothing_else() -> None:
    role = render()["ClusterRole", "system-heed-approver"]

    assert {resource: set(rule["verbs"]) for rule in role["rules"] for resource in rule["resources"]} == {
        "agents": {"get", "list"},
        "approvalanswers": {"create", "get", "list", "watch"},
    }
    assert not any(
        label.startswith("rbac.authorization.k8s.io/aggregate") for label in role["metadata"]["labels"]
    )


def test_in_one_namespace_the_policy_is_read_by_a_right_of_its_own() -> None:
    rendered = render(WATCHED, "approvals.enabled=true")

    role = rendered["ClusterRole", "system-heed-answers"]
    assert role["rules"] == [
        {
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": ["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
            "resourceNames": ["system-heed-answers"],
            "verbs": ["get"],
        }
    ]
    assert rendered["Role", "system-heed-approver"]["metadata"]["namespace"] == "team"
