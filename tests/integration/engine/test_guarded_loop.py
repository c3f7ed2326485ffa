"""A loop meets what it cannot decide: one dead letter, in order, and the fold of the stream is what it is elsewhere."""

from dataclasses import replace

from heed.core.program import Program
from heed.engine.guarding import Guard
from tests.integration.engine.guards import LONG, SEARCH, SHORT
from tests.integration.engine.world import IN, World
from tests.unit.builders import program


def searching(world: World) -> Program:
    """The world's Agent with one costly handler."""
    spec = {"subscribe": [{"type": f"{IN}*"}]}
    return replace(program({**SEARCH, "type": f"{IN}ask"}, **spec), agent=world.program.agent)


async def test_a_bomb_between_others_is_one_dead_letter(world: World, guard: Guard) -> None:
    world.guard, world.program = guard, searching(world)
    for number in range(20):
        await world.send("ask", f"s{number}", {"words": ["rug"], "text": "a lamp"})
    await world.send("ask", "bomb", LONG)
    for number in range(20):
        await world.send("ask", f"t{number}", SHORT if number % 5 == 0 else {"words": [], "text": ""})

    await world.live()
    ledger = await world.quiet(timeout=60)

    assert (ledger.totals.handled, ledger.totals.dead_lettered) == (40, 1)
    assert "bomb" not in ledger.sessions
    assert len(ledger.sessions) == 40
