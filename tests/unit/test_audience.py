"""Who heeds an event; and where no Agent does, what may have been meant."""

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.core.audience import Listener, unheeded
from tests.unit.builders import program

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
    assert unheeded([listener()], subject) == why


def test_one_agent_that_heeds_it_is_enough() -> None:
    deaf = listener("com.example.hint", name="deaf")

    assert unheeded([deaf, listener()], "heed.events.demo.com.example.order.placed") is None
    assert unheeded([deaf], "heed.events.demo.com.example.order.placed") is not None


def test_a_subscription_alone_does_not_heed() -> None:
    one = listener("com.example.order.placed", subscribe=[{"type": ">"}])

    assert unheeded([one], names.event_subject("demo", "com.example.order.placd")) == (
        "no Agent heeds it; did you mean com.example.order.placed?"
    )


def test_a_handler_of_everything_is_no_reason_to_ask_for_a_subscription() -> None:
    one = listener(">")

    assert unheeded([one], names.event_subject("demo", "org.nothing")) == (
        "no Agent heeds it; known are com.example.question.asked"
    )


def test_without_agents_there_is_nothing_to_mean() -> None:
    assert unheeded([], names.event_subject("demo", "org.nothing")) == "no Agent heeds it"
