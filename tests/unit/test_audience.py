"""Who heeds an event; and where no Agent does, what may have been meant."""

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.core.compiler.audience import Listener, explain_unheeded
from tests.builders.agents import program

OPEN = [{"type": "com.example.order.*"}, {"type": "com.example.question.asked"}]


def listener(*types: str, name: str = "clerk", subscribe: Any = OPEN) -> Listener:
    """An Agent of namespace demo with handlers for these types."""
    handlers = ({"type": type_} for type_ in types or ("com.example.order.placed", "com.example.hint"))
    return replace(Listener.of(program(*handlers, subscribe=subscribe)), name=name)


@pytest.mark.parametrize(
    ("subject", "why"),
    [
        ("heed.events.demo.com.example.order.placed", None),
        ("heed.inbox.demo.clerk.com.example.hint", None),
        ("heed.inbox.demo.clerk.com.example.order.placed", None),
        ("heed.inbox.demo.clerk.dev.heed.task.completed", None),
        (
            "heed.events.demo.com.example.order.place",
            "no Agent heeds it; did you mean com.example.order.placed?",
        ),
        (
            "heed.events.default.com.example.order.placed",
            "no Agent heeds it in namespace default; demo/clerk does in demo (-n demo)",
        ),
        (
            "heed.events.demo.com.example.hint",
            "no Agent heeds it; demo/clerk has a handler and no subscription: add it to spec.subscribe",
        ),
        (
            "heed.events.demo.com.example.order.lost",
            "no Agent heeds it; did you mean com.example.order.placed?",
        ),
        (
            "heed.events.demo.org.nothing",
            "no Agent heeds it; known are com.example.order.placed, com.example.question.asked",
        ),
        ("heed.events.elsewhere.org.nothing", "no Agent heeds it"),
        (
            "heed.inbox.demo.clerk.com.example.hints",
            "Agent demo/clerk has no handler for it; did you mean com.example.hint?",
        ),
        (
            "heed.inbox.demo.clerc.com.example.hint",
            "there is no Agent clerc in namespace demo; did you mean clerk?",
        ),
        ("heed.inbox.other.clerk.com.example.hint", "there is no Agent clerk in namespace other"),
    ],
)
def test_where_nobody_heeds_an_event_the_likely_mistake_is_named(subject: str, why: str | None) -> None:
    assert explain_unheeded([listener()], subject) == why


def test_one_agent_that_heeds_it_is_enough() -> None:
    deaf = listener("com.example.hint", name="deaf")

    assert explain_unheeded([deaf, listener()], "heed.events.demo.com.example.order.placed") is None
    assert explain_unheeded([deaf], "heed.events.demo.com.example.order.placed") is not None


def test_a_subscription_alone_does_not_heed() -> None:
    one = listener("com.example.order.placed", subscribe=[{"type": ">"}])

    assert explain_unheeded([one], names.event_subject("demo", "com.example.order.placd")) == (
        "no Agent heeds it; did you mean com.example.order.placed?"
    )


def test_a_handler_of_everything_is_no_reason_to_ask_for_a_subscription() -> None:
    one = listener(">")

    assert explain_unheeded([one], names.event_subject("demo", "org.nothing")) == (
        "no Agent heeds it; known are com.example.question.asked"
    )


def test_without_agents_there_is_nothing_to_mean() -> None:
    assert explain_unheeded([], names.event_subject("demo", "org.nothing")) == "no Agent heeds it"


def test_each_subscription_is_looked_at_for_what_may_have_been_meant() -> None:
    many = [Listener("shop", "a", (("shop", "x.one"), ("demo", "x.two"), ("demo", "y.*")), ("y.three", "z"))]

    assert (
        explain_unheeded(many, names.event_subject("demo", "a.b"))
        == "no Agent heeds it; known are x.two, y.three"
    )


def test_no_more_than_five_types_are_named() -> None:
    def known(count: int) -> str | None:
        patterns = tuple(("demo", f"x.{name}") for name in "abcdefg"[:count])
        return explain_unheeded([Listener("demo", "a", patterns, ())], names.event_subject("demo", "other"))

    assert known(5) == "no Agent heeds it; known are x.a, x.b, x.c, x.d, x.e"
    assert known(6) == "no Agent heeds it; known are x.a, x.b, x.c, x.d, x.e, …"


@pytest.mark.parametrize(
    "subject", ["other.subject", "heed.events.demo", "heed.events.demo.dev.heed.task.completed"]
)
def test_what_is_no_event_of_a_type_of_its_own_needs_nobody_to_heed_it(subject: str) -> None:
    assert explain_unheeded([listener()], subject) is None


def test_a_listener_is_what_its_program_says() -> None:
    found = Listener.of(
        program({"type": "a"}, {"type": "b.*"}, {"type": "a"}, subscribe=[{"type": "a"}, {"type": "c.>"}])
    )

    assert found == Listener("demo", "researcher", (("demo", "a"), ("demo", "c.>")), ("a", "b.*"))
    assert str(found) == "demo/researcher"


@pytest.mark.parametrize(
    ("subject", "type_", "heeds"),
    [
        ("heed.events.demo.a", "a", True),
        ("heed.events.other.a", "a", False),
        ("heed.events.demo.b", "b", False),
        ("heed.inbox.demo.clerk.a", "a", True),
        ("heed.inbox.demo.clerk.c", "c", True),
        ("heed.inbox.demo.other.a", "a", False),
        ("heed.inbox.other.clerk.a", "a", False),
        ("heed.inbox.demo.clerk.b", "b", False),
    ],
)
def test_an_event_is_heeded_by_its_subject_and_its_type(subject: str, type_: str, heeds: bool) -> None:
    clerk = Listener("demo", "clerk", (("demo", "a"), ("demo", "b")), ("a", "c"))

    assert clerk.heeds(subject, type_) is heeds
