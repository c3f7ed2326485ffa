"""Who may send events to Agents: what policies say, and what holds where none does."""

import pytest

from heed.api.policy import closed_policy, parse_policy
from heed.core.policy.publishers import Publisher, PublishingRules, publishing_rules
from heed.errors import InvalidManifest
from tests.builders.manifests import policy_manifest
from tests.builders.policies import policy

SHOP, TYPE = "shop", "com.example.order.placed"


def account(name: str, namespace: str = SHOP) -> Publisher:
    """A service account as a TokenReview names it."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return Publisher(f"system:serviceaccount:{namespace}:{name}", frozenset(groups))


def may(rules: PublishingRules, publisher: Publisher, type_: str = TYPE) -> bool:
    """Whether rules let a publisher publish a type; both questions agree."""
    allowed = rules.type_refusal(publisher, type_) is None
    assert not allowed or rules.refusal(publisher) is None
    return allowed


def test_without_a_policy_the_service_accounts_of_the_namespace_may_publish() -> None:
    rules = publishing_rules(SHOP, [policy(namespace=SHOP, emissions=[])])

    assert may(rules, account("till"))
    assert not may(rules, account("till", "other"))
    assert not may(rules, Publisher("jane", frozenset({"system:authenticated"})))
    assert rules.refusal(account("till", "other")) == (
        "system:serviceaccount:other:till may not publish here: only service accounts of the namespace may, "
        "where no AgentPolicy names others in spec.publishers"
    )


@pytest.mark.parametrize(
    ("publisher", "allowed"),
    [
        ({"serviceAccount": {"name": "till"}}, [account("till")]),
        ({"serviceAccount": {"name": "till", "namespace": "other"}}, [account("till", "other")]),
        ({"user": "jane"}, [Publisher("jane")]),
        ({"group": "clerks"}, [Publisher("joe", frozenset({"clerks"}))]),
        ({"group": "system:serviceaccounts:other"}, [account("till", "other"), account("else", "other")]),
    ],
)
def test_a_policy_that_names_publishers_lets_them_and_no_others(
    publisher: dict[str, object], allowed: list[Publisher]
) -> None:
    rules = publishing_rules(SHOP, [policy(namespace=SHOP, publishers=[publisher])])
    everyone = [
        account("till"),
        account("else"),
        account("till", "other"),
        account("else", "other"),
        Publisher("jane"),
        Publisher("clerks"),
        Publisher("joe", frozenset({"clerks"})),
    ]

    assert [item for item in everyone if may(rules, item)] == [item for item in everyone if item in allowed]
    assert rules.type_refusal(account("none"), TYPE) == (
        "system:serviceaccount:shop:none may not publish com.example.order.placed here: "
        "AgentPolicy shop/strict does not name them for it in spec.publishers"
    )


def test_types_bound_what_each_may_publish() -> None:
    publishers = [
        {"serviceAccount": {"name": "till"}, "types": ["com.example.order.*"]},
        {"group": "system:serviceaccounts:shop", "types": ["com.example.stock.>"]},
        {"user": "mute", "types": []},
    ]
    rules = publishing_rules(SHOP, [policy(namespace=SHOP, publishers=publishers)])

    assert may(rules, account("till"))
    assert may(rules, account("till"), "com.example.stock.low.now")
    assert not may(rules, account("till"), "com.example.order.placed.twice")
    assert not may(rules, account("else"))
    assert rules.refusal(account("else")) is None
    assert rules.refusal(Publisher("mute")) is not None


def test_several_policies_add_up_and_are_named() -> None:
    policies = [
        policy("b", SHOP, publishers=[{"user": "jane"}]),
        policy("a", SHOP, publishers=[{"user": "joe"}]),
        policy("else", "other", publishers=[{"user": "mallory"}]),
    ]
    rules = publishing_rules(SHOP, policies)

    assert may(rules, Publisher("jane")) and may(rules, Publisher("joe"))
    assert rules.refusal(Publisher("mallory")) == (
        "mallory may not publish here: AgentPolicies shop/a, shop/b do not name them for it in spec.publishers"
    )


def test_a_policy_that_selects_some_agents_counts_for_their_inboxes_only() -> None:
    selector = {"matchLabels": {"app": "till"}}
    expressions = {"matchExpressions": [{"key": "app", "operator": "Exists"}]}
    for each in (selector, expressions):
        policies = [policy(namespace=SHOP, agentSelector=each, publishers=[{"user": "jane"}])]

        assert may(publishing_rules(SHOP, policies, {"app": "till"}), Publisher("jane"))
        assert not may(publishing_rules(SHOP, policies, {"app": "till"}), account("till"))
        assert not may(publishing_rules(SHOP, policies, {}), Publisher("jane"))
        assert may(publishing_rules(SHOP, policies, {}), account("till"))
        assert not may(publishing_rules(SHOP, policies), Publisher("jane"))
        assert may(publishing_rules(SHOP, policies), account("till"))


def test_an_empty_list_and_a_policy_that_cannot_be_read_let_nobody_publish() -> None:
    manifest = policy_manifest("broken", namespace=SHOP)
    for each in (policy(namespace=SHOP, publishers=[]), closed_policy(manifest)):
        rules = publishing_rules(SHOP, [each])

        assert rules.refusal(account("till")) is not None
        assert not may(rules, account("till"))


@pytest.mark.parametrize(
    "publisher",
    [{}, {"user": "a", "group": "b"}, {"serviceAccount": {"name": "a"}, "user": "b"}, {"types": [">"]}],
)
def test_a_publisher_is_one_of_three(publisher: dict[str, object]) -> None:
    with pytest.raises(InvalidManifest, match="exactly one of serviceAccount, user and group"):
        parse_policy(policy_manifest(publishers=[publisher]))
