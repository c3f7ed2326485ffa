"""Slots for requests to sinks: a bound for all, one for each namespace, and who is next."""

import asyncio

import pytest

from heed.gateway.subscriptions.slots import RequestSlots

LONG = 60.0


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


class Queue:
    """Namespaces that ask for slots; `served` has those that got one, in order."""

    def __init__(self, slots: RequestSlots) -> None:
        self.slots, self.served = slots, list[str]()
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, *namespaces: str) -> None:
        """Ask for a slot for each."""
        for namespace in namespaces:
            self.tasks.append(asyncio.create_task(self._take(namespace)))
        await settled()

    async def give_back(self, namespace: str) -> None:
        """One of a namespace ends."""
        self.slots.give_back(namespace)
        await settled()

    async def _take(self, namespace: str) -> None:
        assert await self.slots.take(namespace, LONG)
        self.served.append(namespace)


async def test_a_namespace_cannot_take_them_all() -> None:
    queue = Queue(RequestSlots(most=5, most_of_namespace=3))

    await queue.ask("mallory", "mallory", "mallory", "mallory", "alice")

    assert queue.served == ["mallory", "mallory", "mallory", "alice"]
    assert queue.slots.used == 4
    await queue.give_back("mallory")
    assert queue.served[4:] == ["mallory"]


async def test_all_together_have_a_bound() -> None:
    queue = Queue(RequestSlots(most=2, most_of_namespace=2))

    await queue.ask("a", "b", "c")

    assert queue.served == ["a", "b"]
    await queue.give_back("a")
    assert queue.served == ["a", "b", "c"]


async def test_who_has_the_fewest_is_next() -> None:
    queue = Queue(RequestSlots(most=3, most_of_namespace=3))
    await queue.ask("busy", "busy", "busy")

    await queue.ask("busy", "quiet", "busy", "other")
    for _ in range(3):
        await queue.give_back("busy")

    assert queue.served[3:] == ["quiet", "other", "busy"]


async def test_within_a_namespace_the_first_is_first() -> None:
    slots = RequestSlots(most=1, most_of_namespace=1)
    assert await slots.take("a", LONG)
    served: list[int] = []

    async def take(number: int) -> None:
        assert await slots.take("a", LONG)
        served.append(number)

    tasks = [asyncio.create_task(take(number)) for number in range(3)]
    await settled()
    for _ in tasks:
        slots.give_back("a")
        await settled()

    assert served == [0, 1, 2]


async def test_who_waits_in_vain_is_told_so_and_takes_none() -> None:
    slots = RequestSlots(most=1, most_of_namespace=1)
    assert await slots.take("a", LONG)

    assert not await slots.take("a", 0.01)
    assert not await slots.take("b", 0.01)

    slots.give_back("a")
    assert slots.used == 0
    assert await slots.take("b", LONG)


@pytest.mark.parametrize("granted", [False, True])
async def test_who_is_stopped_while_it_waits_keeps_none(granted: bool) -> None:
    queue = Queue(RequestSlots(most=1, most_of_namespace=1))
    await queue.ask("a")
    await queue.ask("b")
    waiting = queue.tasks[-1]

    if granted:
        queue.slots.give_back("a")  # in the moment in which it is stopped
    waiting.cancel()
    await settled()
    if not granted:
        await queue.give_back("a")

    assert waiting.cancelled()
    assert queue.slots.used == 0


async def test_a_slot_is_given_back_whatever_became_of_the_request() -> None:
    slots = RequestSlots(most=1, most_of_namespace=1)
    assert await slots.take("a", LONG)

    with pytest.raises(ValueError), slots.taken("a"):
        raise ValueError

    assert slots.used == 0
