"""Agents that read nothing, or not so fast: what goes on meanwhile, and that all of it is decided in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from heed import names
from heed.api.agent import RateLimitSpec
from heed.core.events import Event
from heed.core.ledger.ledger import Ledger
from heed.engine import due_publisher
from tests.integration.engine.oracle import read_back
from tests.integration.engine.points import Doors
from tests.integration.engine.world import AGENT, Life, World, connected, world_on
from tests.integration.waiting import until
from tests.nats_server import NatsServer


def said(world: World, **spec: Any) -> None:
    """The Agent's manifest says this from now on."""
    agent = world.program.manifest
    edited = agent.model_copy(update={"spec": agent.spec.model_copy(update=spec)})
    world.program = replace(world.program, manifest=edited)


async def resumed(life: Life) -> Ledger:
    """The ledger that a loop goes by, once it has one."""
    await until(lambda: life.loop.ledger is not None)
    assert life.loop.ledger is not None
    return life.loop.ledger


def has_passed(life: Life, point: str) -> bool:
    return life.doors.count(point) > 0


def is_limited(life: Life) -> bool:
    return life.loop.limited


def has_started_all(life: Life) -> bool:
    """Whether every pending task is known to have started."""
    return {task.phase for task in (life.loop.pending_tasks or {}).values()} == {"Started"}


async def ends(world: World) -> list[tuple[str | None, Any]]:
    """What was said of tasks in the Agent's inbox: the subject, and the reason where it failed."""
    inbox = names.inbox_subject(world.namespace, AGENT, ">")
    events = [item.event for item in await read_back(world.connection, [inbox])]
    return [
        (event.subject, event.data.get("reason"))
        for event in events
        if isinstance(event, Event) and isinstance(event.data, dict)
    ]


# ── suspend ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_running_tasks_go_on_and_their_ends_wait_until_the_agent_is_resumed(world: World) -> None:
    # Given a task that runs, and one that was decided and not started when the Agent was suspended
    life = await world.live()
    await world.send("ask", "runs", {})
    await world.quiet()
    (runs,) = world.jobs.running
    await life.end()
    doors = Doors()
    doors.die("before start")
    dying = await world.live(doors)
    await world.send("ask", "owed", {})
    await until(doors.dead.is_set)
    await dying.end()
    said(world, suspend=True)
    life = await world.live()
    before = await resumed(life)

    # When the one ends, the other is started all the same, and events come
    await until(lambda: len(world.jobs.running) == 2)
    world.jobs.finish(runs, "done")
    await until(lambda: life.doors.count("after end") == 1)
    await world.send("note", "runs", id="noted")
    await until(partial(has_started_all, life))

    # Then nothing is decided
    ledger = (await world.stored()).ledger
    assert (ledger.cursor, ledger.totals) == (before.cursor, before.totals)
    assert runs in ledger.pending_tasks
    assert await ends(world) == [(runs, None)]
    await life.end()

    # Until it goes on
    said(world, suspend=False)
    await world.live()
    ledger = await world.check()
    assert ledger.sessions["runs"].state == {"asked": "e1", "done": runs, "noted": "noted"}
    assert [task.outcome for task in ledger.recent_tasks] == ["Completed"]


async def test_a_deadline_holds_and_is_decided_once_however_often_it_was_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a task with a deadline, whose Agent is suspended
    monkeypatch.setattr(due_publisher, "END_GRACE_S", 0.0)
    world.program = replace(world.program, tasks={"work": replace(world.program.tasks["work"], timeout=1)})
    doors = Doors()
    doors.die("after start")
    life = await world.live(doors)
    await world.send("ask", "s", {})
    await until(doors.dead.is_set)
    await life.end()
    said(world, suspend=True)

    # When it passes, with two operators one after the other
    for _ in range(2):
        life = await world.live()
        await until(partial(has_passed, life, "after end"))
        await life.end()

    # Then its Job is gone, its end waits, and is decided when the Agent goes on
    assert not world.jobs.there
    assert len((await world.stored()).ledger.pending_tasks) == 1
    said(world, suspend=False)
    await world.live()
    ledger = await world.check()
    assert [(task.outcome, task.reason) for task in ledger.recent_tasks] == [("Failed", "DeadlineExceeded")]
    assert ledger.sessions["s"].state["failed"] == "DeadlineExceeded"


@pytest.fixture
async def alone(own_server: NatsServer, namespace: str) -> AsyncIterator[World]:
    """An Agent on a broker of its own."""
    async with connected(own_server.url) as connection, world_on(connection, namespace) as world:
        yield world


async def noise(world: World) -> int:
    """Events of another namespace; the sequence of the last one."""
    subject = names.event_subject("elsewhere", "com.example.noise")
    return [
        await world.bus.publish(
            subject, Event(f"n-{number}", "/else", "com.example.noise"), deduplicate=False
        )
        for number in range(40)
    ][-1]


@pytest.mark.parametrize("missed", [0, 2])
async def test_only_what_the_stream_dropped_of_its_own_is_missed(alone: World, missed: int) -> None:
    # Given an Agent that heard something, and was suspended then
    life = await alone.live()
    await alone.send("note", id="heard")
    before = (await alone.quiet()).cursor.sequence
    await life.end()
    said(alone, suspend=True)
    life = await alone.live()
    await resumed(life)

    # When the stream drops all that came since
    for number in range(missed):
        await alone.send("note", id=f"unheard-{number}")
    last = await noise(alone)
    await life.loop.keep_up(1, last)
    if not missed:
        await until(lambda: (life.loop.ledger or Ledger()).cursor.sequence == last)
    await life.end()
    await alone.connection.api(f"STREAM.PURGE.{names.STREAM}", {"seq": last + 1})

    # Then it is counted where something of it may have been for the Agent
    said(alone, suspend=False)
    await alone.live()
    await alone.send("note", id="the last one")
    ledger = await alone.quiet()
    assert ledger.totals.expired == (last - before if missed else 0)
    assert ledger.totals.handled == 2


# ── rate limits ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_limited_agent_decides_everything_in_order_through_the_deaths_of_its_operators(
    world: World,
) -> None:
    # Given more events than may be decided at once
    said(world, rate_limit=RateLimitSpec(events=40, burst=1))
    sent = [await world.send("note", f"s{number}") for number in range(12)]

    # When operators die over them
    doors = Doors()
    doors.die("after commit")
    for number in range(3):
        life = await world.live(doors if number == 1 else None)
        await until(partial(is_limited, life))
        if number == 1:
            await until(doors.dead.is_set)
        await life.end()
    life = await world.live()

    # Then each is decided once, in its turn
    ledger = await world.check()
    assert ledger.totals.handled == len(sent)
    cursors = [item.cursor.sequence for life in world.lives for item in life.doors.ledgers]
    assert cursors == sorted(cursors)


async def test_an_event_that_is_held_back_holds_up_the_end_of_a_task_behind_it_and_effects_go_on(
    world: World,
) -> None:
    # Given an Agent with a task, for which an event takes an hour
    life = await world.live()
    await world.send("ask", "s", {})
    await world.quiet()
    (task,) = world.jobs.running
    await life.end()
    said(world, rate_limit=RateLimitSpec(events=1, per="1h"))
    life = await world.live()
    ignored = await world.send("nobody-heeds-it")
    await until(lambda: (life.loop.ledger or Ledger()).cursor.sequence == ignored)

    # When the task ends behind an event that is held back
    await world.send("note", id="held")
    await until(lambda: life.loop.limited)
    world.jobs.finish(task, 1)
    await until(lambda: life.doors.count("after end") == 1)
    await asyncio.sleep(0)

    # Then neither is decided, until the limit is gone
    assert life.loop.ledger is not None
    assert (life.loop.ledger.totals.handled, life.loop.ledger.cursor.sequence) == (1, ignored)
    assert life.loop.lag is not None and life.loop.lag.events >= 1
    await life.end()
    said(world, rate_limit=None)
    await world.live()
    assert (await world.check()).totals.handled == 3
