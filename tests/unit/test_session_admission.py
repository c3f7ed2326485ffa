"""Admission: which events an Agent's subscriptions take, and which handlers react to them."""

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.core.decision.session_admission import admit
from heed.core.events import Event, Received, Redrive
from tests.builders.agents import AGENT, ASKED, NAMESPACE, program
from tests.builders.decisions import failure_of
from tests.builders.events import at, received
from tests.unit.steps import routed

EVENT = Event("e5", "/shop", ASKED, extensions={"correlationid": "c5"})
CHOOSY = program(
    {},
    subscribe=[
        {"type": "com.other"},
        {"type": ASKED, "where": "event.data == 1"},
        {"type": "com.example.>", "where": "event.data.n == 2"},
    ],
)


def heeded(data: Any, subject: str | None = None, redrive: Redrive | None = None) -> bool:
    event = replace(EVENT, data=data)
    came = Received(5, at(5), subject or names.event_subject(NAMESPACE, ASKED), event, redrive)
    return admit(routed(CHOOSY, came)) is None


def test_an_event_is_heeded_where_a_subscription_takes_it() -> None:
    assert [heeded(data) for data in (1, {"n": 2}, {"n": 3})] == [True, True, False]
    assert failure_of(heeded, 5) == (
        "ExpressionFailed",
        "spec.subscribe[2].where: event.data is a number, not a map; "
        "ask first: type(event.data) == map && has(event.data.n)",
        None,
    )


def test_what_is_for_the_agent_alone_needs_no_subscription() -> None:
    assert heeded({"n": 3}, names.inbox_subject(NAMESPACE, AGENT, ASKED))
    redriven = names.redrive_subject(NAMESPACE, AGENT, ASKED)
    assert heeded({"n": 3}, redriven, Redrive("l", 2))
    assert heeded({"n": 3}, redriven, Redrive("l", 2, subject=names.inbox_subject(NAMESPACE, AGENT, ASKED)))
    assert not heeded({"n": 3}, redriven, Redrive("l", 2, subject=names.event_subject(NAMESPACE, ASKED)))


# ── which handlers ──────────────────────────────────────────────────────────────────────────────────────────────────

STOP = "com.example.stop"
LISTENING = program({"type": STOP}, {"type": "com.example.>"}, {}, {"type": "com.example.*"})


@pytest.mark.parametrize(
    ("type_", "handlers"), [(ASKED, ["h1", "h2"]), (STOP, ["h0", "h1", "h3"]), ("com.other", [])]
)
def test_handlers_react_to_their_type_in_listed_order(type_: str, handlers: list[str]) -> None:
    step = routed(LISTENING, received(5, type_))

    assert admit(step) == (None if handlers else "ignored")
    assert [item.name for item in step.reactions] == handlers
