"""Slots hold whoever runs the Agent: never too many Jobs at once, and every queued task gets its turn."""

from dataclasses import replace

import pytest

from heed import names
from heed.core.ledger.ledger import Ledger
from heed.core.tasks.retry import RetryPolicy
from heed.core.tasks.slots import SlotLimits
from tests.integration.engine.points import POINTS, Doors
from tests.integration.engine.world import World
from tests.integration.waiting import until

AT_ONCE = RetryPolicy(attempts=2, initial=0, factor=1.0, longest=0, jitter=0.0, reasons=frozenset())


@pytest.fixture
def narrow(world: World) -> World:
    """An Agent that runs two tasks at once."""
    world.program = replace(world.program, slots=SlotLimits(2))
    return world


async def all_ended(world: World, count: int) -> Ledger:
    def over() -> bool:
        ledger = world.lives[-1].loop.ledger
        return ledger is not None and ledger.totals.tasks_completed + ledger.totals.tasks_failed == count

    await until(over)
    return await world.check()


def queued(ledger: Ledger | None) -> list[str]:
    tasks = {} if ledger is None else ledger.pending_tasks
    return [task_id for task_id, task in tasks.items() if task.phase == "Queued"]


async def test_two_run_and_the_others_follow_as_they_end(narrow: World) -> None:
    life = await narrow.live()
    for number in range(5):
        await narrow.send("ask", f"s{number}", {})
    await until(lambda: len(queued(life.loop.ledger)) == 3 and len(narrow.jobs.running) == 2)
    await narrow.quiet()

    while narrow.jobs.running:
        narrow.jobs.finish(min(narrow.jobs.running), 1)
        await narrow.quiet()

    ledger = await all_ended(narrow, 5)
    assert narrow.jobs.most == 2
    assert ledger.totals.tasks_completed == 5


@pytest.mark.parametrize("time", [1, 3])
@pytest.mark.parametrize(
    "point", [point for point in POINTS if "cancel" not in point and "letter" not in point]
)
async def test_killed_at_any_point_nothing_runs_beside_its_slot(narrow: World, point: str, time: int) -> None:
    doors = Doors()
    doors.die(point, time)
    first = await narrow.live(doors)
    for number in range(4):
        await narrow.send("both", f"s{number % 2}", {"finish": number})
    await until(lambda: doors.dead.is_set() or _completed(narrow) == 4)
    await first.end()

    await narrow.live()

    await all_ended(narrow, 4)
    assert narrow.jobs.made == dict.fromkeys(narrow.jobs.made, 1)
    assert len(narrow.jobs.made) == 4
    assert narrow.jobs.most <= 2


async def test_a_queued_task_that_is_cancelled_never_runs(narrow: World) -> None:
    life = await narrow.live()
    for number in range(3):
        await narrow.send("ask", f"s{number}", {})
    await until(lambda: len(queued(life.loop.ledger)) == 1)
    (waiting,) = queued(life.loop.ledger)

    await narrow.send("stop", "s2")

    await until(lambda: life.loop.ledger is not None and life.loop.ledger.totals.tasks_failed == 1)
    await narrow.check()
    assert waiting not in narrow.jobs.made
    assert len(narrow.jobs.running) == 2


async def test_a_manifest_with_more_slots_starts_what_waits(narrow: World) -> None:
    life = await narrow.live()
    for number in range(4):
        await narrow.send("ask", f"s{number}", {})
    await until(lambda: len(queued(life.loop.ledger)) == 2)
    await life.end()

    narrow.program = replace(narrow.program, slots=SlotLimits(3), generation=2)
    await narrow.live()

    await until(lambda: len(narrow.jobs.running) == 3)
    await until(lambda: len(queued(narrow.lives[-1].loop.ledger)) == 1)


async def test_an_attempt_waits_for_its_slot_like_any_other(narrow: World) -> None:
    work = replace(narrow.program.tasks["work"], retry=AT_ONCE)
    narrow.program = replace(narrow.program, tasks={"work": work}, slots=SlotLimits(1))
    await narrow.live()
    for number in range(3):
        await narrow.send("ask", f"s{number}", {"fail": 1, "finish": number})

    ledger = await all_ended(narrow, 3)

    assert (narrow.jobs.most, ledger.totals.retried, ledger.totals.tasks_completed) == (1, 3, 3)
    assert sorted(names.split_attempt(made)[1] for made in narrow.jobs.made) == [1, 1, 1, 2, 2, 2]


def _completed(world: World) -> int:
    ledger = world.lives[-1].loop.ledger
    return 0 if ledger is None else ledger.totals.tasks_completed
