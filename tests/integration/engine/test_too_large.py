"""What the broker can never take does not hold an Agent up."""

from heed.core.effects import TaskEnd
from tests.integration.engine.world import Life, World
from tests.integration.waiting import until


async def test_a_task_whose_result_is_too_large_for_the_broker_has_failed(world: World) -> None:
    # Given a task that runs
    life = await world.live()
    await world.send("ask", "s")
    await until(lambda: len(world.jobs.running) == 1)
    [task_id] = world.jobs.running

    # When it ends with more than fits into a message
    world.jobs.finish(task_id, "x" * 1_200_000)

    # Then it has failed, for a reason that handlers are told
    await until(lambda: _ended(life))
    ledger = await world.check()
    [task] = ledger.recent_tasks
    assert (task.id, task.outcome, task.reason) == (task_id, "Failed", "BadResult")
    assert ledger.sessions["s"].state["failed"] == "BadResult"
    assert ("publish the end of a task", "MalformedEvent") not in life.watcher.troubles


def _ended(life: Life) -> bool:
    return life.loop.ledger is not None and bool(life.loop.ledger.recent_tasks)


async def test_a_failure_whose_words_are_too_many_keeps_its_reason(world: World) -> None:
    life = await world.live()
    await world.send("ask", "s")
    await until(lambda: len(world.jobs.running) == 1)
    [task_id] = world.jobs.running

    words = "x" * 1_200_000
    end = TaskEnd(task_id, "run", "2026-11-01T12:00:00Z", False, reason="BackoffLimitExceeded", message=words)
    life.loop.report(end)

    await until(lambda: _ended(life))
    world.jobs.delete(task_id)
    [task] = (await world.stored()).ledger.recent_tasks
    assert task.reason == "BackoffLimitExceeded"
