"""What policies and grants allow one Agent: the union of those that select it, aspect by aspect."""

from typing import Any

import pytest

from heed import names
from heed.api.policy import AgentPolicy, closed_policy, parse_policy
from heed.core.policy.permissions import UNRESTRICTED, Permissions
from heed.core.policy.pod_rules import glob_matches
from heed.errors import InvalidManifest
from tests.builders.agents import NAMESPACE
from tests.builders.manifests import document
from tests.builders.policies import allowed_by, grant, policy
from tests.builders.tasks import spec_with_pod

IMAGE = "ghcr.io/example/work:1"
RESTRICTIONS: dict[str, Any] = {
    "subscriptions": {"subscriptions": []},
    "emissions": {"emissions": []},
    "kinds": {"tasks": {"kinds": []}},
    "images": {"tasks": {"images": []}},
    "service accounts": {"tasks": {"serviceAccounts": []}},
}


def pulling(**spec: Any) -> dict[str, Any]:
    """A JobSpec with one container of IMAGE, and more."""
    return spec_with_pod(**{"containers": [{"name": "main", "image": IMAGE}], **spec})


def refused(may: Permissions) -> set[str]:
    """The aspects of which one thing, that an open Agent may do, is refused."""
    asked = {
        "subscriptions": may.subscription_problem("com.example.a", None),
        "emissions": may.emission_problem("com.example.a"),
        "kinds": may.kind_problem("job"),
        "images": may.job_problem(pulling()) if may.images else None,
        "service accounts": may.job_problem(pulling()) if may.service_accounts else None,
    }
    return {aspect for aspect, problem in asked.items() if problem is not None}


# ── NetworkPolicy's semantics ───────────────────────────────────────────────────────────────────────────────────────


def test_what_no_policy_selects_may_do_everything_in_its_namespace() -> None:
    assert refused(UNRESTRICTED) == refused(allowed_by()) == set()
    assert allowed_by().limits == UNRESTRICTED.limits


@pytest.mark.parametrize("aspect", RESTRICTIONS)
def test_a_policy_restricts_only_what_it_names(aspect: str) -> None:
    may = allowed_by(policy(**RESTRICTIONS[aspect]))

    assert refused(may) == {aspect}


def test_policies_add_up() -> None:
    one = policy(
        "one", emissions=[{"type": "a.*"}], tasks={"images": ["x/*"]}, limits={"sessions": 3, "hops": 2}
    )
    two = policy("two", emissions=[{"type": "b.>"}], tasks={"kinds": []}, limits={"sessions": 5})

    may = allowed_by(two, one)

    assert [may.emission_problem(type_) is None for type_ in ("a.x", "b.x.y", "c.x")] == [True, True, False]
    assert may.kind_problem("job") is not None  # `one` leaves kinds open, and that opens nothing
    assert may.job_problem(pulling()) is not None
    assert may.limits.sessions is not None and may.limits.sessions.most == 5
    assert may.limits.hops is not None and may.limits.hops.most == 2
    assert may == allowed_by(one, two)


def test_an_empty_list_and_a_missing_one_are_not_the_same() -> None:
    nothing, open_ = policy("nothing", emissions=[]), policy("open")

    assert allowed_by(open_).emission_problem("a") is None
    assert allowed_by(nothing, open_).emission_problem("a") is not None


def test_policies_of_other_namespaces_do_not_count() -> None:
    assert allowed_by(policy(namespace="shop", emissions=[])) == allowed_by()


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ({}, True),
        ({"matchLabels": {"tier": "front"}}, True),
        ({"matchLabels": {"tier": "back"}}, False),
        ({"matchLabels": {"tier": "front", "team": "a"}}, False),
        ({"matchLabels": {"team": ""}}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["back", "front"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["front"]}]}, False),
        ({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "In", "values": [""]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, False),
        (
            {"matchLabels": {"tier": "front"}, "matchExpressions": [{"key": "team", "operator": "Exists"}]},
            False,
        ),
    ],
)
def test_selectors_select_as_in_kubernetes(selector: dict[str, Any], selected: bool) -> None:
    may = allowed_by(policy(agentSelector=selector, emissions=[]), tier="front")

    assert (may.emission_problem("a") is not None) is selected


# ── what cannot be read ─────────────────────────────────────────────────────────────────────────────────────────────


def closed(spec: Any) -> AgentPolicy:
    with pytest.raises(InvalidManifest):
        parse_policy(document(names.AGENT_POLICY, spec))
    return closed_policy(document(names.AGENT_POLICY, spec))


def test_a_policy_that_cannot_be_read_allows_nothing() -> None:
    may = allowed_by(closed({"agentSelector": {}, "emission": []}))

    assert refused(may) == set(RESTRICTIONS)
    assert [cap.most for cap in (may.limits.sessions, may.limits.pending_tasks, may.limits.hops) if cap] == [
        0
    ] * 3


def test_it_closes_only_what_its_selector_says() -> None:
    spec = {"agentSelector": {"matchLabels": {"tier": "front"}}, "emissions": [{"type": "a..b"}]}

    assert refused(allowed_by(closed(spec), tier="front")) == set(RESTRICTIONS)
    assert refused(allowed_by(closed(spec), tier="back")) == set()


@pytest.mark.parametrize(
    "spec",
    [
        None,
        [],
        {},
        {"agentSelector": None},
        {"agentSelector": {"matchLabel": {"tier": "front"}}},
        {"agentSelector": {"matchLabels": {"no key!": "x"}}},
        {"agentSelector": {"matchExpressions": [{"key": "tier", "operator": "In", "values": []}]}},
    ],
)
def test_a_selector_that_cannot_be_read_selects_all(spec: Any) -> None:
    assert refused(allowed_by(closed(spec))) == set(RESTRICTIONS)


def test_it_takes_nothing_away_from_what_others_allow() -> None:
    may = allowed_by(closed({"agentSelector": {}, "x": 1}), policy(emissions=[{"type": "a"}]))

    assert may.emission_problem("a") is None


# ── subscriptions and grants ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("pattern", "namespace", "fits"),
    [
        ("com.example.a", None, True),
        ("com.example.a", NAMESPACE, True),
        ("com.example.*", None, True),
        ("com.example.>", None, False),
        ("com.*.a", None, False),
        (">", None, False),
        ("com.example.a.b", None, False),
        ("com.EXAMPLE.a", None, False),
        ("com.example.a", "shop", False),
    ],
)
def test_a_subscription_lies_within_one_pattern_of_its_namespace(
    pattern: str, namespace: str | None, fits: bool
) -> None:
    may = allowed_by(policy(subscriptions=[{"type": "com.example.*"}]), grants=[grant("shop", ">")])

    assert (may.subscription_problem(pattern, namespace) is None) is fits


def test_two_patterns_that_only_together_cover_it_do_not_allow_it() -> None:
    may = allowed_by(policy(subscriptions=[{"type": "*"}, {"type": "*.>"}]))

    assert may.subscription_problem(">") is not None


def test_events_of_another_namespace_need_a_grant_of_that_namespace_to_this_one() -> None:
    assert allowed_by().subscription_problem("a.b", "shop") is not None
    assert allowed_by(grants=[grant("shop", "a.*")]).subscription_problem("a.b", "shop") is None
    assert allowed_by(grants=[grant("shop", "a.*")]).subscription_problem("a.>", "shop") is not None
    assert allowed_by(grants=[grant("shop", ">", to="other")]).subscription_problem("a.b", "shop") is not None
    assert allowed_by(grants=[grant("mall", ">")]).subscription_problem("a.b", "shop") is not None
    assert (
        allowed_by(grants=[grant(NAMESPACE, ">", to="shop")]).subscription_problem("a.b", "shop") is not None
    )


def test_a_grant_alone_is_not_enough_where_policies_restrict_subscriptions() -> None:
    grants = [grant("shop", "a.*")]

    own = allowed_by(policy(subscriptions=[{"type": "a.*"}]), grants=grants)
    named = allowed_by(policy(subscriptions=[{"type": "a.b", "namespace": "shop"}]), grants=grants)
    ungranted = allowed_by(policy(subscriptions=[{"type": ">", "namespace": "shop"}]))

    assert own.subscription_problem("a.b", "shop") is not None
    assert named.subscription_problem("a.b", "shop") is None
    assert named.subscription_problem("a.*", "shop") is not None
    assert ungranted.subscription_problem("a.b", "shop") is not None


def test_a_grant_to_the_own_namespace_changes_nothing() -> None:
    may = allowed_by(policy(subscriptions=[]), grants=[grant(NAMESPACE, ">")])

    assert may.subscription_problem("a", None) is not None
    assert may.subscription_problem("a", NAMESPACE) is not None


# ── images and service accounts ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("glob", "image", "fits"),
    [
        ("ghcr.io/example/*", "ghcr.io/example/work:1", True),
        ("ghcr.io/example/*", "ghcr.io/example/deep/er@sha256:00", True),
        ("ghcr.io/example/*", "ghcr.io/example-evil/work", False),
        ("ghcr.io/example/*", "evil.io/ghcr.io/example/work", False),
        ("ghcr.io/example/*", "GHCR.io/example/work", False),
        ("ghcr.io/example/*", "ghcr.io/example", False),
        ("ghcr.io/example/*", "ghcr.io/example/", True),
        ("*", "anything/at:all", True),
        ("busybox", "busybox", True),
        ("busybox", "busybox:1", False),
        ("busybox", "docker.io/library/busybox", False),
        ("*/work:1", "ghcr.io/example/work:1", True),
        ("*/work:1", "work:1", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("a**b", "ab", True),
        ("a*b*b", "ab", False),
        ("ab*a*", "ab", False),
        ("*a*a*", "a", False),
        ("*a*a*", "aa", True),
        ("a.b", "axb", False),
        ("a?", "ab", False),
        ("[ab]", "a", False),
        ("a*b", "a\nb", True),
        ("a", "a\n", False),
    ],
)
def test_only_the_star_of_a_glob_means_something(glob: str, image: str, fits: bool) -> None:
    assert glob_matches(glob, image) is fits


def test_a_glob_is_matched_in_time_that_grows_with_the_lengths_only() -> None:
    glob, image = "*a" * 200 + "*b", "a" * 100_000  # a regular expression would not come back from this

    assert not glob_matches(glob, image)


EVIL = {"name": "x", "image": "evil.io/x"}


@pytest.mark.parametrize(
    "more",
    [
        {"containers": [{"name": "main", "image": IMAGE}, EVIL]},
        {"initContainers": [EVIL]},
        {"initContainers": [{**EVIL, "restartPolicy": "Always"}]},
        {"ephemeralContainers": [EVIL]},
        {"volumes": [{"name": "tools", "image": {"reference": "evil.io/x"}}]},
        {"initContainers": [{"name": "none"}]},
        {"initContainers": [{"name": "odd", "image": ["evil.io/x"]}]},
        {"initContainers": ["evil.io/x"]},
        {"initContainers": EVIL},
        {"volumes": [{"name": "odd", "image": "evil.io/x"}]},
    ],
)
def test_every_image_of_a_pod_counts(more: dict[str, Any]) -> None:
    may = allowed_by(policy(tasks={"images": ["ghcr.io/example/*"]}))

    assert may.job_problem(pulling()) is None
    assert may.job_problem(pulling(**more)) is not None


@pytest.mark.parametrize(
    ("more", "runs_as"),
    [
        ({}, "default"),
        ({"serviceAccountName": ""}, "default"),
        ({"serviceAccountName": None}, "default"),
        ({"serviceAccountName": "robot"}, "robot"),
        ({"serviceAccount": "robot"}, "robot"),
        ({"serviceAccountName": "", "serviceAccount": "robot"}, "robot"),
    ],
)
def test_a_pod_runs_as_one_service_account(more: dict[str, Any], runs_as: str) -> None:
    right = allowed_by(policy(tasks={"serviceAccounts": [runs_as]}))
    wrong = allowed_by(policy(tasks={"serviceAccounts": ["other", f"{runs_as}s", runs_as[:-1]]}))

    assert right.job_problem(pulling(**more)) is None
    assert runs_as in (wrong.job_problem(pulling(**more)) or "")


def test_the_old_field_of_the_service_account_hides_nothing() -> None:
    may = allowed_by(policy(tasks={"serviceAccounts": ["quiet"]}))

    assert may.job_problem(pulling(serviceAccountName="quiet", serviceAccount="robot")) is not None
    assert may.job_problem(pulling(serviceAccountName=["quiet"])) is not None


# ── messages ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_refusal_names_the_policies_and_what_they_allow() -> None:
    one, two = policy("one", emissions=[{"type": "com.example.y.*"}]), policy("two", emissions=[])

    assert allowed_by(one).emission_problem("com.example.x") == (
        "AgentPolicy demo/one allows no emission of com.example.x; allowed: com.example.y.*"
    )
    assert (
        allowed_by(two).emission_problem("a")
        == "AgentPolicy demo/two allows no emission of a; allowed: nothing"
    )
    assert allowed_by(two, one).emission_problem("a") == (
        "AgentPolicies demo/one, demo/two allow no emission of a; allowed: com.example.y.*"
    )


def test_a_refusal_does_not_list_everything() -> None:
    may = allowed_by(policy(emissions=[{"type": f"t{n}"} for n in range(9)]))

    assert (may.emission_problem("a") or "").endswith("allowed: t0, t1, t2, t3, t4 and 4 more")


def test_a_missing_grant_is_said_so_that_those_who_can_give_it_know_what_to_do() -> None:
    assert allowed_by(grants=[grant("shop", "a.b")]).subscription_problem("a.*", "shop") == (
        "no EventGrant of namespace shop grants a.* to demo; granted: a.b"
    )


def test_permissions_can_be_compared() -> None:
    def made() -> Permissions:
        return allowed_by(
            policy(emissions=[{"type": "a"}], limits={"hops": 1}), grants=[grant("shop", "b", "a")]
        )

    assert made() == made()
    assert made() != allowed_by(policy(emissions=[{"type": "b"}], limits={"hops": 1}))
