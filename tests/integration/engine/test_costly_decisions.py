"""A loop meets what it cannot decide: one dead letter, in order, and the fold of the stream is what it is elsewhere."""

from dataclasses import replace
from typing import Any

import pytest

from heed.core.compiler.program import Program
from heed.core.decision.decide import Decision, decide
from heed.core.ledger.ledger import Ledger
from heed.sandbox import decision_pool
from heed.sandbox.decision_pool import DecisionPool
from tests.builders.agents import program
from tests.builders.events import received
from tests.integration.engine.guards import LONG, SEARCH, SHORT
from tests.integration.engine.world import IN, World


def searching(world: World) -> Program:
    """The world's Agent with one costly handler."""
    spec = {"subscribe": [{"type": f"{IN}*"}]}
    return replace(program({**SEARCH, "type": f"{IN}ask"}, **spec), agent=world.program.agent)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sequences of the events that this process begins to decide."""
    begun: list[int] = []

    def counting(*args: Any, **more: Any) -> Decision:
        begun.append(args[2].sequence)
        return decide(*args, **more)

    monkeypatch.setattr(decision_pool, "decide", counting)
    return begun


async def test_a_costly_event_is_begun_once_before_it_goes_to_a_worker(
    world: World, guard: DecisionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a handler whose work is three maps in each other, and a large event
    count = "event.data.n.map(a, event.data.n.map(b, [a].map(c, b + c))).size()"
    spec = {"subscribe": [{"type": f"{IN}*"}]}
    reaction = {"name": "cube", "type": f"{IN}ask", "state": {"n": "${" + count + "}"}}
    world.guard, world.program = guard, replace(program(reaction, **spec), agent=world.program.agent)
    begun = counted(monkeypatch)

    await world.send("ask", "large", {"n": list(range(40)), "text": "x" * 100_000})
    await world.live()
    ledger = await world.quiet()

    assert ledger.sessions["large"].state == {"n": 40}
    assert guard.pids
    assert len(begun) == 1


async def test_what_was_found_costly_is_not_asked_again(
    guard: DecisionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, begun = guard.of(program(SEARCH)), counted(monkeypatch)

    for _ in range(3):  # as while its batch finds room
        assert (await agent.decide(Ledger(), received(1, data=SHORT))).outcome == "handled"
    assert (await agent.decide(Ledger(), received(2, data={"words": [], "text": ""}))).outcome == "handled"

    assert begun == [1, 2]


async def test_a_bomb_between_others_is_one_dead_letter(world: World, guard: DecisionPool) -> None:
    world.guard, world.program = guard, searching(world)
    for number in range(20):
        await world.send("ask", f"s{number}", {"words": ["rug"], "text": "a lamp"})
    await world.send("ask", "bomb", LONG)
    for number in range(20):
        await world.send("ask", f"t{number}", SHORT if number % 5 == 0 else {"words": [], "text": ""})

    await world.live()
    ledger = await world.quiet()

    assert (ledger.totals.handled, ledger.totals.dead_lettered) == (40, 1)
    assert "bomb" not in ledger.sessions
    assert len(ledger.sessions) == 40
