"""A policy that comes while an Agent is at work: what was decided before it meets it when it is done."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from heed.api.validation import parse_agent
from heed.core.compiler.program import compile_agent
from heed.core.ledger.ledger import Ledger
from heed.errors import TaskUnavailable
from heed.sandbox.decision_pool import DecisionPool
from tests.builders.events import received
from tests.builders.policies import allowed_by, policy, restricted
from tests.integration.engine.guards import SEARCH, SHORT, code_and_handler
from tests.integration.engine.points import Doors
from tests.integration.engine.world import World, worker_manifest
from tests.integration.waiting import until

TEMPLATED = {
    "template": {"spec": {"containers": [{"name": "main", "image": "${input}", "command": ["true"]}]}}
}


def restrict(world: World, images: Sequence[str]) -> None:
    """A policy comes into being. It holds for the next life."""
    may = allowed_by(policy(namespace="demo", tasks={"images": list(images)}))
    document = worker_manifest(world.namespace, world.program.agent.uid, TEMPLATED)
    world.program = compile_agent(parse_agent(document), replace(may, namespace=world.namespace))


@pytest.mark.parametrize("point", ["before start", "after start"])
async def test_a_start_that_is_owed_meets_the_policy_of_now(world: World, point: str) -> None:
    # Given a task that is decided, and may have been started or not: nobody can say
    doors = Doors()

    async def away(name: str) -> None:
        if name == point:
            raise TaskUnavailable("away")

    doors.traps.append(away)
    restrict(world, ["*"])
    before = await world.live(doors)
    await world.send("ask", data="example/work:1")
    await until(lambda: doors.count(point) >= 2)
    await before.end()

    # When the Agent goes on under a policy that does not allow its image
    restrict(world, ["other/*"])
    await world.live()
    ledger = await world.quiet()

    # Then the task has failed, its handler has heard of it, and nothing of it runs
    assert ledger.totals.tasks_failed == 1 and not ledger.pending_tasks
    assert ledger.sessions["s"].state["failed"] == "PolicyViolation"
    assert not world.jobs.running


async def test_a_start_that_is_owed_and_allowed_is_made(world: World) -> None:
    doors = Doors()

    async def away(name: str) -> None:
        if name == "before start":
            raise TaskUnavailable("away")

    doors.traps.append(away)
    restrict(world, ["*"])
    before = await world.live(doors)
    await world.send("ask", data="example/work:1")
    await until(lambda: doors.count("before start") >= 2)
    await before.end()

    restrict(world, ["example/*"])
    await world.live()
    await until(lambda: len(world.jobs.running) == 1)

    assert (await world.quiet()).totals.tasks_failed == 0


@pytest.mark.parametrize(
    ("restriction", "code"),
    [({"emissions": [{"type": "x"}]}, "PolicyViolation"), ({"emissions": [{"type": "y"}]}, None)],
)
async def test_a_decision_made_elsewhere_meets_the_same_policy(
    guard: DecisionPool, restriction: dict[str, Any], code: str | None
) -> None:
    # Given a decision too costly to be made at once
    costly = {"name": "say", "when": SEARCH["when"], "emit": [{"type": "${'y'}"}]}
    program = restricted(allowed_by(policy(**restriction)), costly)
    agent = guard.of(program)
    event = received(1, data=SHORT)
    assert agent.at_once(Ledger(), event) is None

    decision = await agent.decide(Ledger(), event)

    assert guard.pids
    assert (code_and_handler(decision)[0] if decision.letter else None) == code
