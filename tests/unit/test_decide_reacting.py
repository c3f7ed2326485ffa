"""Handlers run in their order on one state; what they emit says where it came from; a failure leaves nothing behind."""

import subprocess
import sys
from typing import Any

import pytest

from heed import names
from heed.core.decision.decide import Decision, decide
from heed.core.decision.requests import MAX_STATE_BYTES
from heed.core.effects import Publish, StartTask
from heed.core.events import MAX_HOPS
from heed.core.ledger.ledger import Ledger, dump_ledger, list_owed_effects, load_ledger
from tests.builders.agents import AGENT, ASKED, NAMESPACE, job, program
from tests.builders.decisions import after, decide_each, emitted, letter_of, owed_work_of, session_states
from tests.builders.events import received
from tests.builders.values import as_stored


def on_one(*handlers: dict[str, Any], data: Any = None, **spec: Any) -> Decision:
    """The decision on a first event."""
    return decide(program(*handlers, **spec), Ledger(), received(1, data=data))


def only_letter(decision: Decision) -> tuple[str, str, str | None]:
    """Code, message and handler of a decision that failed, and left nothing else."""
    assert decision.outcome == "dead_lettered"
    assert len(decision.ledger.outbox) == 1
    return letter_of(decision)


# ── state ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_handlers_run_as_listed_and_see_what_the_ones_before_left() -> None:
    decision = on_one(
        {"name": "b", "state": {"seen": "b"}},
        {"name": "a", "when": "state.seen == 'b'", "state": {"seen": "${state.seen + 'a'}"}},
        {"name": "no", "when": "state.seen == 'b'", "state": {"seen": "wrong"}},
        {"name": "c", "emit": [{"type": "x.done", "data": "${state.seen}"}]},
    )

    assert decision.handlers == ("b", "a", "c")
    assert emitted(decision)[0].data == "ba"
    assert session_states(decision.ledger) == {"e1": {"seen": "ba"}}


def test_state_merges_by_top_level_key() -> None:
    ledger = after(
        program(
            {"state": {"a": {"x": 1, "y": 1}, "b": 1}},
            {"type": "com.example.next", "state": {"a": {"x": 2}}},
        ),
        received(1),
        received(2, "com.example.next", correlationid="e1"),
    )

    assert session_states(ledger) == {"e1": {"a": {"x": 2}, "b": 1}}


@pytest.mark.parametrize("gone", ["${null}", "${event.data.nothing}"])
def test_null_removes_a_key(gone: Any) -> None:
    decision = on_one({"state": {"a": 1, "b": 1}}, {"state": {"a": gone}}, data={"nothing": None})

    assert session_states(decision.ledger) == {"e1": {"b": 1}}


def test_nulls_inside_are_dropped_now_as_they_will_be_after_a_restart() -> None:
    decision = on_one(
        {"state": {"a": {"x": "${null}", "l": ["${null}", {"y": "${null}"}]}}},
        {"emit": [{"type": "x.seen", "data": "${has(state.a.x)}"}]},
    )

    assert session_states(decision.ledger) == {"e1": {"a": {"l": [None, {}]}}}
    assert emitted(decision)[0].data is False


def test_whole_floats_are_integers_now_as_they_will_be_after_a_restart() -> None:
    decision = on_one(
        {"state": {"n": "${event.data.n}"}},
        {"emit": [{"type": "x.seen", "data": "${type(state.n) == int}"}]},
        data={"n": 2.0},
    )

    assert emitted(decision)[0].data is True


def test_one_expression_may_yield_the_whole_map() -> None:
    decision = on_one({"state": {"old": 1}}, {"state": "${event.data}"}, data={"old": None, "new": [1]})

    assert session_states(decision.ledger) == {"e1": {"new": [1]}}


@pytest.mark.parametrize("data", [None, "text", [1], 7, True])
def test_what_yields_no_map_is_no_state(data: Any) -> None:
    code, message, handler = only_letter(on_one({"name": "h", "state": "${event.data}"}, data=data))

    assert (code, handler) == ("BadState", "h")
    assert "spec.handlers[0].state" in message


def test_a_session_without_state_and_tasks_is_none() -> None:
    decision = on_one({"state": {"a": 1}}, {"state": {"a": "${null}"}})

    assert decision.outcome == "handled"
    assert decision.ledger.sessions == {}
    assert decision.after is None


def test_end_forgets_what_was_and_later_handlers_begin_anew() -> None:
    decision = on_one(
        {"state": {"a": 1}, "start": [{"task": "work"}], "emit": [{"type": "x.kept"}]},
        {"end": True, "emit": [{"type": "x.last", "data": "${state.a}"}]},
        {"when": "!has(state.a)", "state": {"b": 1}},
        tasks={"work": job()},
    )

    assert [event.type for event in emitted(decision)] == ["x.kept", "x.last"]
    assert decision.ledger.pending_tasks == {}
    assert session_states(decision.ledger) == {"e1": {"b": 1}}


def test_state_grows_no_larger_than_its_limit_in_bytes() -> None:
    growing = program({"name": "grow", "state": {"s": "${state.?s.orValue('€') + state.?s.orValue('€')}"}})
    decisions = decide_each(growing, [received(n, correlationid="k") for n in range(1, 19)])

    code, _, handler = only_letter(next(item for item in decisions if item.outcome == "dead_lettered"))
    assert (code, handler) == ("StateTooLarge", "grow")
    assert len(session_states(decisions[-1].ledger)["k"]["s"].encode()) <= MAX_STATE_BYTES


def test_state_that_nests_deeper_with_every_event_is_stopped() -> None:
    nesting = program({"name": "nest", "state": {"before": "${state}"}})
    decisions = decide_each(nesting, [received(n, correlationid="k") for n in range(1, 90)])

    first = next(item for item in decisions if item.outcome == "dead_lettered")
    assert only_letter(first)[::2] == ("TooDeep", "nest")
    assert first.received.sequence > 60
    assert load_ledger(as_stored(dump_ledger(decisions[-1].ledger))) == decisions[-1].ledger


@pytest.mark.parametrize(
    ("handlers", "state"),
    [
        ([{}], '{"a":"€"}'),
        ([{"state": {"b": 1}}], '{"a":"€","b":1}'),
        ([{"state": {"b": 1}}, {}], '{"a":"€","b":1}'),
        ([{}, {"state": {"a": "${null}"}}], "{}"),
        ([{"end": True}], "{}"),
        ([{"end": True}, {"state": {"c": 1}}], '{"c":1}'),
    ],
)
def test_a_decision_knows_how_large_the_state_is_that_it_leaves(
    handlers: list[dict[str, Any]], state: str
) -> None:
    ledger = after(program({"state": {"a": "€"}}), received(1, correlationid="k"))

    decision = decide(program(*handlers), ledger, received(2, correlationid="k"))

    assert decision.state_size == len(state.encode())


# ── failures ────────────────────────────────────────────────────────────────────────────────────────────────────────

BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"when": "event.data.missing"}, "ExpressionFailed"),
    ({"when": "event.data.text"}, "ExpressionFailed"),
    ({"state": {"x": "${event.data.missing}"}}, "TemplateFailed"),
    ({"state": {"x": "${[state.?x]}"}}, "TemplateFailed"),
    ({"state": {"x": "${18446744073709551615u}"}}, "NumberOutOfRange"),
    ({"state": {"x": ["${'a\\x00b'}"]}}, "BadData"),
    ({"start": [{"task": "work", "input": {"x": "${'a\\x00b'}"}}]}, "BadData"),
    ({"start": [{"task": "work", "input": "${event.data.missing}"}]}, "TemplateFailed"),
    ({"start": [{"task": "work", "input": "${18446744073709551615u}"}]}, "NumberOutOfRange"),
    ({"start": [{"from": "${event.data.text}"}]}, "BadList"),
    ({"start": [{"from": "${[1]}"}]}, "BadList"),
    ({"start": [{"from": "${[{'task': 'work', 'inputs': 1}]}"}]}, "BadList"),
    ({"start": [{"from": "${[{'task': 'nothing'}]}"}]}, "UnknownTask"),
    ({"start": [{"from": "${[{'input': 1}]}"}]}, "UnknownTask"),
    ({"start": [{"task": "strict"}]}, "TemplateFailed"),
    ({"start": [{"task": "work", "input": "${event.data.big}"}]}, "InputTooLarge"),
    ({"emit": [{"type": "x.y", "data": "${event.data.missing}"}]}, "TemplateFailed"),
    ({"emit": [{"type": "x.y", "data": "${1.0 / 0.0}"}]}, "TemplateFailed"),
    ({"emit": [{"type": "x.y", "data": "${18446744073709551615u}"}]}, "BadEvent"),
    ({"emit": [{"type": "x.${event.data.text}"}]}, "BadType"),
    ({"emit": [{"type": "${event.data.number}"}]}, "BadType"),
    ({"emit": [{"type": "dev.heed.task.${'completed'}"}]}, "BadType"),
    ({"emit": [{"type": "x.y", "subject": "${event.data.number}"}]}, "BadSubject"),
    ({"emit": [{"type": "x.y", "subject": "${''}"}]}, "BadSubject"),
    ({"emit": [{"type": "x.y", "subject": "${'a\\nb'}"}]}, "BadEvent"),
    ({"emit": [{"type": "x.y", "to": "${event.data.text}"}]}, "BadReceiver"),
    ({"emit": [{"type": "x.y", "to": "${'a.>'}"}]}, "BadReceiver"),
    ({"emit": [{"type": "x.y", "to": "${'a\\n'}"}]}, "BadReceiver"),
    ({"emit": [{"from": "${[{'type': 'x.y', 'source': 'me'}]}"}]}, "BadList"),
    ({"emit": [{"from": "${event.data}"}]}, "BadList"),
    ({"emit": [{"from": "${[{}]}"}]}, "BadType"),
    ({"emit": [{"type": "x.y", "data": "${event.data.big}"}]}, "EventTooLarge"),
    ({"state": {"big": "${event.data.big}"}}, "StateTooLarge"),
]


@pytest.mark.parametrize(
    ("handler", "code"), BROKEN, ids=lambda item: item if isinstance(item, str) else None
)
def test_a_failing_handler_keeps_nothing_of_the_decision_but_its_letter(
    handler: dict[str, Any], code: str
) -> None:
    agent = program(
        {"name": "first", "state": {"n": 1}, "start": [{"task": "work"}], "emit": [{"type": "x.first"}]},
        {"name": "broken", "type": "com.example.broken", **handler},
        tasks={"work": job("${input}"), "strict": job("${input.needed}")},
    )
    before = after(agent, received(1))
    data = {"text": "A b", "number": 7, "big": "x" * 200_000}

    decision = decide(agent, before, received(2, "com.example.broken", data, correlationid="e1"))

    assert decision.letter is not None
    assert (decision.letter.code, decision.letter.handler) == (code, "broken")
    assert decision.ledger.sessions == before.sessions
    assert decision.ledger.pending_tasks == before.pending_tasks
    assert len(decision.ledger.outbox) == len(before.outbox) + 1
    assert decision.ledger.totals.dead_lettered == 1
    assert decision.ledger.totals.emitted == before.totals.emitted
    assert decision.ledger.cursor.sequence == 2


def test_handlers_before_the_failing_one_leave_nothing_either() -> None:
    decision = on_one(
        {"state": {"n": 1}, "emit": [{"type": "x.y"}], "start": [{"task": "work"}]},
        {"name": "broken", "when": "event.data.missing"},
        tasks={"work": job()},
        data={},
    )

    code, message, handler = only_letter(decision)
    assert (code, handler) == ("ExpressionFailed", "broken")
    assert message.startswith("spec.handlers[1].when: there is no")
    assert (decision.ledger.sessions, decision.ledger.pending_tasks) == ({}, {})


@pytest.mark.parametrize("count", [200, 5000])
def test_one_event_cannot_make_more_than_a_ledger_can_take(count: int) -> None:
    agent = program({"emit": [{"from": "${event.data}"}]})
    many = [{"type": "x.y", "data": "d" * 1000} for _ in range(count)]

    decision = decide(agent, Ledger(), received(1, data=many))

    assert decision.outcome == ("handled" if count == 200 else "dead_lettered")
    assert decision.letter is None or decision.letter.code == "DecisionTooLarge"


def test_one_event_cannot_start_more_tasks_than_a_ledger_can_take() -> None:
    agent = program({"start": [{"from": "${event.data.list}"}]}, tasks={"work": job()})
    large = {"list": [{"task": "work", "input": "x" * 1000} for _ in range(200)]}
    endless = {"list": [{"task": "work", "input": n} for n in range(9000)]}

    for data in (large, endless):
        assert only_letter(decide(agent, Ledger(), received(1, data=data)))[0] == "DecisionTooLarge"


# ── emitting ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_emitted_event_says_where_it_came_from() -> None:
    agent = program({"emit": [{"type": "x.done", "data": {"n": "${1 + 1}"}, "subject": "s-${event.id}"}]})
    cause = received(
        4, id_="cause", correlationid="flow", heedhops=5, traceparent="00-a-b-01", tracestate="v=1", other="x"
    )

    decision = decide(agent, Ledger(), cause)

    (event,) = emitted(decision)
    assert event.id == names.event_id(agent.agent.uid, 4, 0)
    assert event.source == names.agent_source(NAMESPACE, AGENT)
    assert (event.type, event.subject, event.data) == ("x.done", "s-cause", {"n": 2})
    assert event.datacontenttype == "application/json"
    assert event.time == cause.at
    assert event.extensions == {
        "correlationid": "flow",
        "causationid": "cause",
        "heedhops": 6,
        "traceparent": "00-a-b-01",
        "tracestate": "v=1",
    }
    (effect,) = decision.effects
    assert isinstance(effect, Publish)
    assert effect.owed.subject == names.event_subject(NAMESPACE, "x.done")


def test_an_event_without_correlation_begins_a_flow_of_its_own() -> None:
    (event,) = emitted(on_one({"emit": [{"type": "x.done"}]}))

    assert event.extensions["correlationid"] == event.extensions["causationid"] == "e1"
    assert event.data is None
    assert event.datacontenttype is None


def test_a_session_keeps_the_correlation_it_began_with() -> None:
    agent = program({"state": {"n": 1}, "emit": [{"type": "x.done"}]}, session={"key": "event.data.order"})
    events = [received(n, data={"order": "o1"}, correlationid=f"flow{n}") for n in (1, 2)]

    decisions = decide_each(agent, events)

    assert [emitted(item)[0].extensions["correlationid"] for item in decisions] == ["flow1", "flow1"]


def test_an_event_may_be_for_one_agent_only() -> None:
    decision = on_one({"emit": [{"type": "x.y", "to": "agent-${'b'}"}]})

    (effect,) = decision.effects
    assert isinstance(effect, Publish)
    assert effect.owed.subject == names.inbox_subject(NAMESPACE, "agent-b", "x.y")


def test_a_list_from_data_emits_several_or_none() -> None:
    agent = program({"emit": [{"from": "${event.data}"}, {"type": "x.last"}]})
    several = decide(agent, Ledger(), received(1, data=[{"type": "x.a"}, {"type": "x.b", "data": [None]}]))
    none = decide(agent, Ledger(), received(1, data=[]))

    assert [(event.type, event.data) for event in emitted(several)] == [
        ("x.a", None),
        ("x.b", [None]),
        ("x.last", None),
    ]
    assert [event.type for event in emitted(none)] == ["x.last"]
    assert len({event.id for event in emitted(several)}) == 3


def test_a_list_from_data_starts_several() -> None:
    agent = program({"start": [{"from": "${event.data}"}]}, tasks={"a": job("${input.n}"), "b": job()})
    data = [{"task": "a", "input": {"n": 1}}, {"task": "a", "input": {"n": "$(X) ${y}"}}, {"task": "b"}]

    ledger = decide(agent, Ledger(), received(1, data=data)).ledger

    assert [item.task for item in ledger.pending_tasks.values()] == ["a", "a", "b"]
    args = [
        owed_work_of(ledger, key)["spec"]["template"]["spec"]["containers"][0]["args"]
        for key in ledger.pending_tasks
    ]
    assert args == [[1], ["$$(X) $${y}"], []]


def test_beyond_the_hop_limit_nothing_is_emitted() -> None:
    agent = program(
        {"name": "loop", "emit": [{"type": ASKED}]}, {"type": "com.example.quiet", "state": {"n": 1}}
    )

    last = decide(agent, Ledger(), received(1, heedhops=MAX_HOPS - 1))
    beyond = decide(agent, Ledger(), received(1, heedhops=MAX_HOPS))
    quiet = decide(agent, Ledger(), received(1, "com.example.quiet", heedhops=MAX_HOPS))

    assert emitted(last)[0].extensions["heedhops"] == MAX_HOPS
    code, _, handler = only_letter(beyond)
    assert (code, handler) == ("HopLimit", "loop")
    assert quiet.outcome == "handled"


def test_two_agents_that_feed_each_other_come_to_an_end() -> None:
    agent, ledger, event = program({"emit": [{"type": ASKED}]}), Ledger(), received(1)

    for rounds in range(1, 200):
        decision = decide(agent, ledger, event)
        if decision.outcome == "dead_lettered":
            break
        (again,) = emitted(decision)
        extensions: dict[str, Any] = {**again.extensions}
        event = received(rounds + 1, id_=again.id, source=again.source, **extensions)
        ledger = decision.ledger

    assert rounds == MAX_HOPS + 1


# ── which events, which session ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "outcome"),
    [({"n": 1}, "handled"), ({"n": 0}, "ignored"), ({}, "dead_lettered"), ({"n": "1"}, "ignored")],
)
def test_where_lets_events_in(data: Any, outcome: str) -> None:
    agent = program({"state": {"n": 1}}, subscribe=[{"type": ASKED, "where": "event.data.n == 1"}])

    assert decide(agent, Ledger(), received(1, data=data)).outcome == outcome


def test_a_direct_event_needs_no_subscription() -> None:
    agent = program({"state": {"n": 1}}, subscribe=[{"type": "other.type", "where": "false"}])

    assert decide(agent, Ledger(), received(1, inbox=True)).outcome == "handled"
    assert decide(agent, Ledger(), received(1)).outcome == "ignored"


def test_a_second_subscription_lets_in_what_the_first_does_not() -> None:
    agent = program(
        {"state": {"n": 1}},
        subscribe=[{"type": ASKED, "where": "event.source == '/nobody'"}, {"type": "com.*.question.>"}],
    )

    assert decide(agent, Ledger(), received(1)).outcome == "handled"


def test_an_ignored_event_opens_no_session() -> None:
    decision = on_one({"when": "false", "state": {"n": 1}})

    assert decision.outcome == "ignored"
    assert decision.ledger.sessions == {}


@pytest.mark.parametrize("key", ["event.data.order", "''", "event.data.missing", "dyn([1])"])
def test_a_key_that_is_no_string_is_a_dead_letter(key: str) -> None:
    agent = program({"state": {"n": 1}}, session={"key": key})

    decision = decide(agent, Ledger(), received(1, data={"order": 7}))

    code, message, handler = only_letter(decision)
    assert code in ("BadSessionKey", "ExpressionFailed")
    assert "spec.session.key" in message
    assert handler is None


@pytest.mark.parametrize("data", ["admin\0x", ["admin\0x"], {"role": "admin\0x"}, {"role\0": "admin"}])
def test_text_that_cel_would_cut_off_decides_nothing(data: Any) -> None:
    agent = program({"when": "event.data.role == 'admin'", "state": {"granted": True}})

    decision = decide(agent, Ledger(), received(1, data=data))

    code, message, handler = only_letter(decision)
    assert (code, handler) == ("BadData", None)
    assert "U+0000" in message


def test_bytes_are_base64_to_expressions_so_that_no_zero_cuts_them_off() -> None:
    decision = on_one({"state": {"n": "${base64.decode(event.data).size()}"}}, data=b"a\0bc")

    assert session_states(decision.ledger) == {"e1": {"n": 4}}


# ── identity ────────────────────────────────────────────────────────────────────────────────────────────────────────

SCRIPT = """
from heed.core.ledger.ledger import dump_ledger
from heed.core.codec.canonical_json import dump_compact
from tests.builders.agents import job, program
from tests.builders.decisions import after
from tests.builders.events import received
agent = program(
    {"state": {"b": {"y": 1, "x": "${event.data}"}, "a": 1}, "start": [{"task": "work", "input": {"z": 1, "a": 2}}],
     "emit": [{"type": "x.y", "data": "${event.data}"}]},
    tasks={"work": job("${input.z}")},
)
ledger = after(agent, received(1, data={"k": 1, "j": [2]}), received(2, correlationid="e1", data={}))
print(dump_compact(dump_ledger(ledger)))
"""


def test_another_process_makes_the_same_ledger_byte_for_byte() -> None:
    paths = f"import sys; sys.path[:0] = {sys.path!r}\n"

    runs = {
        subprocess.run(
            [sys.executable, "-c", paths + SCRIPT],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }

    assert len(runs) == 1


def test_what_a_decision_wants_is_what_its_ledger_owes() -> None:
    decision = on_one(
        {"start": [{"task": "work"}], "emit": [{"type": "x.a"}, {"type": "x.b"}]}, tasks={"work": job()}
    )

    assert len(decision.effects) == 3
    assert [type(effect) for effect in decision.effects] == [StartTask, Publish, Publish]
    assert list_owed_effects(decision.ledger) == list(decision.effects)
    assert list_owed_effects(load_ledger(as_stored(dump_ledger(decision.ledger)))) == list(decision.effects)
