"""One timer for many due times; time is given."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from heed.engine import timer_heap
from heed.engine.timer_heap import MAX_SLEEP_S, MIN_SLEEP_S, TimerHeap


class Heap:
    """A heap at a time that is given, with what it asked of the event loop, and what rang."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.delays, self.handles = 0.0, list[float](), list[asyncio.TimerHandle]()
        self.rang: list[str] = []
        self.timers = TimerHeap()
        monkeypatch.setattr(timer_heap, "unix_time", lambda: self.now)
        loop = asyncio.get_running_loop()
        call_later = loop.call_later

        def noted(
            delay: float, callback: Callable[..., object], *args: Any, **more: Any
        ) -> asyncio.TimerHandle:
            handle = call_later(1000, callback, *args, **more)
            self.delays.append(delay)
            self.handles.append(handle)
            return handle

        monkeypatch.setattr(loop, "call_later", noted)

    def set(self, key: str, at: float, *, then: Callable[[], None] = lambda: None) -> None:
        """Let a key ring at a time."""

        def ring() -> None:
            self.rang.append(key)
            then()

        self.timers.set(key, at, ring)

    def wake(self, now: float) -> list[str]:
        """As if the event loop's timer had run out now. What rang."""
        self.now, self.rang = now, []
        self.handles[-1].cancel()
        self.timers._wake()
        return self.rang

    @property
    def armed(self) -> int:
        """How many timers of the event loop there are."""
        return sum(not handle.cancelled() for handle in self.handles)


@pytest.fixture
async def heap(monkeypatch: pytest.MonkeyPatch) -> Heap:
    return Heap(monkeypatch)


async def test_there_is_one_timer_for_the_next_of_all(heap: Heap) -> None:
    heap.set("a", 30)
    heap.set("b", 20)
    heap.set("c", 40)

    assert heap.delays == [30, 20]
    assert heap.armed == 1


async def test_what_is_due_rings_in_order_and_once(heap: Heap) -> None:
    for key, at in (("c", 30), ("a", 10), ("b", 20)):
        heap.set(key, at)

    assert heap.wake(20) == ["a", "b"]
    assert len(heap.timers) == 1
    assert heap.delays[-1] == 10
    assert heap.wake(30) == ["c"]
    assert len(heap.timers) == 0


async def test_a_key_has_one_time(heap: Heap) -> None:
    heap.set("a", 10)
    heap.set("a", 20)

    assert heap.wake(10) == []
    assert heap.wake(20) == ["a"]


async def test_what_is_dropped_does_not_ring(heap: Heap) -> None:
    heap.set("a", 10)
    heap.set("b", 20)
    heap.timers.drop("a")
    heap.timers.drop("nobody")

    assert heap.wake(20) == ["b"]


async def test_where_nothing_is_left_there_is_no_timer(heap: Heap) -> None:
    heap.set("a", 10)

    heap.timers.drop("a")

    assert heap.handles[-1].cancelled()


@pytest.mark.parametrize(
    ("at", "delay"), [(0, MIN_SLEEP_S), (0.5, 0.5), (60, MAX_SLEEP_S), (1e9, MAX_SLEEP_S)]
)
async def test_it_sleeps_neither_very_short_nor_very_long(heap: Heap, at: float, delay: float) -> None:
    heap.set("a", at)

    assert heap.delays == [delay]


async def test_a_clock_that_was_set_is_noticed_after_a_sleep(heap: Heap) -> None:
    heap.set("a", 100)
    assert heap.wake(60) == []
    assert heap.delays == [60, 40]

    assert heap.wake(3600) == ["a"]


async def test_what_a_ring_sets_is_for_the_next_time(heap: Heap) -> None:
    heap.set("a", 10, then=lambda: heap.set("a", 10))

    assert heap.wake(10) == ["a"]
    assert heap.delays[-1] == MIN_SLEEP_S
    assert heap.armed == 1


async def test_a_ring_that_fails_does_not_end_the_others(
    heap: Heap, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    heap.set("a", 10, then=fail)
    heap.set("b", 30)

    heap.set("c", 10)

    assert heap.wake(10) == ["a", "c"]
    assert heap.wake(30) == ["b"]
    assert "a due time was lost" in caplog.text


@pytest.mark.parametrize("times", [range(1, 1001), range(1999, 999, -1)], ids=["later", "sooner"])
async def test_times_that_were_replaced_take_no_memory_for_ever(heap: Heap, times: range) -> None:
    heap.set("b", 2000)
    for at in times:
        heap.set("a", at)
        assert len(heap.timers._heap) <= 2 * 2 + 16

    assert heap.wake(999) == []
    assert heap.wake(1000) == ["a"]
    assert heap.wake(2000) == ["b"]


async def test_a_heap_is_tidied_only_where_most_of_it_is_of_the_past(heap: Heap) -> None:
    keys = [f"k{number}" for number in range(50)]
    for at in (200, 100):
        for key in keys:
            heap.set(key, at)

    assert len(heap.timers._heap) == 2 * len(keys)
    for at in range(16):
        heap.set("k0", 99 - at)
    assert len(heap.timers._heap) == 2 * len(keys) + 16
    heap.set("k0", 50)
    assert len(heap.timers._heap) == len(keys)
