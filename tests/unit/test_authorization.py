"""What of a manifest is not allowed: each place with its reason, its remedy and its code."""

from __future__ import annotations

from typing import Any

import pytest

from heed.api.validation import parse_agent
from heed.core.compiler.authorization import check_permissions
from heed.core.policy.permissions import UNRESTRICTED, Permissions
from heed.errors import NOT_GRANTED, POLICY_VIOLATION, Problem
from tests.builders.agents import job, manifest
from tests.builders.policies import allowed_by, grant, policy

REMEDY = "change it, or ask who may change the policy"
BEGIN: dict[str, Any] = {"name": "begin", "start": [{"task": "look"}]}


def found(may: Permissions, *handlers: dict[str, Any], **spec: Any) -> list[Problem]:
    problems: list[Problem] = []
    check_permissions(problems, parse_agent(manifest(*handlers, **spec)), may)
    return problems


def refused(path: str, message: str) -> Problem:
    return Problem(path, message, REMEDY, POLICY_VIOLATION)


TASKS = {"look": job(), "ask": job()}
NO_JOBS = policy("jobless", tasks={"kinds": []})
IMAGES = policy("images", tasks={"images": ["trusted/*"]})
WORDS = policy("words", emissions=[{"type": "com.example.answer.*"}])
OWN = policy("own", subscriptions=[{"type": "com.example.>"}])


def test_who_is_bound_by_nothing_may_do_everything() -> None:
    assert found(UNRESTRICTED, BEGIN, tasks=TASKS) == []


def test_each_task_and_each_job_is_looked_at() -> None:
    message = "AgentPolicy demo/jobless allows no task of kind job; allowed: nothing"
    assert found(allowed_by(NO_JOBS), BEGIN, tasks=TASKS) == [
        refused(f"spec.tasks.{name}", message) for name in TASKS
    ]
    message = "AgentPolicy demo/images allows no image example/work:1; allowed: trusted/*"
    assert found(allowed_by(IMAGES), BEGIN, tasks=TASKS) == [
        refused(f"spec.tasks.{name}.job", message) for name in TASKS
    ]


def test_what_an_expression_decides_is_not_decided_yet() -> None:
    computed = job()
    computed["job"]["template"]["spec"]["containers"][0]["image"] = "${input.image}"
    emit = [{"type": "${event.data.type}"}, {"type": "com.example.answer.given"}]

    assert found(allowed_by(IMAGES, WORDS), {"name": "h", "emit": emit}, tasks={"look": computed}) == []


def test_each_emission_is_looked_at() -> None:
    emit = [{"type": "com.example.answer.given"}, {"type": "com.example.other"}]
    message = "AgentPolicy demo/words allows no emission of com.example.other; allowed: com.example.answer.*"

    assert found(allowed_by(WORDS), {"name": "a", "emit": emit[:1]}, {"name": "b", "emit": emit}) == [
        refused("spec.handlers[1].emit[1].type", message)
    ]


def test_each_subscription_is_looked_at() -> None:
    subscribe = [{"type": "com.example.asked"}, {"type": "org.example.asked"}]

    assert found(allowed_by(OWN), BEGIN, subscribe=subscribe, tasks=TASKS) == [
        refused(
            "spec.subscribe[1].type",
            "AgentPolicy demo/own allows no subscription to org.example.asked of demo; allowed: com.example.> of demo",
        )
    ]


@pytest.mark.parametrize("namespace", [None, "demo"])
def test_events_of_the_own_namespace_need_no_grant(namespace: str | None) -> None:
    own = {"type": "com.example.asked"} | ({} if namespace is None else {"namespace": namespace})

    assert found(allowed_by(), BEGIN, subscribe=[own], tasks=TASKS) == []


def test_events_of_others_have_to_be_granted() -> None:
    subscribe = [
        {"type": "com.example.asked", "namespace": "shop"},
        {"type": "org.example.asked", "namespace": "shop"},
    ]

    assert found(
        allowed_by(grants=[grant("shop", "com.example.>")]), BEGIN, subscribe=subscribe, tasks=TASKS
    ) == [
        Problem(
            "spec.subscribe[1].namespace",
            "no EventGrant of namespace shop grants org.example.asked to demo; granted: com.example.>",
            "ask those of shop for an EventGrant from namespace demo",
            NOT_GRANTED,
        )
    ]
