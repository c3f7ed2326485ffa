"""The loop of an Agent whose code is missing for an event: what was decided before it is committed all the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from heed.core.compiler.program import Program
from heed.core.decision.model import Decision
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger
from heed.engine.deciders import Decider, Deciders
from heed.errors import AnswerLate, CodeUnavailable
from tests.integration.waiting import until
from tests.unit.inmemory import Bus, Reader
from tests.unit.loops import SAY, Life, Lives


class UnreadyCode(Deciders):
    """Deciders that have no code at these places. `asked` are all places that a decision was asked for."""

    def __init__(self, *places: int) -> None:
        super().__init__()
        self.places, self.asked = set(places), list[int]()

    def of(self, program: Program) -> Decider:
        """One that asks this."""
        return _Unready(self, super().of(program))


class _Unready:
    def __init__(self, code: UnreadyCode, decider: Decider) -> None:
        self._code, self._decider = code, decider

    async def decide(self, ledger: Ledger, received: Received, **more: Any) -> Decision:
        self._code.asked.append(received.sequence)
        if received.sequence in self._code.places:
            raise CodeUnavailable("no worker is there")
        return await self._decider.decide(ledger, received, **more)

    def stop(self) -> None:
        self._decider.stop()


@pytest.fixture
def code() -> UnreadyCode:
    return UnreadyCode()


class SlowCode(Deciders):
    """Deciders that wait for the answer to an event for as long as it is late."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place, self.late, self.asked = place, True, list[int]()

    def of(self, program: Program) -> Decider:
        """One that waits for this."""
        return _Slow(self, super().of(program))


class _Slow:
    def __init__(self, code: SlowCode, decider: Decider) -> None:
        self._code, self._decider = code, decider

    async def decide(self, ledger: Ledger, received: Received, **more: Any) -> Decision:
        self._code.asked.append(received.sequence)
        if self._code.late and received.sequence == self._code.place:
            await asyncio.sleep(0.01)
            raise AnswerLate("not yet")
        return await self._decider.decide(ledger, received, **more)

    def stop(self) -> None:
        self._decider.stop()


async def reading(lives: Lives, code: Deciders, *more: Reader) -> Life:
    bus = Bus()
    bus.readers.extend(more)
    life = lives.of(bus=bus, deciders=code)
    await life.reading()
    return life


async def test_what_was_decided_before_it_is_committed(lives: Lives, code: UnreadyCode) -> None:
    code.places = {3}
    life = await reading(lives, code)

    life.come(1, 2, 3)

    ledger = await life.committed()
    assert life.outcomes() == [[(1, "handled"), (2, "handled")]] and ledger.cursor.sequence == 2


async def test_then_the_code_is_asked_again_before_the_loop_starts_over(
    lives: Lives, code: UnreadyCode
) -> None:
    code.places = {3}
    life = await reading(lives, code)

    life.come(1, 2, 3)

    await until(lambda: bool(life.watcher.troubles))
    assert len(life.outcomes()) == 1 and code.asked[:4] == [1, 2, 3, 3]
    assert [error for error, _ in life.troubles()] == ["no worker is there"]


async def test_a_commit_that_is_in_flight_goes_on(lives: Lives, code: UnreadyCode) -> None:
    code.places = {2}
    life = await reading(lives, code)
    life.store.open.clear()
    life.come(1)
    await until(lambda: life.store.tries == 1)

    life.come(2)
    await until(lambda: 2 in code.asked)
    code.places.clear()
    life.store.open.set()

    await life.committed(2)
    assert life.outcomes() == [[(1, "handled")], [(2, "handled")]]
    assert life.store.loads == 1 and life.watcher.troubles == []


async def test_a_late_answer_holds_up_no_commit_of_what_came_before_it(lives: Lives) -> None:
    code = SlowCode(3)
    life = await reading(lives, code)

    life.come(1, 2, 3)
    ledger = await life.committed()
    assert ledger.cursor.sequence == 2

    code.late = False
    ledger = await life.committed(2)
    assert ledger.cursor.sequence == 3 and life.store.loads == 1 and life.watcher.troubles == []


async def test_nor_the_effects_of_a_commit_that_is_in_flight(lives: Lives) -> None:
    code = SlowCode(2)
    life = lives.of(SAY, bus=Bus(), deciders=code)
    await life.reading()
    life.store.open.clear()
    life.come(1)
    await until(lambda: life.store.tries == 1)

    life.come(2)
    await until(lambda: 2 in code.asked)
    life.store.open.set()

    await until(lambda: len(life.bus.owed) == 1)
    code.late = False
    await until(lambda: len(life.bus.owed) == 2)
    assert life.store.loads == 1 and life.watcher.troubles == []
