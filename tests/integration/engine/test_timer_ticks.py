"""Ticks on the real broker: each is decided once, whoever runs the Agent and however late. The clock is set by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from heed import names
from heed.api.status import TimerState
from heed.api.validation import parse_agent
from heed.bus.client.connection import Connection
from heed.core.compiler.program import compile_agent
from heed.core.events import Event
from heed.core.ledger.ledger import Ledger
from heed.errors import BusUnavailable
from tests.integration.engine.oracle import read_back
from tests.integration.engine.points import Doors
from tests.integration.engine.world import OUT, Life, World, handler, worker_manifest, world_on
from tests.integration.manual_timers import ManualTimers
from tests.integration.waiting import until

STEP = timedelta(seconds=10)
TICKED = handler(
    names.TIMER_FIRED,
    state={"at": "${event.data.scheduledAt}"},
    emit=[{"type": f"{OUT}ticked", "data": "${event.data}"}],
)


class Clockwork:
    """A world whose Agent has a timer, `t`, that ticks every ten seconds of its clock."""

    def __init__(self, world: World, timers: ManualTimers) -> None:
        self.world, self.timers = world, timers
        world.timers = timers

    def wind(self, **timer: Any) -> Clockwork:
        """Give the Agent its timer."""
        document = worker_manifest(self.world.namespace, self.world.program.agent.uid)
        document["spec"]["handlers"].append(TICKED)
        document["spec"]["timers"] = {"t": {"cron": "*/10 * * * * *", **timer}}
        self.world.program = compile_agent(parse_agent(document))
        return self

    async def live(self, doors: Doors | None = None) -> Life:
        """Begin a life, and wait until its timers are scheduled."""
        life = await self.world.live(doors)
        await until(lambda: life.loop.ledger is not None and bool(life.loop.ledger.timers))
        return life

    @property
    def ledger(self) -> Ledger:
        ledger = self.world.lives[-1].loop.ledger
        assert ledger is not None
        return ledger

    @property
    def state(self) -> TimerState:
        return self.ledger.timers["t"]

    @property
    def next_at(self) -> datetime:
        assert self.state.next_at is not None
        return datetime.fromisoformat(self.state.next_at)

    async def tick(self) -> datetime:
        """The clock comes to the next tick, which is decided."""
        due = self.next_at
        self.timers.go_to(due)
        await until(lambda: self.next_at > due)
        return due

    async def ticks(self) -> list[dict[str, Any]]:
        """The data of all ticks that were handled, once everything is; each of them counts once."""
        await self.world.check()
        subject = names.event_subject(self.world.namespace, f"{OUT}ticked")
        found = [item.event for item in await read_back(self.world.connection, [subject])]
        data = [item.data for item in found if isinstance(item, Event) and isinstance(item.data, dict)]
        assert len({item["scheduledAt"] for item in data}) == len(data)
        return data


@pytest.fixture
async def clockwork(
    connection: Connection, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Clockwork]:
    """A clockwork that is not wound yet."""
    async with world_on(connection, namespace) as world:
        yield Clockwork(world, ManualTimers(monkeypatch))


def shown(*moments: datetime) -> list[str]:
    return [moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in moments]


async def test_each_tick_is_decided_once(clockwork: Clockwork) -> None:
    await clockwork.wind().live()

    due = [await clockwork.tick() for _ in range(3)]

    ticks = await clockwork.ticks()
    assert [tick["scheduledAt"] for tick in ticks] == shown(*due)
    assert [tick.get("previousAt") for tick in ticks] == [None, *shown(*due[:2])]
    assert due[2] - due[0] == 2 * STEP


@pytest.mark.parametrize(
    "point", ["before end", "after end", "before commit", "after commit", "before emit", "after emit"]
)
async def test_a_tick_survives_the_operator(clockwork: Clockwork, point: str) -> None:
    doors = Doors()
    life = await clockwork.wind().live(doors)
    await clockwork.world.quiet()
    doors.die(point, doors.count(point) + 1)
    due = clockwork.next_at
    clockwork.timers.go_to(due)
    await until(doors.dead.is_set)
    await life.end()

    await clockwork.live()

    await until(lambda: clockwork.next_at > due)
    assert [tick["scheduledAt"] for tick in await clockwork.ticks()] == shown(due)
    assert (await clockwork.world.stored()).ledger.totals.ticks_fired == 1


async def test_two_operators_at_once_make_one_tick(clockwork: Clockwork) -> None:
    await clockwork.wind().live()
    await clockwork.live()

    due = [await clockwork.tick() for _ in range(3)]

    assert [tick["scheduledAt"] for tick in await clockwork.ticks()] == shown(*due)


@pytest.mark.parametrize(
    ("missed", "fired", "counted"),
    [
        ("Latest", [60], 59),
        ("All", list(range(1, 61)), 0),
        ("None", list(range(55, 61)), 54),
    ],
)
async def test_after_an_outage_of_ten_minutes(
    clockwork: Clockwork, missed: str, fired: list[int], counted: int
) -> None:
    # Given a tick on time, and an operator that is gone then for ten minutes
    life = await clockwork.wind(missed=missed).live()
    first = await clockwork.tick()
    await clockwork.world.quiet()
    await life.end()
    clockwork.timers.go_to(first + 60 * STEP + timedelta(seconds=5))

    # When
    await clockwork.live()
    await until(lambda: clockwork.next_at > clockwork.timers.time)

    # Then
    ticks = await clockwork.ticks()
    assert [tick["scheduledAt"] for tick in ticks] == shown(
        first, *(first + number * STEP for number in fired)
    )
    totals = (await clockwork.world.stored()).ledger.totals
    assert (totals.ticks_fired, totals.ticks_missed) == (1 + len(fired), counted)
    assert clockwork.next_at == first + 61 * STEP
    await clockwork.tick()
    assert len(await clockwork.ticks()) == 2 + len(fired)


async def test_an_outage_that_is_longer_than_the_deadline_drops_ticks_without_a_handler(
    clockwork: Clockwork,
) -> None:
    life = await clockwork.wind(startingDeadline="3s").live()
    first = await clockwork.tick()
    await clockwork.world.quiet()
    await life.end()
    clockwork.timers.go_to(first + 3 * STEP + timedelta(seconds=5))

    await clockwork.live()
    await until(lambda: clockwork.next_at > clockwork.timers.time)

    assert len(await clockwork.ticks()) == 1
    totals = (await clockwork.world.stored()).ledger.totals
    assert (totals.ticks_fired, totals.ticks_missed, totals.due) == (1, 3, 2)  # scheduled, and dropped


async def test_a_tick_that_cannot_be_published_in_time_is_as_late_as_it_is(clockwork: Clockwork) -> None:
    # Given a broker that takes nothing
    doors = Doors()
    await clockwork.wind(missed="None").live(doors)
    await clockwork.world.quiet()
    due, away = clockwork.next_at, True

    async def refuse(point: str) -> None:
        if point == "before end" and away:
            raise BusUnavailable("away")

    doors.traps.append(refuse)
    clockwork.timers.go_to(due)
    await until(lambda: doors.count("before end") > 2)

    # When it is back later than a tick may be
    clockwork.timers.go_to(due + timedelta(minutes=2, seconds=5))
    away = False
    await until(lambda: clockwork.next_at > clockwork.timers.time)

    # Then the ticks of the last minute are fired, and not those before
    ticks = await clockwork.ticks()
    assert [tick["scheduledAt"] for tick in ticks] == shown(*(due + number * STEP for number in range(7, 13)))


async def test_an_edited_timer_is_scheduled_anew_by_the_next_generation(clockwork: Clockwork) -> None:
    life = await clockwork.wind().live()
    due = await clockwork.tick()
    await clockwork.world.quiet()
    await life.end()
    clockwork.wind(cron="0 0 * * * *")

    await clockwork.live()
    await until(lambda: (clockwork.next_at.minute, clockwork.next_at.second) == (0, 0))

    assert clockwork.state.previous_at == shown(due)[0]
