"""Tasks that are started, refused, cancelled, abandoned and ended, in every order that a busy day brings."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from heed import names
from heed.api.validation import parse_agent
from heed.core.compiler.program import compile_agent
from heed.core.effects import TaskEnd
from heed.core.tasks.losses import JOB_LOST
from heed.errors import TaskUnavailable
from heed.local.process.runner import ProcessRunner
from heed.util.clock import timestamp
from tests.builders.events import data_of
from tests.integration.engine.points import Doors
from tests.integration.engine.world import AGENT, World, end_of_run, worker_manifest
from tests.integration.waiting import SOON, until


def lost(task_id: str) -> TaskEnd:
    """The end of a task whose Job is gone."""
    return TaskEnd(task_id, names.digest("lost", task_id), timestamp(), False, reason=JOB_LOST)


async def task_of(world: World) -> str:
    """The one pending task, once it runs."""
    await until(lambda: len(world.jobs.running) == 1)
    await world.quiet()
    return next(iter(world.jobs.running))


@pytest.mark.parametrize("last", ["stop", "over"])
async def test_started_and_stopped_in_one_batch_no_job_is_made(world: World, last: str) -> None:
    await world.send("both")
    await world.send(last)

    life = await world.live()
    ledger = await world.check()

    assert life.watcher.commits[0] == 2
    assert not world.jobs.made
    assert life.doors.count("before start") == 0
    assert not ledger.pending_tasks
    assert ledger.totals.tasks_failed == (1 if last == "stop" else 0)


@pytest.mark.parametrize("last", ["stop", "over"])
@pytest.mark.parametrize("point", ["before start", "after start"])
async def test_stopped_while_its_start_is_tried_again_no_job_is_left(
    world: World, point: str, last: str
) -> None:
    # Given a cluster that is away, or whose answers are lost
    doors, back = Doors(), asyncio.Event()

    async def away(name: str) -> None:
        if name == point and not back.is_set():
            raise TaskUnavailable("away")

    doors.traps.append(away)
    await world.live(doors)
    await world.send("ask")
    await until(lambda: doors.count(point) >= 2)

    # When
    await world.send(last)
    await until(lambda: doors.count("after commit") >= 2)
    back.set()

    # Then
    ledger = await world.check()
    assert not world.jobs.there
    assert ledger.totals.tasks_failed == (1 if last == "stop" else 0)


async def test_a_cluster_that_is_away_holds_up_nothing_else(world: World) -> None:
    doors, back = Doors(), asyncio.Event()

    async def away(name: str) -> None:
        if name == "before start" and not back.is_set():
            raise TaskUnavailable("away")

    doors.traps.append(away)
    await world.live(doors)
    for number in range(30):
        await world.send("ask", f"s{number}")
    await until(lambda: doors.count("before start") >= 30)

    await world.send("note", "other")
    await until(lambda: doors.count("after emit") == 1)

    assert not world.jobs.there
    back.set()
    await world.check()
    assert len(world.jobs.running) == 30


@pytest.mark.parametrize("ends", ["by itself", "told by another", "lost"])
async def test_a_start_dies_with_its_task(world: World, ends: str) -> None:
    # Given a task whose start was made, which nobody knows, and is refused ever since
    doors, freed = Doors(), asyncio.Event()

    async def refusing(name: str) -> None:
        if name == "before start" and world.jobs.made and not freed.is_set():
            raise TaskUnavailable("exceeded quota")

    doors.traps.append(refusing)
    doors.fail("after start", TaskUnavailable("the answer got lost"))
    life = await world.live(doors)
    await world.send("ask")
    await until(lambda: doors.count("before start") >= 2)
    (task,) = world.jobs.made

    # When the task ends, with its Job gone, and a start would be possible again
    if ends == "by itself":
        world.jobs.finish(task, "done")
    elif ends == "told by another":
        await world.end_of(task)
    else:
        world.jobs.delete(task)
        life.loop.report(lost(task))
    await until(lambda: life.loop.ledger is not None and not life.loop.ledger.pending_tasks)
    if ends == "by itself":
        world.jobs.delete(task)  # as its retention would
    assert not world.jobs.there
    freed.set()

    # Then nothing is started once more
    executor = life.loop._executor
    assert executor is not None
    await until(lambda: not executor._starts)
    await world.check()
    assert world.jobs.made[task] == 1
    assert not world.jobs.there


async def test_what_a_start_under_way_makes_of_a_lost_task_is_removed(world: World) -> None:
    # Given a task whose Job was made, which nobody knows, and a second try that is under way
    doors, under_way, go_on = Doors(), asyncio.Event(), asyncio.Event()

    async def slow(name: str) -> None:
        if name == "before start" and doors.count(name) == 2:
            under_way.set()
            await go_on.wait()

    doors.traps.append(slow)
    doors.fail("after start", TaskUnavailable("the answer got lost"))
    life = await world.live(doors)
    await world.send("ask")
    await asyncio.wait_for(under_way.wait(), SOON)
    (task,) = world.jobs.made

    # When the Job is deleted by a person, and its task said to be lost
    world.jobs.delete(task)
    life.loop.report(lost(task))
    go_on.set()

    # Then the task failed, and nothing of it is left
    await until(lambda: doors.count("after end") == 1)
    ledger = await world.quiet()
    assert ledger.sessions["s"].state["failed"] == "JobLost"
    assert not world.jobs.there


async def test_a_refused_task_is_a_failed_one_that_handlers_hear_of(world: World) -> None:
    await world.live()

    await world.send("ask", "s", {"refuse": True})

    ledger = await world.check()
    assert ledger.sessions["s"].state["failed"] == "Refused"
    assert ledger.totals.tasks_failed == ledger.totals.emitted == 1
    assert not world.jobs.there


async def test_an_end_told_while_the_loop_is_between_two_passes_is_not_lost(world: World) -> None:
    # Given a task that runs, and a loop that starts over and waits at the door
    doors, gate, waiting = Doors(), asyncio.Event(), asyncio.Event()

    async def wait(point: str) -> None:
        if point == "before load" and doors.count(point) == 2:
            waiting.set()
            await gate.wait()

    doors.traps.append(wait)
    doors.fail("before commit", ConnectionError("away"))
    world.jobs.watchers.clear()
    first = await world.live()
    await world.send("ask")
    task = await task_of(world)
    await first.end()
    life = await world.live(doors)
    await world.send("note")
    await asyncio.wait_for(waiting.wait(), SOON)

    # When it ends there and then
    world.jobs.finish(task, "now")
    assert life.loop.waits(task)
    gate.set()

    # Then
    await until(lambda: doors.count("after end") == 1)
    ledger = await world.check()
    assert ledger.totals.tasks_completed == 1


async def test_an_end_told_again_and_again_is_integrated_once(world: World) -> None:
    life = await world.live()
    await world.send("ask")
    task = await task_of(world)

    for _ in range(3):
        assert life.loop.report(end_of_run(task))
    await until(lambda: life.doors.count("after end") == 1)
    world.jobs.finish(task)
    ledger = await world.check()

    assert not life.loop.report(end_of_run(task))
    assert (ledger.totals.tasks_completed, ledger.totals.stale) == (1, 0)


async def test_ends_of_tasks_that_nobody_waits_for_are_stale(world: World) -> None:
    life = await world.live()
    await world.send("ask")
    task = await task_of(world)

    await world.end_of("work-0000000000000000")
    await world.end_of(task)
    await world.end_of(task)
    ledger = await world.quiet()

    assert (ledger.totals.stale, ledger.totals.tasks_completed) == (2, 1)
    assert not life.loop.report(end_of_run("work-0000000000000000"))
    await world.check()
    assert not world.jobs.there


async def test_a_job_that_vanished_unseen_is_found_lost_by_a_resync(world: World) -> None:
    life = await world.live()
    await world.send("ask")
    task = await task_of(world)
    world.jobs.delete(task)

    await life.look_again()

    ledger = await world.check()
    assert ledger.sessions["s"].state["failed"] == "JobLost"


async def test_with_real_processes_from_event_to_result(world: World, tmp_path: Path) -> None:
    """The same loop with children of ours as jobs; the runner outlives a loop, as in `heed dev`."""
    script = "import json, os; n = json.load(open(os.environ['HEED_TASK_FILE']))['input']['n']; \
open(os.environ['HEED_RESULT_FILE'], 'w').write(str(n * 2)); raise SystemExit(n % 2)"
    container = {"name": "main", "image": "example", "command": [sys.executable, "-S", "-c", script]}
    job = {"backoffLimit": 0, "template": {"spec": {"containers": [container]}}}
    agent = world.program.agent
    world.program = compile_agent(parse_agent(worker_manifest(world.namespace, agent.uid, job)))
    runner = ProcessRunner(
        agent,
        tmp_path,
        base=tmp_path,
        report=lambda end: world.lives[-1].loop.report(end),
        output=lambda task, line: None,
        now=timestamp,
    )
    try:
        for number in range(6):
            await world.send("ask", f"s{number}", {"n": number})
        await world.send("ask", "gone", {"n": 2})
        await world.send("over", "gone")
        first = await world.live(runner=runner)
        await until(lambda: first.doors.count("after start") >= 3)
        await first.end()
        second = await world.live(runner=runner)

        await until(lambda: (second.loop.ledger or first.loop.ledger).totals.tasks_failed == 3)  # type: ignore[union-attr]
        await until(lambda: second.loop.ledger.totals.tasks_completed == 3)  # type: ignore[union-attr]
        ledger = await world.check()
        assert ledger.sessions["s1"].state["failed"] == "BackoffLimitExceeded"
    finally:
        await runner.close()


@pytest.mark.parametrize(
    ("job", "data", "said"),
    [
        ({"activeDeadlineSeconds": "${input.x}"}, {"x": "300"}, "activeDeadlineSeconds: is a string"),
        ({"backoffLimit": "${input.x}"}, {"x": 2.5}, "backoffLimit: is a number (2.5)"),
        ({"metadata": {"labels": "${input.x}"}}, {"x": ["a"]}, "metadata.labels: is a list"),
        ({"template": {"spec": {"containers": "${input.x}"}}}, {"x": []}, "there is no container"),
        (
            {"template": {"spec": {"containers": [{"name": "a", "command": "${input.x}"}]}}},
            {"x": {"a": 1}},
            "command: is a map, not a list",
        ),
    ],
)
async def test_what_can_never_be_a_job_fails_its_task_at_once(
    world: World, job: dict[str, Any], data: Any, said: str
) -> None:
    # Given a template that any event may make nonsense of, beside a timeout
    plain = {"template": {"spec": {"containers": [{"name": "main"}]}}}
    document = worker_manifest(world.namespace, world.program.agent.uid, {**plain, **job})
    document["spec"]["tasks"]["work"]["timeout"] = "10m"
    world.program = compile_agent(parse_agent(document))
    life = await world.live()

    # When
    await world.send("ask", data=data)

    # Then
    ledger = await world.check()
    assert [task.reason for task in ledger.recent_tasks] == ["InvalidJob"]
    end = await world.bus.last(names.inbox_subject(world.namespace, AGENT, names.TASK_FAILED))
    assert said in data_of(end)["message"]
    assert not world.jobs.made
    assert life.watcher.troubles == []


async def test_a_whole_number_that_came_as_a_double_is_one(world: World) -> None:
    job = {"backoffLimit": "${input.n}", "template": {"spec": {"containers": [{"name": "main"}]}}}
    document = worker_manifest(world.namespace, world.program.agent.uid, job)
    document["spec"]["handlers"][0]["start"][0]["input"] = {"n": "${event.data.n * 2.0}"}
    world.program = compile_agent(parse_agent(document))
    await world.live()

    await world.send("ask", data={"n": 1.0})

    task_id = await task_of(world)
    assert repr(world.jobs.running[task_id].spec["backoffLimit"]) == "2"
