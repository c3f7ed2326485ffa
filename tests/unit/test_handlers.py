"""What handlers make of one event within a session: each field of it, and how they fail."""

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.core.codec.canonical_json import dump_compact
from heed.core.compiler.program import Program
from heed.core.decision.handlers import react
from heed.core.decision.model import EmitRequest, HandlerResult, StartRequest
from heed.errors import DecisionFailed
from tests.builders.agents import program
from tests.unit.reactions import failure, reacted, reacting

# ── what is collected ───────────────────────────────────────────────────────────────────────────────────────────────

BUSY = reacting(
    {"state": {"n": "${event.data.n}"}, "cancel": [{"task": "other"}]},
    {"when": "state.n == 8"},
    {
        "start": [
            {"task": "work", "input": {"n": "${state.n}"}},
            {"from": "${[{'task': 'other'}, {'task': 'work', 'input': 1.0}]}"},
        ],
        "emit": [
            {"type": "x.${event.data.n}", "data": "${state}", "subject": "s", "to": "other"},
            {"from": "${[{'type': 'x.y'}, {'type': 'x.z', 'data': 1, 'subject': 'a', 'to': 'b'}]}"},
            {"from": "${[]}"},
        ],
    },
)


def test_everything_that_handlers_do_is_collected_in_order() -> None:
    wishes = [
        StartRequest("h2", "work", {"n": 7}),
        StartRequest("h2", "other", None),
        StartRequest("h2", "work", 1),
    ]
    events: list[dict[str, Any]] = [
        {"type": "x.7", "data": {"n": 7, "old": 1}, "subject": "s", "to": "other"},
        {"type": "x.y"},
        {"type": "x.z", "data": 1, "subject": "a", "to": "b"},
    ]

    assert reacted(BUSY, {"n": 7}, {"old": 1}) == HandlerResult(
        state={"old": 1, "n": 7},
        state_size=len('{"n":7,"old":1}'),
        output_bytes=sum(len(dump_compact(item)) for item in [*(wish.input for wish in wishes), *events]),
        handlers=["h0", "h2"],
        starts=wishes,
        emits=[EmitRequest("h2", item) for item in events],
        cancels={"other"},
    )


def test_where_no_condition_holds_nothing_is_done() -> None:
    assert reacted(reacting({"when": "false"}), state={"n": 1}) == HandlerResult({"n": 1})


def test_the_state_that_was_given_stays_as_it_is() -> None:
    before = {"n": 1}

    assert reacted(BUSY, {"n": 2}, before).state == {"n": 2}
    assert before == {"n": 1}


def test_the_end_of_a_session_drops_its_state_its_starts_and_its_cancellations_but_no_event() -> None:
    ending = reacting(
        {
            "state": {"n": 1},
            "start": [{"task": "work"}],
            "cancel": [{"task": "work"}],
            "emit": [{"type": "x.y"}],
        },
        {"end": True, "emit": [{"type": "x.last", "data": "${state.n}"}]},
        {"when": "state == {}", "start": [{"task": "other"}]},
    )

    found = reacted(ending, state={"old": 1})

    assert found.ended
    assert (found.state, found.state_size, found.cancels) == ({}, 2, set())
    assert found.starts == [StartRequest("h2", "other", None)]
    assert [item.event for item in found.emits] == [{"type": "x.y"}, {"type": "x.last", "data": 1}]
    assert found.handlers == ["h0", "h1", "h2"]


# ── failures ────────────────────────────────────────────────────────────────────────────────────────────────────────

NULL = "event.data is null, not a map; ask first: type(event.data) == map && has(event.data.n)"
FAILING: list[tuple[dict[str, Any], str, str]] = [
    ({"when": "event.data.n == 1"}, "ExpressionFailed", f"spec.handlers[1].when: {NULL}"),
    ({"state": "${event.data}"}, "BadState", "spec.handlers[1].state: yields null, not a map"),
    ({"state": "${event.data.n}"}, "TemplateFailed", f"spec.handlers[1].state: ${{event.data.n}}: {NULL}"),
    (
        {"start": [{"task": "work"}, {"task": "work", "input": ["${event.data.n}"]}]},
        "TemplateFailed",
        f"spec.handlers[1].start[1].input[0]: ${{event.data.n}}: {NULL}",
    ),
    (
        {"start": [{"from": "${event.data.n}"}]},
        "TemplateFailed",
        f"spec.handlers[1].start[0].from: ${{event.data.n}}: {NULL}",
    ),
    (
        {"start": [{"from": "${event.data}"}]},
        "BadList",
        "spec.handlers[1].start[0].from: yields null, not a list of maps",
    ),
    (
        {"start": [{"from": "${[{}, 1]}"}]},
        "BadList",
        "spec.handlers[1].start[0].from: yields a list, not a list of maps",
    ),
    (
        {"start": [{"from": "${[{'task': 'work'}, {'task': 'work', 'inputs': 1, 'data': 2}]}"}]},
        "BadList",
        'spec.handlers[1].start[0].from: unknown member "data"; known are input, priority, task',
    ),
    (
        {"start": [{"from": "${[{'task': 'work', 'input': 18446744073709551615u}]}"}]},
        "NumberOutOfRange",
        "spec.handlers[1].start[0].from: integer 18446744073709551615 does not fit 64 bits; keep it as a string",
    ),
    (
        {"start": [{"from": "${[{'task': 'wrk'}]}"}]},
        "UnknownTask",
        'there is no task "wrk"; spec.tasks has: other, work',
    ),
    (
        {"emit": [{"type": "x"}, {"type": "x", "data": "${event.data.n}"}]},
        "TemplateFailed",
        f"spec.handlers[1].emit[1].data: ${{event.data.n}}: {NULL}",
    ),
    (
        {"emit": [{"from": "${event.data.n}"}]},
        "TemplateFailed",
        f"spec.handlers[1].emit[0].from: ${{event.data.n}}: {NULL}",
    ),
    (
        {"emit": [{"from": "${[{'type': 'x', 'input': 1}]}"}]},
        "BadList",
        'spec.handlers[1].emit[0].from: unknown member "input"; known are data, subject, to, type',
    ),
]


@pytest.mark.parametrize(
    ("agent_", "code", "message"),
    [(reacting({}, handler), code, message) for handler, code, message in FAILING],
)
def test_a_handler_that_breaks_says_where_and_on_what(agent_: Program, code: str, message: str) -> None:
    assert failure(agent_) == (code, message, "h1")


def test_an_agent_without_tasks_can_start_none() -> None:
    idle = program({"name": "h", "start": [{"from": "${[{'task': 'work'}]}"}]})

    assert failure(idle) == ("UnknownTask", 'there is no task "work"; spec.tasks has: none', "h")


def test_a_verdict_is_given_whatever_the_handlers_say() -> None:
    verdict = DecisionFailed("TooCostly", "takes too long", "h0")

    assert failure(replace(reacting({"when": "false"}), verdict=verdict)) == (
        "TooCostly",
        "takes too long",
        "h0",
    )


def test_tasks_have_a_variable_of_their_own_in_events_of_tasks() -> None:
    hearing = reacting({"type": names.TASK_COMPLETED, "state": {"n": "${task.name}"}})
    variables = {"event": {}, "agent": {}, "session": {}, "task": {"name": "work"}, "input": {}}

    assert react(hearing, hearing.reactions, variables, {}).state == {"n": "work"}
