"""Turns of tasks that compute: one per round of the event loop, first come, first served."""

from __future__ import annotations

import asyncio

from heed.util.cpu_turns import turns


class Rounds:
    """Counts the rounds of the running event loop."""

    def __init__(self) -> None:
        self.now = 0
        asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self.now += 1
        asyncio.get_running_loop().call_soon(self._next)


def test_one_task_goes_on_per_round_in_the_order_of_asking() -> None:
    async def run() -> list[tuple[str, int]]:
        rounds, went = Rounds(), list[tuple[str, int]]()

        async def work(name: str) -> None:
            for _ in range(3):
                await turns().take()
                went.append((name, rounds.now))

        await asyncio.gather(*(work(name) for name in "abc"))
        return went

    went = asyncio.run(run())

    assert [name for name, _ in went] == list("aabcabcbc")  # the first one asks again before the others begin
    assert len({number for _, number in went}) == len(went)


def test_a_task_alone_goes_on_at_once_and_then_round_after_round() -> None:
    async def run() -> list[int]:
        rounds = Rounds()
        went = []
        for _ in range(3):
            await turns().take()
            went.append(rounds.now)
        return went

    first, second, third = asyncio.run(run())

    assert (first, third - second) == (0, 1)
    assert second > first


def test_who_gave_up_waiting_holds_nobody_up() -> None:
    async def run() -> str:
        await turns().take()
        gone = asyncio.create_task(turns().take())
        waiting = asyncio.create_task(turns().take())
        await asyncio.sleep(0)
        gone.cancel()
        await waiting
        await turns().take()
        return "all had their turns"

    assert asyncio.run(run()) == "all had their turns"


def test_each_event_loop_has_turns_of_its_own() -> None:
    async def one() -> object:
        assert turns() is turns()
        await turns().take()
        return turns()

    assert asyncio.run(one()) is not asyncio.run(one())
