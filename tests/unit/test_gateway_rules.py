"""What EventSources of a namespace may publish and its Subscriptions deliver, by the policies of the namespace."""

from typing import Any

import pytest

from heed.api.policy import closed_policy, parse_policy
from heed.core.policy.gateway_rules import NO_RULES, resolve_gateway_rules
from heed.core.subscriptions.program import compile_subscription
from heed.core.webhooks.program import compile_event_source
from heed.errors import DecisionFailed, InvalidManifest, PolicyViolation
from tests.builders.agents import NAMESPACE
from tests.builders.gateway import make_event_source, make_subscription
from tests.builders.manifests import policy_manifest
from tests.builders.policies import policy

HOOKED = "com.example.hooked"


def types(*patterns: str) -> list[dict[str, str]]:
    return [{"type": pattern} for pattern in patterns]


def test_what_no_policy_names_is_open() -> None:
    rules = resolve_gateway_rules(NAMESPACE, [policy(emissions=[], subscriptions=[], publishers=[])])

    assert rules == NO_RULES
    assert rules.publishing_problem(HOOKED) is None
    assert rules.delivery_problem(">") is None


def test_each_direction_is_restricted_alone() -> None:
    sources = resolve_gateway_rules(NAMESPACE, [policy(eventSources=[])])
    deliveries = resolve_gateway_rules(NAMESPACE, [policy(deliveries=[])])

    assert sources.publishing_problem(HOOKED) == (
        "AgentPolicy demo/strict allows no event com.example.hooked of an EventSource (spec.eventSources); "
        "allowed: nothing"
    )
    assert sources.delivery_problem(HOOKED) is None
    assert deliveries.delivery_problem("com.example.*") == (
        "AgentPolicy demo/strict allows no delivery of com.example.* by a Subscription (spec.deliveries); "
        "allowed: nothing"
    )
    assert deliveries.publishing_problem(HOOKED) is None


def test_policies_add_up_in_the_order_of_names_and_those_of_other_namespaces_do_not_count() -> None:
    rules = resolve_gateway_rules(
        NAMESPACE,
        [
            policy("b", eventSources=types("b"), deliveries=types("x.>")),
            policy("a", eventSources=types("a.*")),
            policy("c", "other", eventSources=types(">"), deliveries=types(">")),
        ],
    )

    assert rules.publishing_problem("b") is rules.publishing_problem("a.b") is None
    assert str(rules.publishing_problem("c")).startswith("AgentPolicies demo/a, demo/b allow no event c")
    assert rules.delivery_problem("x.*") is None
    assert str(rules.delivery_problem("x")).startswith("AgentPolicy demo/b allows no delivery of x")


@pytest.mark.parametrize("aspect", ["eventSources", "deliveries"])
@pytest.mark.parametrize(
    "selector",
    [{"matchLabels": {"a": "b"}}, {"matchExpressions": [{"key": "a", "operator": "Exists"}]}],
)
def test_they_are_for_a_namespace_as_a_whole(aspect: str, selector: dict[str, Any]) -> None:
    given: dict[str, Any] = {"agentSelector": selector, aspect: []}

    with pytest.raises(InvalidManifest) as caught:
        policy(**given)

    assert f"{aspect} is for the whole namespace and needs agentSelector: {{}}" in str(caught.value)
    assert parse_policy(policy_manifest("a", agentSelector=selector)).spec.event_sources is None


def test_a_policy_that_cannot_be_read_closes_both_where_it_selects_all() -> None:
    broken = policy_manifest("broken", mistake=1)
    some = policy_manifest("some", mistake=1, agentSelector={"matchLabels": {"a": "b"}})

    closed = resolve_gateway_rules(NAMESPACE, [closed_policy({**broken})])

    assert closed.publishing_problem(HOOKED) is not None and closed.delivery_problem(HOOKED) is not None
    assert resolve_gateway_rules(NAMESPACE, [closed_policy({**some})]) == NO_RULES


def test_an_event_source_of_a_type_that_is_not_allowed_is_refused_with_path_and_remedy() -> None:
    rules = resolve_gateway_rules(NAMESPACE, [policy(eventSources=types("com.example.a"))])

    with pytest.raises(PolicyViolation) as caught:
        compile_event_source(make_event_source(event={"type": HOOKED}), rules)

    (problem,) = caught.value.problems
    assert (problem.path, problem.reason) == ("spec.event.type", "PolicyViolation")
    assert problem.remedy == "change it, or ask who may change the policy"
    assert compile_event_source(make_event_source(event={"type": "com.example.a"}), rules).rules == rules
    assert compile_event_source(make_event_source(event={"type": "com.${body.a}"}), rules).rules == rules


def test_a_subscription_has_to_lie_within_what_may_be_delivered() -> None:
    rules = resolve_gateway_rules(NAMESPACE, [policy(deliveries=types("com.example.*"))])

    with pytest.raises(PolicyViolation) as caught:
        compile_subscription(make_subscription(types=["com.example.a", "com.example.>"]), (), rules)

    (problem,) = caught.value.problems
    assert (problem.path, problem.reason) == ("spec.types[1]", "PolicyViolation")
    program = compile_subscription(make_subscription(types=["com.example.a"]), (), rules)
    program.check_redriven("com.example.b")
    with pytest.raises(DecisionFailed) as refused:
        program.check_redriven("com.example.b.c")
    assert refused.value.code == "PolicyViolation"
    assert refused.value.message.endswith("change it, or ask who may change the policy")


def test_other_mistakes_weigh_more_than_a_policy() -> None:
    rules = resolve_gateway_rules(NAMESPACE, [policy(deliveries=[])])

    with pytest.raises(InvalidManifest) as caught:
        compile_subscription(make_subscription(url="http://localhost/"), (), rules)

    assert caught.value.reason == "Invalid" and len(caught.value.problems) == 2
