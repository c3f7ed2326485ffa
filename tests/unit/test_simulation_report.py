"""A simulation as JSON: everything that is in it, and why what was ignored was."""

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.core.codec.cloudevents_json import event_to_json
from heed.core.decision.decide import decide
from heed.core.decision.explain import why_ignored
from heed.core.effects import AgentRef
from heed.core.events import Event
from heed.core.ledger.ledger import Ledger, dump_ledger
from heed.core.simulation.report import build_report
from heed.core.simulation.simulator import simulate
from heed.core.simulation.steps import SimulatedMessage, StubbedEnd
from tests.builders.agents import AGENT, ASKED, NAMESPACE, job, program
from tests.builders.events import malformed, received

STOP = "com.example.stop"
TELLER = program(
    {
        "name": "begin",
        "state": {"topic": "${event.data.topic}"},
        "start": [{"task": "work", "input": {"topic": "${event.data.topic}"}}],
        "emit": [{"type": "x.begun", "data": 1}],
    },
    {"name": "done", "type": names.TASK_COMPLETED, "end": True},
    {"name": "stop", "type": STOP, "when": "event.id == 'now'", "cancel": [{"task": "work"}]},
    tasks={"work": job("${input.topic}")},
)
ME = f"{NAMESPACE}/{AGENT}"


def given(id_: str, type_: str = ASKED, data: Any = None, **more: Any) -> SimulatedMessage:
    return SimulatedMessage(names.event_subject(NAMESPACE, type_), Event(id_, "/test", type_, data, **more))


def told(*messages: SimulatedMessage, answer: StubbedEnd | None = None, limit: int = 99) -> dict[str, Any]:
    return build_report(simulate([TELLER], messages, lambda work: answer, limit=limit))


def test_a_transcript_tells_a_simulation_in_full() -> None:
    run = simulate([TELLER], [given("a", data={"topic": "tides"})], lambda work: StubbedEnd(result=42))
    found = build_report(run)
    begun, emitted, ended = run.steps
    (task,) = begun.deliveries[0].started

    assert [list(event) for event in found["events"]] == [
        ["sequence", "time", "origin", "subject", "event", "deliveries"]
    ] * 3
    assert found["events"][0] == {
        "sequence": 1,
        "time": "2026-01-01T00:00:01.000000Z",
        "origin": "given",
        "subject": names.event_subject(NAMESPACE, ASKED),
        "event": event_to_json(begun.message.event),
        "deliveries": [
            {
                "agent": ME,
                "outcome": "handled",
                "why": None,
                "session": "a",
                "handlers": ["begin"],
                "before": None,
                "after": {"topic": "tides"},
                "tasks": [
                    {
                        "id": task.id,
                        "task": "work",
                        "kind": "job",
                        "attempt": 1,
                        "input": {"topic": "tides"},
                        "spec": task.spec,
                    }
                ],
                "emitted": [event_to_json(emitted.message.event)],
                "cancelled": [],
                "queued": [],
                "letter": None,
            }
        ],
    }
    assert task.spec["template"]["spec"]["containers"][0]["args"] == ["tides"]
    assert found["events"][1]["deliveries"] == []
    assert (found["events"][2]["origin"], found["events"][2]["event"]) == (
        "task",
        event_to_json(ended.message.event),
    )
    assert found["events"][2]["deliveries"][0]["before"] == {"topic": "tides"}
    assert found["events"][2]["deliveries"][0]["after"] is None
    assert found["agents"] == {ME: dump_ledger(run.ledgers[TELLER.agent])}
    assert found["outcomes"] == {"handled": 2}
    assert found["emitted"] == [event_to_json(emitted.message.event)]
    assert found["tasks"] == [
        {
            "agent": ME,
            "id": task.id,
            "task": "work",
            "kind": "job",
            "attempt": 1,
            "input": {"topic": "tides"},
            "spec": task.spec,
        }
    ]
    assert (found["letters"], found["unheard"], found["pending"], found["waiting"]) == ([], [], [], 0)


def test_what_failed_is_told_with_its_letter() -> None:
    found = told(given("a"))

    letter = {
        "code": "TemplateFailed",
        "message": "spec.handlers[0].state.topic: ${event.data.topic}: event.data is null, not a map; "
        "ask first: type(event.data) == map && has(event.data.topic)",
        "handler": "begin",
    }
    (delivery,) = found["events"][0]["deliveries"]
    assert (delivery["outcome"], delivery["letter"]) == ("deadLettered", letter)
    assert found["letters"] == [{"agent": ME, "sequence": 1, "id": "a", "type": ASKED, **letter}]
    assert found["outcomes"] == {"deadLettered": 1}


def test_what_is_left_over_is_told() -> None:
    asked = given("a", data={"topic": "tides"})

    found = told(asked, given("b", "com.other"), given("c"), limit=3)

    (pending,) = found["pending"]
    (task,) = found["tasks"]
    assert pending == {
        "agent": ME,
        "id": task["id"],
        "task": "work",
        "kind": "job",
        "session": "a",
        "input": {"topic": "tides"},
        "phase": "Started",
        "due": None,
    }
    assert found["unheard"] == [
        {
            "sequence": 3,
            "id": "b",
            "type": "com.other",
            "why": f"no Agent heeds it; known are {ASKED}, {STOP}",
        }
    ]
    assert found["waiting"] == 1


def test_outcomes_are_counted_in_the_order_of_their_names() -> None:
    asked = given("a", data={"topic": "tides"})
    gone = SimulatedMessage(
        names.inbox_subject(NAMESPACE, AGENT, names.TASK_FAILED),
        Event("x", "/x", names.TASK_FAILED, subject="no"),
    )
    found = told(asked, asked, asked, gone, given("c", STOP), given("d"))

    assert list(found["outcomes"].items()) == [
        ("deadLettered", 1),
        ("duplicate", 2),
        ("handled", 1),
        ("ignored", 1),
        ("stale", 1),
    ]


def test_what_was_cancelled_and_what_was_ignored_is_told() -> None:
    asked = given("a", data={"topic": "tides"})
    halt = given("now", STOP, extensions={"correlationid": "a"})

    found = told(asked, given("later", STOP, extensions={"correlationid": "a"}), halt)

    ignored, halted = (event["deliveries"][0] for event in found["events"][2:4])
    assert (ignored["outcome"], ignored["why"], ignored["handlers"]) == (
        "ignored",
        "spec.handlers[2].when was false",
        [],
    )
    assert (ignored["before"], ignored["after"]) == ({"topic": "tides"}, {"topic": "tides"})
    assert halted["cancelled"] == [found["tasks"][0]["id"]]


# ── why an event was ignored ────────────────────────────────────────────────────────────────────────────────────────

PICKY = program(
    {"name": "one", "when": "event.data == 1", "state": {"n": 1}},
    {"name": "two", "type": "com.example.question.*", "when": "event.data == 2", "state": {"n": 2}},
    {"name": "other", "type": STOP, "when": "false"},
    subscribe=[
        {"type": ASKED, "where": "event.data > 0"},
        {"type": STOP},
        {"type": ">", "where": "event.data > 5"},
    ],
)


@pytest.mark.parametrize(
    ("type_", "data", "why"),
    [
        (ASKED, 1, None),
        (ASKED, 3, "spec.handlers[0].when, spec.handlers[1].when was false"),
        (ASKED, 0, "spec.subscribe[0].where, spec.subscribe[2].where was false"),
        (STOP, 0, "spec.handlers[2].when was false"),
        ("com.example.else", 9, "no handler has a type that matches com.example.else"),
        ("com.example.question.new", 1, "spec.subscribe[2].where was false"),
    ],
)
def test_what_kept_an_event_from_being_handled_is_named(type_: str, data: Any, why: str | None) -> None:
    assert why_ignored(PICKY, decide(PICKY, Ledger(), received(1, type_, data))) == why


def test_what_nobody_subscribed_to_is_ignored_for_that() -> None:
    deaf = program({"type": "com.example.>"}, subscribe=[{"type": STOP}])

    assert why_ignored(deaf, decide(deaf, Ledger(), received(1))) == f"no subscription has the type {ASKED}"


def test_what_was_not_ignored_needs_no_reason() -> None:
    elsewhere = replace(malformed(1), subject=names.event_subject("elsewhere", ASKED))

    for event, outcome in (
        (malformed(1), "dead_lettered"),
        (elsewhere, "ignored"),
        (received(1, data="x"), "dead_lettered"),
    ):
        decision = decide(PICKY, Ledger(), event)
        assert (decision.outcome, why_ignored(PICKY, decision)) == (outcome, None)


def test_agents_are_told_apart_by_namespace_and_name() -> None:
    other = replace(TELLER, agent=AgentRef("shop", "teller", "uid-2"))

    found = build_report(simulate([TELLER, other], [given("a", data={"topic": "x"})], lambda work: None))

    assert list(found["agents"]) == [ME, "shop/teller"]
    assert [item["agent"] for item in found["events"][0]["deliveries"]] == [ME]
