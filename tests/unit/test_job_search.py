"""Searches for Jobs that no watch shows: one for each task, as long as need be, and none after the end."""

import asyncio
from collections.abc import Callable

import pytest

from heed.core.effects import AgentRef
from heed.errors import TaskUnavailable
from heed.kube.jobs import search
from heed.kube.jobs.search import JobSearches
from heed.util.backoff import Backoff
from tests.integration.waiting import until

AGENT = AgentRef("demo", "researcher", "uid")


class World:
    """Says what it was asked for; `answers` are given one after the other, the last one for ever."""

    def __init__(self, *answers: bool | Exception) -> None:
        self.looks, self.answers = 0, list(answers)
        self.searches = JobSearches(AGENT, self.look)

    async def look(self, task_id: str) -> bool:
        self.looks += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def at_work(self) -> int:
        """How many searches there are, known to be or not."""
        return sum("Searches._search" in repr(task.get_coro()) for task in asyncio.all_tasks())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SEARCH_BACKOFF", Backoff(0.001, 60.0))


async def test_it_looks_until_there_is_no_need_to() -> None:
    world = World(True, TaskUnavailable("away"), True, False)

    world.searches.begin("work-1")
    await until(lambda: not world.at_work())

    assert world.looks == 4


async def test_there_is_one_search_for_each_task() -> None:
    world = World(True)

    for _ in range(3):
        world.searches.begin("work-1")
        world.searches.continue_search("work-1")
        world.searches.continue_search("work-2")
    await until(lambda: world.looks > 9 and world.at_work() == 2)

    world.searches.close()
    await until(lambda: not world.at_work())


async def test_news_of_a_task_that_is_looked_for_have_it_looked_for_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a search whose next look is far away
    monkeypatch.setattr(search, "SEARCH_BACKOFF", Backoff(3600.0, 3600.0))
    world = World(True, False)
    world.searches.begin("work-1")
    await until(lambda: world.looks == 1)

    world.searches.begin("work-1")

    await until(lambda: not world.at_work())
    assert world.looks == 2


async def test_after_the_end_nothing_is_looked_for() -> None:
    world = World(True)
    world.searches.begin("work-1")
    await until(lambda: world.looks > 0)

    world.searches.close()
    world.searches.begin("work-2")
    world.searches.continue_search("work-3")
    await until(lambda: not world.at_work())

    looks = world.looks
    await asyncio.sleep(0)
    assert world.looks == looks


async def delays_of(
    monkeypatch: pytest.MonkeyPatch, world: World, begin: Callable[[str], None]
) -> list[float]:
    """The delays before each look of a search that ends, at once."""
    slept: list[float] = []
    nap = asyncio.sleep

    async def sleep(delay: float) -> None:
        slept.append(delay)
        await nap(0)

    monkeypatch.setattr(search, "SEARCH_BACKOFF", Backoff(first_s=5.0, last_s=60.0))
    monkeypatch.setattr(asyncio, "sleep", sleep)
    begin("work-1")
    while world.at_work():
        await nap(0)
    return slept


async def test_it_looks_less_and_less_often_but_every_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(*[True] * 6, False)

    assert await delays_of(monkeypatch, world, world.searches.begin) == [0, 5, 10, 20, 40, 60, 60]


async def test_where_it_cannot_tell_it_looks_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(True, True, TaskUnavailable("away"), TaskUnavailable("away"), True, False)

    assert await delays_of(monkeypatch, world, world.searches.begin) == [0, 5, 10, 5, 5, 10]


async def test_after_a_look_of_others_the_next_one_can_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(True, False)

    assert await delays_of(monkeypatch, world, world.searches.continue_search) == [5, 10]
