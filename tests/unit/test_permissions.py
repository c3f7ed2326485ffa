"""What policies and grants let an Agent do, question by question, and how a refusal reads."""

from typing import Any

import pytest

from heed.core.policy.permissions import (
    UNRESTRICTED,
    AllowList,
    Permissions,
    Quota,
    ShortestPeriod,
    VisibleEvents,
)
from tests.builders.policies import allowed_by, grant, policy

STRICT = ("demo/strict",)
MAY = Permissions(
    namespace="demo",
    subscriptions=AllowList((VisibleEvents("demo", "a.*"), VisibleEvents("shop", "b.>")), STRICT),
    emissions=AllowList(("x.*", "y"), STRICT),
    kinds=AllowList(("job",), STRICT),
    images=AllowList(("example/*",), STRICT),
    service_accounts=AllowList(("worker",), ("demo/a", "demo/b")),
    grants=(VisibleEvents("shop", "b.c.*"), VisibleEvents("shop", "d"), VisibleEvents("else", ">")),
)
NOT_A = "AgentPolicy demo/strict allows no"


@pytest.mark.parametrize(
    ("pattern", "namespace", "refused"),
    [
        ("a.b", None, None),
        ("a.b", "demo", None),
        ("a.*", "demo", None),
        ("a.>", None, f"{NOT_A} subscription to a.> of demo; allowed: a.* of demo, b.> of shop"),
        ("a.b", "shop", f"{NOT_A} subscription to a.b of shop; allowed: a.* of demo, b.> of shop"),
        ("b.c.d", "shop", None),
        ("b.x", "shop", "no EventGrant of namespace shop grants b.x to demo; granted: b.c.*, d"),
    ],
)
def test_a_subscription_is_for_policies_to_allow_and_then_for_grants(
    pattern: str, namespace: str | None, refused: str | None
) -> None:
    assert MAY.subscription_problem(pattern, namespace) == refused


def test_a_grant_is_of_a_namespace() -> None:
    assert MAY.grant_problem("anything", "else") is None
    assert MAY.grant_problem("d", "bank") == (
        "no EventGrant of namespace bank grants d to demo; nothing is granted"
    )
    assert (
        UNRESTRICTED.grant_problem("d", "bank")
        == "no EventGrant of namespace bank grants d; nothing is granted"
    )
    assert UNRESTRICTED.subscription_problem("d") is None
    many = Permissions(grants=tuple(VisibleEvents("shop", name) for name in "abcdefg"))
    assert (
        many.grant_problem("x", "shop") == "no EventGrant of namespace shop grants x; granted: a, b, c, d, e"
    )


@pytest.mark.parametrize(
    ("type_", "refused"),
    [("x.a", None), ("y", None), ("x.a.b", f"{NOT_A} emission of x.a.b; allowed: x.*, y")],
)
def test_an_emission_matches_a_pattern(type_: str, refused: str | None) -> None:
    assert MAY.emission_problem(type_) == refused
    assert UNRESTRICTED.emission_problem(type_) is None


@pytest.mark.parametrize(
    ("patterns", "refused"),
    [
        ((), None),
        (("x.*",), None),
        (("x.a", "y"), None),
        (("y", "x.>"), f"{NOT_A} emission of x.> by a task; allowed: x.*, y"),
    ],
)
def test_what_a_task_may_broadcast_lies_within_a_pattern(
    patterns: tuple[str, ...], refused: str | None
) -> None:
    assert MAY.publishing_problem(patterns) == refused
    assert UNRESTRICTED.publishing_problem(patterns) is None


def test_a_kind_of_task_is_one_that_is_named() -> None:
    assert MAY.kind_problem("job") is UNRESTRICTED.kind_problem("pod") is None
    assert MAY.kind_problem("pod") == f"{NOT_A} task of kind pod; allowed: job"


def job_of(*images: Any, **pod: Any) -> dict[str, Any]:
    containers = [{"name": f"c{index}", "image": image} for index, image in enumerate(images)]
    return {"template": {"spec": {"serviceAccountName": "worker", "containers": containers, **pod}}}


TWO = "AgentPolicies demo/a, demo/b allow no service account"


@pytest.mark.parametrize(
    ("job", "literal", "refused"),
    [
        (job_of("example/a"), False, None),
        (job_of("example/a", "evil/b"), False, f"{NOT_A} image evil/b; allowed: example/*"),
        (job_of("example/a", 7), False, f"{NOT_A} image that is no string; allowed: example/*"),
        (job_of("example/a", "${input}"), True, None),
        (job_of("example/a", "${input}", "evil/b"), True, f"{NOT_A} image evil/b; allowed: example/*"),
        (job_of("example/a", "${input}"), False, f"{NOT_A} image ${{input}}; allowed: example/*"),
        (job_of("example/a", serviceAccountName="admin"), False, f"{TWO} admin; allowed: worker"),
        (job_of("example/a", serviceAccountName="${input}"), True, None),
        (job_of("evil/a", serviceAccountName="admin"), False, f"{NOT_A} image evil/a; allowed: example/*"),
    ],
)
def test_every_image_and_the_account_of_a_job_are_looked_at(
    job: dict[str, Any], literal: bool, refused: str | None
) -> None:
    assert MAY.job_problem(job, literal=literal) == refused
    assert UNRESTRICTED.job_problem(job, literal=literal) is None


def test_each_aspect_of_a_job_may_be_restricted_alone() -> None:
    evil = job_of("evil/a", serviceAccountName="admin")

    images = Permissions(images=MAY.images)
    accounts = Permissions(service_accounts=MAY.service_accounts)
    assert images.job_problem(evil) == f"{NOT_A} image evil/a; allowed: example/*"
    assert accounts.job_problem(evil) == f"{TWO} admin; allowed: worker"


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "nothing"), (1, "a"), (5, "a, b, c, d, e"), (7, "a, b, c, d, e and 2 more")]
)
def test_a_refusal_shows_five_of_what_is_allowed(count: int, shown: str) -> None:
    assert AllowList(tuple("abcdefg"[:count]), STRICT).refusal("x") == f"{NOT_A} x; allowed: {shown}"


def test_a_cap_says_who_set_it() -> None:
    assert Quota(3, STRICT).refusal("hops") == "AgentPolicy demo/strict allows at most 3 hops"
    assert Quota(3, ("a/b", "c/d")).refusal("hops") == "AgentPolicies a/b, c/d allow at most 3 hops"


# ── how they come about ─────────────────────────────────────────────────────────────────────────────────────────────


def test_all_aspects_of_policies_that_select_an_agent_are_united_in_the_order_of_names() -> None:
    one = policy(
        "b",
        subscriptions=[{"type": "a.*"}, {"type": "b", "namespace": "shop"}],
        emissions=[{"type": "x"}, {"type": "y"}],
        tasks={"kinds": ["job"], "images": ["i/*"], "serviceAccounts": ["s"]},
        limits={
            "sessions": 5,
            "pendingTasks": 6,
            "tasksPerMinute": 7,
            "hops": 8,
            "timers": 3,
            "minTimerPeriod": "1m",
        },
    )
    other = policy(
        "a",
        emissions=[{"type": "y"}, {"type": "z"}],
        limits={"sessions": 5, "pendingTasks": 9, "minTimerPeriod": "2m"},
    )
    away = policy("c", "shop", emissions=[{"type": "w"}])
    grants = [grant("shop", "q", "b"), grant("bank", "m"), grant("shop", "b"), grant("shop", "no", to="else")]

    found = allowed_by(one, away, other, grants=grants)

    both = ("demo/a", "demo/b")
    assert found.namespace == "demo"
    assert found.subscriptions == AllowList(
        (VisibleEvents("demo", "a.*"), VisibleEvents("shop", "b")), ("demo/b",)
    )
    assert found.emissions == AllowList(("y", "z", "x"), both)
    assert found.kinds == AllowList(("job",), ("demo/b",))
    assert found.images == AllowList(("i/*",), ("demo/b",))
    assert found.service_accounts == AllowList(("s",), ("demo/b",))
    assert found.limits.sessions == Quota(5, both)
    assert found.limits.pending_tasks == Quota(9, ("demo/a",))
    assert found.limits.tasks_per_minute == Quota(7, ("demo/b",))
    assert found.limits.hops == Quota(8, ("demo/b",))
    assert found.limits.timers == Quota(3, ("demo/b",))
    assert found.limits.timer_period == ShortestPeriod(60, ("demo/b",))
    assert found.grants == (
        VisibleEvents("bank", "m"),
        VisibleEvents("shop", "b"),
        VisibleEvents("shop", "q"),
    )


def test_of_two_policies_with_one_period_both_are_named() -> None:
    same = [policy(name, limits={"minTimerPeriod": period}) for name, period in (("a", "60s"), ("b", "1m"))]

    assert allowed_by(*same).limits.timer_period == ShortestPeriod(60, ("demo/a", "demo/b"))


def test_what_no_policy_names_is_open() -> None:
    assert allowed_by() == Permissions(namespace="demo")
    assert allowed_by(policy(tasks={"kinds": []})).kinds == AllowList((), STRICT)
    assert allowed_by(policy(tasks={"kinds": []})).images is None
