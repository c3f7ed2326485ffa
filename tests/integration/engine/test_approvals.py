"""Approvals on the real broker: wherever a life ends, the first answer in the stream is the one that counts."""

import pytest

from heed import names
from heed.api.validation import parse_agent
from heed.core.approval.answer import Answer
from heed.core.approval.ends import answer_event
from heed.core.approval.request import PendingApproval, find_approval
from heed.core.compiler.program import compile_agent
from heed.engine import due_publisher
from heed.util.clock import timestamp
from tests.builders.agents import asking
from tests.integration.engine.points import POINTS, Doors
from tests.integration.engine.world import AGENT, World, handler, worker_manifest
from tests.integration.waiting import until


@pytest.fixture
async def asking_world(world: World) -> World:
    """A world whose Agent asks people, too."""
    identity = await world.store().identify()
    manifest = worker_manifest(world.namespace, identity.uid)
    manifest["spec"]["tasks"] |= {"buy": asking(), "soon": asking(timeout="1s", onTimeout="reject")}
    manifest["spec"]["handlers"] += [
        handler("choose", start=[{"task": "buy"}]),
        handler("hurry", start=[{"task": "soon"}]),
        handler("halt", cancel=[{"task": "buy"}]),
    ]
    world.program = compile_agent(parse_agent(manifest))
    return world


async def pending(world: World, count: int) -> dict[str, PendingApproval]:
    """So many approvals that wait, by their sessions, once the stored ledger has them."""

    async def look() -> dict[str, PendingApproval]:
        ledger = (await world.stored()).ledger
        found = (find_approval(ledger, task_id) for task_id in ledger.pending_tasks)
        return {item.record.session: item for item in found if item is not None}

    async def are_there() -> bool:
        return len(await look()) == count

    await until(are_there)
    return await look()


async def give(world: World, approval: PendingApproval, choice: str, user: str) -> None:
    """An answer comes into the stream, as the operator would publish it."""
    given = Answer(f"answer-of-{user}", choice, user, timestamp())
    event = answer_event(
        world.program.agent, approval, given, f"uid-of-{user}-{approval.task_id}", timestamp()
    )
    assert event is not None
    await world.bus.publish(names.inbox_subject(world.namespace, AGENT, event.type), event)


@pytest.mark.parametrize("point", POINTS)
async def test_killed_at_any_point_the_first_answer_counts_once(asking_world: World, point: str) -> None:
    # Given approvals that wait in three sessions, and a life that ends there
    world, doors = asking_world, Doors()
    for session in ("twice", "halted", "later"):
        await world.send("choose", session)
    await world.send("both", "stopped")
    first = await world.live(doors)
    waiting = await pending(world, 3)
    if "cancel" in point:
        await world.quiet()
    doors.die(point, doors.count(point) + 1)

    # When people answer while it dies and is dead, one of them what is being cancelled
    await world.send("ask", "finished", {"finish": 1})
    await world.send("break", "broken")
    await world.send("stop", "stopped")
    await give(world, waiting["twice"], "reject", "kim")
    await give(world, waiting["twice"], "approve", "lee")
    await world.send("halt", "halted")
    await give(world, waiting["halted"], "approve", "kim")
    await world.send("ask", "more", {"finish": 1})
    await until(doors.dead.is_set)
    await first.end()
    await give(world, waiting["later"], "approve", "lee")
    await world.live()

    # Then
    ledger = await world.check()
    ended = {item.session: item for item in ledger.recent_tasks if item.task == "buy"}
    answers = {
        session: item.answer and (item.answer.choice, item.answer.user) for session, item in ended.items()
    }
    assert answers == {"twice": ("reject", "kim"), "halted": None, "later": ("approve", "lee")}
    assert ended["halted"].reason == "Cancelled"
    assert not any(task.kind == "approval" for task in ledger.pending_tasks.values())


@pytest.mark.parametrize("point", ["before end", "after end"])
async def test_killed_around_its_timeout_it_chooses_once(
    asking_world: World, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_publisher, "END_GRACE_S", 0.1)
    world, doors = asking_world, Doors()
    doors.die(point)
    life = await world.live(doors)
    await world.send("hurry", "s")
    (approval,) = (await pending(world, 1)).values()
    await until(doors.dead.is_set)
    await life.end()

    await world.live()
    await pending(world, 0)
    await give(world, approval, "approve", "kim")

    ledger = await world.check()
    (recent,) = ledger.recent_tasks
    assert (recent.outcome, recent.answer, ledger.totals.stale) == (
        "Completed",
        None,
        1,
    )  # the answer is stale


async def test_an_answer_given_in_time_wins_over_a_timeout_that_is_said_at_the_start(
    asking_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an operator that is away while the approval is answered, and while its time passes
    monkeypatch.setattr(due_publisher, "END_GRACE_S", 1.0)
    world = asking_world
    life = await world.live()
    await world.send("hurry", "s")
    (approval,) = (await pending(world, 1)).values()
    await life.end()
    given = Answer("one", "approve", "kim", timestamp())
    until_ = approval.until
    assert until_ is not None
    await until(lambda: timestamp() > until_)

    # When it is back
    await world.live()
    event = answer_event(world.program.agent, approval, given, "uid", timestamp())
    assert event is not None
    await world.bus.publish(names.inbox_subject(world.namespace, AGENT, event.type), event)

    # Then
    await pending(world, 0)
    ledger = await world.check()
    assert ledger.recent_tasks[0].answer is not None
    assert ledger.recent_tasks[0].answer.choice == "approve"
