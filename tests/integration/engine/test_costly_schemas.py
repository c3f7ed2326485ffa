"""Checking data against a schema costs no other Agent anything either, however much it takes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heed.api.event_type import EventType
from heed.core.compiler.program import Program
from heed.core.decision.decide import decide
from heed.core.ledger.ledger import Ledger
from heed.core.schema.registry import compile_schemas
from heed.sandbox.decision_pool import DecisionPool
from tests.builders.events import received
from tests.builders.policies import event_type
from tests.integration.engine.guards import code_and_handler, of, stand_in
from tests.unit.test_event_types import ANSWERED

TREE = {"properties": {"in": {"items": {"$ref": "#"}}, "name": {"type": "string"}}}
SLOW = {"properties": {"text": {"pattern": "(a|b)*a(a|b){40}c"}}}
LONG = {"text": "ab" * 50_000}


def typed(type_: EventType, *handlers: dict[str, Any]) -> Program:
    """An Agent in whose namespace there is this type."""
    schemas, refused = compile_schemas([type_])
    assert not refused
    return replace(of("typed", *(handlers or ({"state": {"n": "${1}"}},))), schemas=schemas)


async def test_what_may_be_costly_is_decided_elsewhere_and_just_the_same(guard: DecisionPool) -> None:
    program = typed(event_type(TREE))
    fits = {"name": "a", "in": [{"name": "b", "in": []}]}
    misfits = {"name": "a", "in": [{"name": 3}]}

    for number, data in enumerate((fits, misfits), 1):
        event = received(number, data=data)
        decision = await guard.of(program).decide(Ledger(), event)
        assert decision == decide(program, Ledger(), event)
    assert len(guard.pids) == 1


async def test_what_is_harmless_needs_no_other_process(guard: DecisionPool) -> None:
    program = typed(event_type({"type": "object", "required": ["a"], "properties": {"a": {"pattern": "^a"}}}))

    decision = await guard.of(program).decide(Ledger(), received(1, data={"a": "b"}))

    assert code_and_handler(decision) == ("SchemaViolation", None)
    assert guard.pids == []


async def test_a_check_that_takes_too_long_is_one_dead_letter_that_names_the_type(
    guard: DecisionPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, "while True: pass")
    guarded = guard.of(typed(event_type(SLOW, name="slow")))

    decision = await guarded.decide(Ledger(), received(1, data=LONG))

    assert code_and_handler(decision) == ("TooCostly", None)
    assert "EventType demo/slow: took more than 2 s of CPU time" in str(decision.letter)
    assert (await guarded.decide(decision.ledger, received(2, data={"text": "ac"}))).letter is not None


async def test_a_check_of_what_is_emitted_is_guarded_too(guard: DecisionPool) -> None:
    emitting = {"name": "tell", "emit": [{"type": ANSWERED, "data": {"name": "a", "in": [{"name": 7}]}}]}
    program = typed(event_type(TREE, ANSWERED), emitting)

    decision = await guard.of(program).decide(Ledger(), received(1))

    assert code_and_handler(decision) == ("SchemaViolation", "tell")
    assert len(guard.pids) == 1
