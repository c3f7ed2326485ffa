"""How much state the handlers may leave, and how much they may start and emit: each limit on both sides."""

from dataclasses import replace
from typing import Any

import pytest

from heed.core.cel.expression import Scope
from heed.core.codec.strict_json import MAX_JSON_DEPTH
from heed.core.compiler.program import Program
from heed.core.decision.guard import NEEDS_GUARD
from heed.core.decision.requests import MAX_DECISION_BYTES, MAX_STATE_BYTES
from tests.builders.values import nested_lists
from tests.unit.reactions import failure, reacted, reacting

KEEPS, REPEATS = reacting({}), reacting({"state": {"n": "${event.data}"}})
STARTS = reacting(
    {"start": [{"task": "work", "input": "${event.data[0]}"}, {"task": "work", "input": "${event.data[1]}"}]}
)
EMITS = reacting({"emit": [{"from": "${event.data.map(d, {'type': 'x', 'data': d})}"}]})
STATE_TOO_LARGE = (
    "StateTooLarge",
    "the session's state would exceed 131072 bytes; remember references, not contents",
    "h0",
)
MADE_TOO_LARGE = (
    "DecisionTooLarge",
    "what is to be started and emitted exceeds 393216 bytes; pass references",
    "h0",
)


def of_size(size: int) -> str:
    """A text of so many bytes as JSON."""
    return "x" * (size - 2)


def test_a_state_may_be_so_large_and_no_larger() -> None:
    around = len('{"n":}')
    most, more = of_size(MAX_STATE_BYTES - around), of_size(MAX_STATE_BYTES - around + 1)

    assert (
        reacted(REPEATS, most).state_size == reacted(KEEPS, state={"n": most}).state_size == MAX_STATE_BYTES
    )
    assert failure(REPEATS, more) == failure(KEEPS, state={"n": more}) == STATE_TOO_LARGE
    assert failure(KEEPS, state={"n": "é" * (MAX_STATE_BYTES // 2)}) == STATE_TOO_LARGE


def test_the_size_of_a_state_is_that_after_the_last_handler() -> None:
    growing = reacting({"state": {"n": 1}}, {}, {"state": {"m": "xyz"}})

    assert reacted(growing).state_size == len('{"m":"xyz","n":1}')


def test_inputs_of_tasks_may_be_so_large_together_and_no_larger() -> None:
    half = MAX_DECISION_BYTES // 2

    assert reacted(STARTS, [of_size(half), of_size(half)]).output_bytes == MAX_DECISION_BYTES
    assert failure(STARTS, [of_size(half), of_size(half + 1)]) == MADE_TOO_LARGE


def test_events_may_be_so_large_together_and_no_larger() -> None:
    around = len('{"data":,"type":"x"}')
    rest = MAX_DECISION_BYTES - 2 * around - 10

    assert reacted(EMITS, [of_size(10), of_size(rest)]).output_bytes == MAX_DECISION_BYTES
    assert failure(EMITS, [of_size(10), of_size(rest + 1)]) == MADE_TOO_LARGE


def test_what_is_too_large_alone_is_left_to_what_knows_better() -> None:
    large = of_size(MAX_DECISION_BYTES + 1)

    assert len(reacted(EMITS, [large]).emits) == 1
    assert failure(STARTS, [large, "x"]) == MADE_TOO_LARGE
    assert failure(EMITS, [large, "x"]) == failure(EMITS, ["x", large]) == MADE_TOO_LARGE


@pytest.mark.parametrize(("agent_", "path"), [(REPEATS, "state"), (STARTS, "start[0].input")])
def test_values_nest_so_deep_and_no_deeper(agent_: Program, path: str) -> None:
    fits = nested_lists(MAX_JSON_DEPTH - (path == "state"))
    data, deeper = (fits, [fits]) if path == "state" else ([fits, 1], [[fits], 1])

    assert reacted(agent_, data).handlers == ["h0"]
    assert failure(agent_, deeper) == (
        "TooDeep",
        f"spec.handlers[0].{path}: nests deeper than 64 levels; flatten it",
        "h0",
    )


@pytest.mark.parametrize("handler", [{"when": "event.id == ''"}, {"state": {"s": "${event.id}"}}])
def test_without_memory_the_handler_is_named(
    handler: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def starved(self: Any, expression: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(Scope, "evaluate", starved)

    message = "needs too much memory; work on less data, pass references, or shorten the expressions"
    assert failure(reacting(handler)) == ("TooCostly", message, "h0")


def test_a_careful_program_leaves_what_may_be_costly_with_the_state_there_is() -> None:
    searching = {"when": "state.words.all(w, !state.text.contains(w))", "state": {"n": "${1}"}}
    careful = replace(reacting(searching), careful=True)

    assert reacted(careful, state={"words": ["lamp"], "text": "a rug"}).handlers == ["h0"]
    assert failure(careful, state={"words": ["xz"] * 5000, "text": "x" * 5000})[0] == NEEDS_GUARD
