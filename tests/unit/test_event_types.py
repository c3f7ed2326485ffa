"""Events are what event types say: what does not fit is dead-lettered, or counted where a type only warns."""

import pickle
from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.event_type import EventType
from heed.api.validation import parse_agent
from heed.core.compiler.program import Program, compile_agent
from heed.core.decision.decide import Decision, decide
from heed.core.decision.guard import NEEDS_GUARD
from heed.core.events import Event, Received, Redrive
from heed.core.ledger.ledger import Ledger, count_decided
from heed.core.schema.registry import NO_SCHEMAS, SchemaRegistry, compile_schemas
from heed.errors import DecisionFailed
from tests.builders.agents import AGENT, ASKED, NAMESPACE, manifest
from tests.builders.decisions import decide_each, emitted, session_states
from tests.builders.events import received
from tests.builders.policies import allowed_by, event_type, grant

ANSWERED = "com.example.question.answered"
TOPIC = {"type": "object", "required": ["topic"], "properties": {"topic": {"type": "string"}}}
FITS, MISFITS = {"topic": "tides"}, {"topic": 7}


def schemas(*types: EventType) -> SchemaRegistry:
    """The checkers of types that are all in order."""
    found, refused = compile_schemas(types)
    assert refused == []
    return found


def typed(*types: EventType, handlers: Any = (), **spec: Any) -> Program:
    """An Agent that remembers the topic, in a namespace with these types."""
    handlers = handlers or ({"state": {"topic": "${event.data.topic}"}},)
    return compile_agent(parse_agent(manifest(*handlers, **spec)), schemas=schemas(*types))


def one(program: Program, event: Received) -> Decision:
    """The decision on the first event of a stream."""
    return decide(program, Ledger(), event)


# ── what comes ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_event_that_fits_its_type_is_handled() -> None:
    decision = one(typed(event_type(TOPIC)), received(1, data=FITS))
    assert session_states(decision.ledger) == {"e1": FITS}
    assert decision.ledger.totals.schema_warnings == 0


def test_an_event_that_does_not_is_dead_lettered_before_any_expression_sees_it() -> None:
    # Given an Agent whose `where` would break on such data, and whose type enforces
    program = typed(
        event_type(TOPIC), subscribe=[{"type": ASKED, "where": "event.data.topic.startsWith('t')"}]
    )
    # When data come that do not fit,
    decision = one(program, received(1, data=MISFITS))
    # then the letter names the type, the field and what is wrong, and no handler.
    assert decision.outcome == "dead_lettered" and decision.letter is not None
    assert (decision.letter.code, decision.letter.handler) == ("SchemaViolation", None)
    assert decision.letter.message == (
        "EventType demo/com-example-question-asked of com.example.question.asked: "
        "data.topic: is a number, not string"
    )
    assert decision.ledger.sessions == {} and decision.ledger.totals.dead_lettered == 1


def test_where_a_type_only_warns_the_event_is_counted_and_goes_on() -> None:
    decisions = decide_each(
        typed(event_type(TOPIC, mode="Warn")), [received(1, data=MISFITS), received(2, data=FITS)]
    )
    ledger = decisions[-1].ledger
    assert session_states(ledger) == {"e1": MISFITS, "e2": FITS}
    assert (ledger.totals.handled, ledger.totals.schema_warnings) == (2, 1)


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (received(1, "org.other.asked", MISFITS), "ignored"),  # no subscription
        (received(1, "com.example.unknown", MISFITS), "ignored"),  # no handler
        (received(1, names.TASK_COMPLETED, MISFITS, inbox=True), "stale"),
    ],
)
def test_what_the_agent_does_not_react_to_is_not_looked_at(event: Received, outcome: str) -> None:
    types = [event_type(TOPIC, type_) for type_ in ("org.other.asked", "com.example.unknown")]
    assert one(typed(*types), event).outcome == outcome


def test_a_duplicate_is_counted_once_as_a_warning() -> None:
    event = received(1, data=MISFITS)
    again = replace(event, sequence=2)
    ledger = decide_each(typed(event_type(TOPIC, mode="Warn")), [event, again])[-1].ledger
    assert (ledger.totals.duplicates, ledger.totals.schema_warnings) == (1, 1)
    assert count_decided(ledger.totals) == 2


@pytest.mark.parametrize(
    ("data", "content", "problem"),
    [
        (b"\x00\x01", "application/octet-stream", "data: are application/octet-stream, not JSON"),
        ("topic: tides", "text/plain", "data: are text/plain, not JSON"),
        (None, None, "data: is null, not object"),
        ("tides", "application/json", "data: is a string, not object"),
    ],
)
def test_data_that_are_not_json_fit_no_schema(data: Any, content: str | None, problem: str) -> None:
    message = received(1)
    other = Event("e1", "/shop", ASKED, data, datacontenttype=content)
    letter = one(typed(event_type(TOPIC)), replace(message, event=other)).letter
    assert letter is not None and letter.message.endswith(problem)


def test_messages_through_the_inbox_and_redriven_letters_are_checked_too() -> None:
    program = typed(event_type(TOPIC))
    direct = received(1, data=MISFITS, inbox=True)
    again = replace(
        direct,
        subject=names.redrive_subject(NAMESPACE, AGENT, ASKED),
        redrive=Redrive("letter", 2),
    )
    for event in (direct, again):
        letter = one(program, event).letter
        assert letter is not None and letter.code == "SchemaViolation"


@pytest.mark.parametrize("redriven", [False, True])
def test_events_of_another_namespace_are_checked_by_the_types_of_that_one(redriven: bool) -> None:
    # Given an Agent of demo that hears events of shop, and a type of that name in each
    theirs = event_type({"properties": {"topic": {"type": "integer"}}}, namespace="shop")
    agent = parse_agent(
        manifest({"end": True}, subscribe=[{"type": ASKED}, {"type": ASKED, "namespace": "shop"}])
    )
    may = allowed_by(grants=[grant("shop", ">")])
    program = compile_agent(agent, may, schemas(event_type(TOPIC), theirs))
    # When events of both come, or come back from being dead letters, each has to fit its own.
    own = received(1, data=MISFITS)
    other = replace(own, subject=names.event_subject("shop", ASKED))
    if redriven:
        own, other = (
            replace(
                item,
                subject=names.redrive_subject(NAMESPACE, AGENT, ASKED),
                redrive=Redrive("letter", 2, subject=item.subject),
            )
            for item in (own, other)
        )
    assert one(program, own).outcome == "dead_lettered"
    assert one(program, other).outcome == "handled"


# ── what is emitted ─────────────────────────────────────────────────────────────────────────────────────────────────


def answering(*types: EventType, **emit: Any) -> Program:
    """An Agent that answers with what was asked."""
    handler = {"name": "answer", "emit": [{"type": ANSWERED, "data": "${event.data}", **emit}]}
    return typed(*types, handlers=(handler,))


@pytest.mark.parametrize("to", [{}, {"to": "another"}], ids=["to all", "to one"])
def test_an_emitted_event_has_to_fit_or_its_cause_is_dead_lettered(to: dict[str, str]) -> None:
    program = answering(event_type(TOPIC, ANSWERED), **to)
    assert emitted(one(program, received(1, data=FITS)))[0].data == FITS
    letter = one(program, received(1, data=MISFITS)).letter
    assert letter is not None
    assert (letter.code, letter.handler) == ("SchemaViolation", "answer")
    assert letter.message.endswith("data.topic: is a number, not string")


def test_emitted_events_that_only_warn_are_counted_beside_what_caused_them() -> None:
    program = answering(event_type(TOPIC, ANSWERED, mode="Warn"), **{})
    program = replace(
        program, schemas=schemas(*(event_type(TOPIC, t, mode="Warn") for t in (ASKED, ANSWERED)))
    )
    decision = one(program, received(1, data=MISFITS))
    assert decision.ledger.totals.schema_warnings == 2
    assert emitted(decision)[0].data == MISFITS


def test_what_one_agent_emits_as_valid_is_valid_for_who_hears_it() -> None:
    types = [event_type({"type": "object", "properties": {"n": {"type": "integer"}}}, ANSWERED)]
    handler = {"emit": [{"type": ANSWERED, "data": {"n": "${event.data.n * 1.0}"}}]}
    sender = typed(*types, handlers=(handler,))
    event = emitted(one(sender, received(1, data={"n": 2.0})))[0]
    hearer = typed(*types, handlers=({"type": ANSWERED, "end": True},))
    heard = Received(2, received(2).at, names.event_subject(NAMESPACE, ANSWERED), event)
    assert one(hearer, heard).outcome == "handled"


# ── which count ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_of_several_for_one_type_the_oldest_counts_then_the_first_by_name() -> None:
    young = event_type({"type": "integer"}, name="a", created="2026-02-02T00:00:00Z")
    old = event_type({"type": "string"}, name="z", created="2026-01-01T00:00:00Z")
    twin = event_type({"type": "boolean"}, name="y", created="2026-01-01T00:00:00Z")
    found, refused = compile_schemas([young, old, twin])
    assert found.check(NAMESPACE, ASKED, True) is None
    assert [(item.metadata.name, reason) for item, _, reason in refused] == [
        ("z", "Conflict"),
        ("a", "Conflict"),
    ]
    assert (
        refused[0].message
        == "EventType y describes com.example.question.asked already; the oldest one counts"
    )


def test_one_that_cannot_be_used_checks_nothing_and_stands_in_nobodys_way() -> None:
    broken = event_type({"type": "strnig"}, name="a", created="2026-01-01T00:00:00Z")
    right = event_type({"type": "string"}, name="b", created="2026-02-02T00:00:00Z")
    found, refused = compile_schemas([right, broken])
    assert found.check(NAMESPACE, ASKED, 1) is not None
    ((item, message, reason),) = refused
    assert (item, reason) == (broken, "Invalid") and message.startswith('spec.schema.type: is "strnig"')


def test_the_same_type_in_two_namespaces_is_two_types() -> None:
    found = schemas(event_type({"type": "string"}), event_type({"type": "integer"}, namespace="shop"))
    assert found.check("shop", ASKED, 1) is None and found.check(NAMESPACE, ASKED, "x") is None
    assert found.check("elsewhere", ASKED, 1) is None


def test_the_ends_of_tasks_have_no_types() -> None:
    _, refused = compile_schemas([event_type({}, names.TASK_COMPLETED)])
    assert "not checked" in refused[0].message


def test_without_types_there_is_nothing_to_check() -> None:
    assert compile_schemas([]) == (NO_SCHEMAS, []) and not NO_SCHEMAS


# ── costly ones ─────────────────────────────────────────────────────────────────────────────────────────────────────

TREE = {"properties": {"topic": {"type": "string"}, "more": {"items": {"$ref": "#"}}}}


def test_a_careful_program_leaves_costly_checks_to_others() -> None:
    program = replace(typed(event_type(TREE)), careful=True)
    letter = one(program, received(1, data=FITS)).letter
    assert letter is not None and letter.code == NEEDS_GUARD
    program = replace(answering(event_type(TREE, ANSWERED)), careful=True)
    letter = one(program, received(1, data=FITS)).letter
    assert letter is not None and letter.code == NEEDS_GUARD


def test_a_verdict_is_not_checked_again() -> None:
    verdict = DecisionFailed("TooCostly", "it took too long")
    letter = one(replace(typed(event_type(TREE)), verdict=verdict), received(1, data=MISFITS)).letter
    assert letter is not None and letter.code == "TooCostly"


def test_schemas_travel_as_what_they_were_made_of() -> None:
    found = schemas(event_type(TOPIC), event_type(TOPIC, ANSWERED, mode="Warn"))
    copy = pickle.loads(pickle.dumps(found))
    assert copy == found
    for type_ in (ASKED, ANSWERED):
        assert copy.check(NAMESPACE, type_, MISFITS) == found.check(NAMESPACE, type_, MISFITS) is not None
