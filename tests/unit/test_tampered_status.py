"""Who may write a status may spoil that one Agent; what is for other Agents and other namespaces stays theirs."""

from dataclasses import replace

import pytest

from heed import names
from heed.core.decision.decide import decide
from heed.core.events import Event, MalformedMessage, Received
from heed.core.ledger.deferred import DeferredEvents
from heed.core.ledger.ledger import Ledger
from tests.builders.agents import AGENT, ASKED, NAMESPACE, program
from tests.builders.events import at

LISTENER = program({"name": "hear", "type": ASKED, "state": {"heard": "${event.data}"}})


def made_to_wait(subject: str) -> tuple[Ledger, Received]:
    """A status in which somebody wrote that the event at 5 waits for room."""
    ledger = Ledger(waiting=DeferredEvents.of({5: names.waiting_digest("s")}))
    ledger = replace(ledger, cursor=replace(ledger.cursor, sequence=9, time=at(9)))
    return ledger, Received(5, at(5), subject, Event("e-1", "/else", ASKED, "secret"))


@pytest.mark.parametrize(
    "subject",
    [
        names.inbox_subject("elsewhere", AGENT, ASKED),
        names.inbox_subject(NAMESPACE, "another", ASKED),
        names.redrive_subject("elsewhere", AGENT, ASKED),
        names.event_subject("elsewhere", ASKED),
    ],
)
def test_what_is_for_others_is_not_decided_though_it_waits(subject: str) -> None:
    ledger, received = made_to_wait(subject)

    decision = decide(LISTENER, ledger, received)

    assert decision.outcome == "ignored"
    assert decision.ledger.sessions == {}
    assert not decision.ledger.waiting.places


@pytest.mark.parametrize(("namespace", "outcome"), [("elsewhere", "ignored"), (NAMESPACE, "dead_lettered")])
def test_a_message_of_others_that_waits_is_no_letter_of_the_agents(namespace: str, outcome: str) -> None:
    """A letter holds the whole message, and can be redriven to whose it is."""
    ledger, received = made_to_wait(names.event_subject(namespace, ASKED))
    received = replace(received, event=MalformedMessage("BadData", "not JSON"))

    decision = decide(LISTENER, ledger, received)

    assert decision.outcome == outcome
    assert (decision.letter is None) == (outcome == "ignored")
    assert not decision.ledger.waiting.places


def test_what_is_for_the_agent_is_decided_when_it_has_waited() -> None:
    ledger, received = made_to_wait(names.inbox_subject(NAMESPACE, AGENT, ASKED))

    assert decide(LISTENER, ledger, received).outcome == "handled"


@pytest.mark.parametrize(
    ("subject", "own"),
    [
        ("heed.events.demo.com.example.a", True),
        ("heed.inbox.demo.another.com.example.a", True),
        ("heed-dead.demo.writer", True),
        ("heed.events.demo-two.com.example.a", False),
        ("heed.events.other.com.example.a", False),
        ("heed.inbox.other.writer.dev.heed.task.completed", False),
        ("heed.redrive.demo.writer.com.example.a", False),
        ("heed.tasks.demo.writer.work-1.dev.heed.task.result", False),
        ("heed-dead.demo.another", False),
        ("heed-dead.demo.writer.redriven", False),
        ("$JS.API.STREAM.DELETE.HEED", False),
    ],
)
def test_where_an_agent_may_leave_messages(subject: str, own: bool) -> None:
    assert names.is_left_by(subject, "demo", "writer") is own
