"""What a manifest itself says against a policy is refused before any event comes, with path, policy and remedy."""

from typing import Any

import pytest

from heed.core.compiler.authorization import check_permissions
from heed.core.policy.permissions import UNRESTRICTED
from heed.errors import InvalidManifest, PolicyViolation, Problem
from tests.builders.agents import job, manifest, program
from tests.builders.policies import allowed_by, grant, policy, refusal_of_agent, restricted

NOTE: dict[str, Any] = {"state": {"n": 1}}


def emit(type_: str | None = None, **more: Any) -> dict[str, Any]:
    """A handler that emits."""
    return {"emit": [{"type": type_, **more} if type_ else more]}


def pod_of(**pod: Any) -> dict[str, Any]:
    """A task whose pod has one container of example/work:1, and more."""
    document = job()
    document["job"]["template"]["spec"].update(pod)
    return document


@pytest.mark.parametrize(
    ("restriction", "handler", "spec", "path"),
    [
        ({"subscriptions": []}, NOTE, {}, "spec.subscribe[0].type"),
        ({"subscriptions": [{"type": "com.example.*"}]}, NOTE, {}, "spec.subscribe[0].type"),
        ({"emissions": []}, emit("com.example.done"), {}, "spec.handlers[0].emit[0].type"),
        ({"emissions": [{"type": "a"}]}, emit("b", to="other"), {}, "spec.handlers[0].emit[0].type"),
        ({"tasks": {"kinds": []}}, NOTE, {"tasks": {"work": job()}}, "spec.tasks.work"),
        ({"tasks": {"images": []}}, NOTE, {"tasks": {"work": job()}}, "spec.tasks.work.job"),
        (
            {"tasks": {"images": ["example/*"]}},
            NOTE,
            {"tasks": {"work": pod_of(initContainers=[{"name": "i", "image": "evil/i"}])}},
            "spec.tasks.work.job",
        ),
        ({"tasks": {"serviceAccounts": []}}, NOTE, {"tasks": {"work": job()}}, "spec.tasks.work.job"),
        (
            {"tasks": {"serviceAccounts": ["default"]}},
            NOTE,
            {"tasks": {"work": pod_of(serviceAccount="robot")}},
            "spec.tasks.work.job",
        ),
    ],
)
def test_what_is_written_against_a_policy_is_refused(
    restriction: dict[str, Any], handler: dict[str, Any], spec: dict[str, Any], path: str
) -> None:
    error = refusal_of_agent(allowed_by(policy(**restriction)), handler, **spec)

    assert isinstance(error, PolicyViolation) and error.reason == "PolicyViolation"
    (problem,) = error.problems
    assert problem.path == path
    assert "AgentPolicy demo/strict allows no" in problem.message and problem.remedy


TIMERS = {"second": {"cron": "* * * * * *"}, "often": {"every": "59s"}, "nightly": {"cron": "0 2 * * *"}}
TICKS = "change it, or ask who may change the policy"


@pytest.mark.parametrize(
    ("limits", "problems"),
    [
        ({"timers": 3}, []),
        (
            {"timers": 2},
            ["spec.timers: AgentPolicy demo/strict allows at most 2 timers (limits.timers); there are 3"],
        ),
        ({"minTimerPeriod": "1s"}, []),
        (
            {"minTimerPeriod": "59s"},
            [
                "spec.timers.second: AgentPolicy demo/strict allows no ticks within 59 s of each other "
                "(limits.minTimerPeriod); it has some that are 1 s apart"
            ],
        ),
        (
            {"minTimerPeriod": "1m"},
            [
                "spec.timers.second: AgentPolicy demo/strict allows no ticks within 60 s of each other "
                "(limits.minTimerPeriod); it has some that are 1 s apart",
                "spec.timers.often: AgentPolicy demo/strict allows no ticks within 60 s of each other "
                "(limits.minTimerPeriod); it has some that are 59 s apart",
            ],
        ),
    ],
)
def test_timers_are_as_many_and_as_frequent_as_policies_allow(
    limits: dict[str, Any], problems: list[str]
) -> None:
    error = refusal_of_agent(allowed_by(policy(limits=limits)), NOTE, timers=TIMERS)

    told = [str(item) for item in error.problems] if error else []
    assert told == [f"{item}; {TICKS}" for item in problems]
    assert error is None or error.reason == "PolicyViolation"


def test_a_timer_that_cannot_be_read_is_only_told_of_once() -> None:
    error = refusal_of_agent(
        allowed_by(policy(limits={"minTimerPeriod": "1m"})), NOTE, timers={"never": {"cron": "x"}}
    )

    assert error is not None and error.reason == "Invalid"
    assert [item.path for item in error.problems] == ["spec.timers.never.cron"]


@pytest.mark.parametrize("period", ["0s", "1d1s", "often"])
def test_the_shortest_period_is_between_a_second_and_a_day(period: str) -> None:
    with pytest.raises(InvalidManifest) as caught:
        policy(limits={"minTimerPeriod": period})

    assert [item.path for item in caught.value.problems] == ["spec.limits.minTimerPeriod"]


@pytest.mark.parametrize("period", ["1s", "1d"])
def test_a_second_and_a_day_are_such_periods(period: str) -> None:
    limits = policy(limits={"minTimerPeriod": period}).spec.limits

    assert limits is not None and limits.min_timer_period == period


@pytest.mark.parametrize(
    ("restriction", "handler", "spec"),
    [
        ({"subscriptions": [{"type": "com.>"}]}, NOTE, {}),
        ({"emissions": [{"type": "com.example.*"}]}, emit("com.example.done"), {}),
        ({"emissions": []}, emit("${event.type}"), {}),
        ({"emissions": []}, emit("com.example.${event.data}"), {}),
        ({"emissions": []}, emit(**{"from": "${event.data}"}), {}),
        (
            {"tasks": {"images": []}},
            NOTE,
            {"tasks": {"work": pod_of(containers=[{"name": "main", "image": "${input}"}])}},
        ),
        (
            {"tasks": {"images": ["example/*"]}},
            NOTE,
            {"tasks": {"work": pod_of(initContainers="${input}")}},
        ),
        (
            {"tasks": {"serviceAccounts": []}},
            NOTE,
            {"tasks": {"work": pod_of(serviceAccountName="${input}")}},
        ),
        ({"tasks": {"kinds": ["job"]}}, NOTE, {"tasks": {"work": job()}}),
    ],
)
def test_what_depends_on_events_is_left_to_the_decision(
    restriction: dict[str, Any], handler: dict[str, Any], spec: dict[str, Any]
) -> None:
    assert refusal_of_agent(allowed_by(policy(**restriction)), handler, **spec) is None


def test_a_mistake_beside_a_violation_is_a_mistake_first() -> None:
    error = refusal_of_agent(allowed_by(policy(emissions=[])), {"emit": [{"type": "a"}], "when": "nonsense("})

    assert isinstance(error, InvalidManifest) and not isinstance(error, PolicyViolation)
    assert error.reason == "Invalid"
    assert sorted(problem.reason for problem in error.problems) == ["Invalid", "PolicyViolation"]


def test_another_namespace_has_to_grant_its_events_even_where_no_policy_is() -> None:
    subscribe = [{"type": "com.example.>", "namespace": "shop"}]

    error = refusal_of_agent(UNRESTRICTED, NOTE, subscribe=subscribe)

    assert isinstance(error, PolicyViolation) and error.reason == "NotGranted"
    assert str(error) == (
        "spec.subscribe[0].namespace: no EventGrant of namespace shop grants com.example.>; nothing is granted; "
        "ask those of shop for an EventGrant from namespace demo"
    )
    assert refusal_of_agent(allowed_by(grants=[grant("shop", "com.>")]), NOTE, subscribe=subscribe) is None


def test_a_policy_weighs_more_than_a_missing_grant() -> None:
    error = refusal_of_agent(
        allowed_by(policy(subscriptions=[])), NOTE, subscribe=[{"type": "a", "namespace": "shop"}]
    )

    assert error is not None and error.reason == "PolicyViolation"
    assert [problem.reason for problem in error.problems] == ["PolicyViolation", "NotGranted"]


def test_the_own_namespace_may_be_named_and_needs_no_grant() -> None:
    agent = restricted(UNRESTRICTED, NOTE, subscribe=[{"type": "a", "namespace": "demo"}])

    assert agent.subjects == program(NOTE, subscribe=[{"type": "a"}]).subjects
    assert not agent.reads_others


def test_the_subjects_of_other_namespaces_are_read_too() -> None:
    subscribe = [{"type": "a.*"}, {"type": "a.*", "namespace": "shop"}]

    agent = restricted(allowed_by(grants=[grant("shop", "a.>")]), NOTE, subscribe=subscribe)

    assert agent.subjects[:2] == ("heed.events.demo.a.*", "heed.events.shop.a.*")
    assert agent.reads_others


def test_all_that_is_not_allowed_is_said_at_once() -> None:
    may = allowed_by(policy(subscriptions=[], emissions=[], tasks={"kinds": [], "images": []}))
    found: list[Problem] = []

    error = refusal_of_agent(
        may, {"emit": [{"type": "a"}, {"type": "b"}]}, tasks={"work": job(), "more": job()}
    )
    check_permissions(found, restricted(UNRESTRICTED, {"emit": [{"type": "a"}]}).manifest, may)

    assert error is not None and [item.path for item in error.problems] == [
        "spec.subscribe[0].type",
        "spec.tasks.work",
        "spec.tasks.work.job",
        "spec.tasks.more",
        "spec.tasks.more.job",
        "spec.handlers[0].emit[0].type",
        "spec.handlers[0].emit[1].type",
    ]
    assert [item.path for item in found] == ["spec.subscribe[0].type", "spec.handlers[0].emit[0].type"]


def test_a_namespace_is_one_token_of_a_subject() -> None:
    for namespace in ("*", ">", "a.b", "A", ""):
        document = manifest(NOTE, subscribe=[{"type": "a", "namespace": namespace}])
        with pytest.raises(InvalidManifest) as refused:
            restricted(UNRESTRICTED, NOTE, subscribe=document["spec"]["subscribe"])
        assert refused.value.reason == "Invalid"
