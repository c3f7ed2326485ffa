"""Which EventSource has an address, and what is wrong with those that have none."""

from typing import Any

import pytest

from heed.core.policy.gateway_rules import NO_RULES, GatewayRules
from heed.core.policy.permissions import AllowList
from heed.gateway.webhooks.registry import WebhookRegistry
from heed.gateway.webhooks.standing import hook_url
from tests.builders.gateway import event_source_document

OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


class Told:
    """A registry, and whose standing may have changed since it was last asked."""

    def __init__(self) -> None:
        self.changed: set[tuple[str, str]] = set()
        self.rules: dict[str, GatewayRules] = {}
        self.registry = WebhookRegistry(
            self.changed.add, lambda namespace: self.rules.get(namespace, NO_RULES)
        )

    def see(self, name: str, *, deleted: bool = False, **members: Any) -> set[str]:
        self.changed.clear()
        self.registry.observe(event_source_document(name, **members), deleted)
        return {name for _, name in self.changed}

    def reason(self, name: str) -> str | None:
        known = self.registry.get(("default", name))
        assert known is not None
        return None if known.problem is None else known.problem.reason

    def holder(self, path: str) -> str | None:
        found = self.registry.find("default", path)
        return None if found is None else found.name


def test_the_oldest_has_the_address_and_the_others_say_so() -> None:
    told = Told()

    assert told.see("b", created=NEW, path="hook") == {"b"}
    assert told.see("a", created=OLD, path="hook") == {"a", "b"}
    assert told.see("c", created=NEW, path="hook") == {"a", "b", "c"}

    assert told.holder("hook") == "a"
    assert (told.reason("a"), told.reason("b"), told.reason("c")) == (None, "Conflict", "Conflict")
    known = told.registry.get(("default", "b"))
    assert known is not None and known.problem is not None
    assert known.problem.message.startswith("EventSource a, which is older, has the path hook")


def test_of_equally_old_ones_the_first_by_name_and_of_files_too() -> None:
    told = Told()
    told.see("b", path="hook")
    told.see("a", path="hook")

    assert told.holder("hook") == "a"


def test_when_it_goes_the_next_has_the_address() -> None:
    told = Told()
    told.see("a", created=OLD, path="hook")
    told.see("b", created=NEW, path="hook")

    assert told.see("a", deleted=True) == {"b"}

    assert told.holder("hook") == "b"
    assert told.reason("b") is None
    assert told.registry.get(("default", "a")) is None
    assert told.see("b", deleted=True) == set()
    assert told.holder("hook") is None
    assert len(told.registry) == 0


def test_rules_that_change_are_those_of_its_namespace() -> None:
    told = Told()
    told.see("a", path="hook")
    told.registry.observe(event_source_document("b", "other", path="hook"), False)

    told.rules["default"] = GatewayRules(event_sources=AllowList((), ("default/strict",)))
    told.changed.clear()
    told.registry.recompile("default")

    assert told.changed == {("default", "a")}
    assert (told.reason("a"), told.holder("hook")) == ("PolicyViolation", None)
    assert told.registry.find("other", "hook") is not None

    told.rules.clear()
    told.registry.recompile("default")

    assert (told.reason("a"), told.holder("hook")) == (None, "a")


def test_one_that_moves_leaves_its_address() -> None:
    told = Told()
    told.see("a", created=OLD, path="hook")
    told.see("b", created=NEW, path="hook")

    assert told.see("a", created=OLD, path="moved") == {"a", "b"}

    assert (told.holder("hook"), told.holder("moved")) == ("b", "a")


def test_one_with_a_mistake_has_none() -> None:
    told = Told()
    told.see("a", path="hook")

    told.see("a", path="hook", verify={})

    assert told.holder("hook") is None
    assert told.reason("a") == "Invalid"


def test_one_that_breaks_the_compiler_harms_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    told.see("a")
    monkeypatch.setattr("heed.gateway.webhooks.registry.compile_event_source", lambda source: 1 / 0)

    told.see("b")

    assert told.reason("b") == "Invalid"
    assert told.holder("a") == "a"


def test_namespaces_have_addresses_of_their_own() -> None:
    told = Told()
    told.see("a", path="hook")
    told.see("a", namespace="shop", path="hook")

    found = told.registry.find("shop", "hook")

    assert found is not None
    assert found.namespace == "shop"
    assert told.registry.find("other", "hook") is None


@pytest.mark.parametrize(
    ("base", "url"),
    [
        (None, "/v1/hooks/demo/a/b"),
        ("https://heed.example", "https://heed.example/v1/hooks/demo/a/b"),
        ("https://heed.example/base/", "https://heed.example/base/v1/hooks/demo/a/b"),
    ],
)
def test_the_address_is_below_that_of_the_gateway(base: str | None, url: str) -> None:
    assert hook_url(base, "demo", "a/b") == url
