"""The simulator: plays events through Agents on a virtual stream and clock. Pure, so it is repeatable."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from heed.core.compiler.program import Program
from heed.core.decision.code import Answers as CodeAnswers
from heed.core.effects import AgentRef
from heed.core.simulation.steps import Answers, SimulatedMessage, SimulationRun, SimulationStep
from heed.core.simulation.world import SimulatedWorld, with_uid

MAX_SIMULATED_MESSAGES: Final = 10_000


def simulate(
    programs: Sequence[Program],
    given: Sequence[SimulatedMessage],
    answers: Answers,
    *,
    limit: int = MAX_SIMULATED_MESSAGES,
    shuffle: str | None = None,
    until: datetime | None = None,
    advance: timedelta = timedelta(0),
    code: Mapping[AgentRef, CodeAnswers] = MappingProxyType({}),
) -> SimulationRun:
    """Store messages one by one, each once all consequences of the one before are decided; at most `limit` in all.

    After the last given event the clock goes on to what is due by `until`, or within `advance` from there on. `code`
    has the answers of those Agents whose handlers are in code.
    """
    programs = [with_uid(program) for program in programs]
    world = SimulatedWorld(programs, answers, list(given), shuffle, until, advance, code)
    steps: list[SimulationStep] = []
    while len(steps) < limit and (step := world.step()) is not None:
        steps.append(step)
    return SimulationRun(
        steps=tuple(steps),
        programs={program.agent: program for program in world.programs},
        ledgers=world.ledgers,
        waiting=len(world.given) + len(world.caused),
    )
