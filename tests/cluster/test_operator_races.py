"""What a watch shows late, twice, out of order or never: the fleet on a real API server, with a test for a watch."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from heed import names
from heed.bus.connection import connect
from heed.bus.jetstream import JetStreamBus
from heed.bus.streams import ensure_streams
from heed.core.effects import AgentRef
from heed.core.events import Event
from heed.engine.observers import LogObserver
from heed.engine.pacing import Pace
from heed.kube import api as kube_api
from heed.kube import runner as kube_runner
from heed.kube.api import Api, agent_path, agents_path, jobs_path
from heed.kube.fleet import Fleet
from heed.settings import Settings
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.operating import PATIENCE, Broker, Stage, totals
from tests.cluster.stories import RESEARCHER, with_handler

pytestmark = pytest.mark.cluster
ASKED = "com.example.question.asked"


class Watchless:
    """A fleet that sees only what a test shows it; everything else of the operator is real."""

    def __init__(self, api: Api, bus: JetStreamBus, namespace: str) -> None:
        self.api, self.bus, self.namespace = api, bus, namespace
        self.fleet = Fleet(api, bus, LogObserver(), Pace())

    async def create(self, manifest: dict[str, Any] = RESEARCHER) -> dict[str, Any]:
        """Make the Agent, and show it."""
        body = await self.add(manifest)
        self.fleet.observe(body)
        return body

    async def add(self, manifest: dict[str, Any] = RESEARCHER) -> dict[str, Any]:
        """Make the Agent, unseen."""
        return (await self.api.create(agents_path(self.namespace), manifest)).body

    async def agent(self) -> dict[str, Any]:
        return (await self.api.get(agent_path(self.namespace, "researcher"))).body

    async def ask(self, id: str, correlation: str = "c-1", type_: str = ASKED) -> None:
        event = Event(
            id,
            "/test",
            type_,
            {"topic": "tides"},
            datacontenttype="application/json",
            extensions={"correlationid": correlation},
        )
        await self.bus.publish(names.event_subject(self.namespace, type_), event)

    async def jobs(self) -> list[dict[str, Any]]:
        return await self.api.list(jobs_path(self.namespace))

    async def until(self, look: Callable[[], Awaitable[Any]], what: str) -> Any:
        """What `look` sees, once it is something."""
        clock = asyncio.get_running_loop().time
        end = clock() + PATIENCE
        while clock() < end:
            if seen := await look():
                return seen
            await asyncio.sleep(0.05)
        raise AssertionError(f"waited in vain for {what}")

    async def status(self, holds: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The status, once a condition holds of it."""

        async def look() -> dict[str, Any] | None:
            status = (await self.agent()).get("status") or {}
            return status if "cursor" in status and holds(status) else None

        found: dict[str, Any] = await self.until(look, "the status")
        return found

    async def started(self) -> dict[str, Any]:
        """The one Job, once the ledger knows that it was started."""
        await self.status(lambda s: [t["phase"] for t in s["pendingTasks"].values()] == ["Started"])
        (job,) = await self.jobs()
        return job


@pytest.fixture
async def watchless(
    operator_kubeconfig: Path, control_plane: ControlPlane, broker: Broker, namespace: str
) -> AsyncIterator[Watchless]:
    # Given rights to make what a test makes, and none that the operator lacks for what it does itself
    api = await Api.connect(str(control_plane.kubeconfig))
    settings = Settings(nats_url=broker.url)
    connection = await connect(settings, "test", attempts=3)
    await ensure_streams(connection, settings.stream)
    watchless = Watchless(api, JetStreamBus(connection), namespace)
    try:
        yield watchless
    finally:
        await watchless.fleet.close()
        await connection.close()
        await api.close()


async def test_a_job_deleted_in_a_gap_of_the_watch_is_found_lost_by_the_sweep(watchless: Watchless) -> None:
    await watchless.create()
    await watchless.ask("q-1")
    job = await watchless.started()
    await watchless.api.delete(jobs_path(watchless.namespace, job["metadata"]["name"]))
    await watchless.until(lambda: _none(watchless.jobs), "no Job")

    await watchless.fleet.sweep(watchless.namespace)

    status = await watchless.status(lambda s: totals(s).get("tasksFailed") == 1)
    assert status["recentTasks"][0]["reason"] == "JobLost"


async def test_a_sweep_finds_nothing_wrong_where_nothing_is_wrong(watchless: Watchless) -> None:
    await watchless.create()
    await watchless.ask("q-1")
    for number in range(3):
        await watchless.ask(f"n-{number}", f"c-{number}x")
        await watchless.fleet.sweep(watchless.namespace)

    await watchless.status(lambda s: totals(s).get("tasksStarted") == 4)
    await watchless.fleet.sweep(watchless.namespace)

    assert "tasksFailed" not in totals((await watchless.agent())["status"])


async def test_an_agent_deleted_in_a_gap_of_the_watch_is_stopped_by_the_sweep(watchless: Watchless) -> None:
    await watchless.create()
    await watchless.until(lambda: _running(watchless), "the loop")
    await watchless.api.delete(agent_path(watchless.namespace, "researcher"))

    await watchless.fleet.sweep(watchless.namespace)

    await watchless.until(lambda: _stopped(watchless), "no loop")


async def test_a_job_whose_label_someone_took_away_costs_its_task_and_not_the_agent(
    watchless: Watchless,
) -> None:
    body = await watchless.create()
    await watchless.ask("q-1")
    job = await watchless.started()
    path = jobs_path(watchless.namespace, job["metadata"]["name"])
    await watchless.api.merge(path, {"metadata": {"labels": {names.LABEL_TASK_ID: None}}})

    # When the loop begins anew
    again = copy.deepcopy(body)
    again["metadata"]["generation"] += 1
    watchless.fleet.observe(again)

    status = await watchless.status(lambda s: totals(s).get("tasksFailed") == 1)
    assert status["recentTasks"][0]["reason"] == "JobLost"
    await watchless.ask("q-2", "c-2")
    await watchless.status(lambda s: "c-2" in s["sessions"])


async def test_more_jobs_than_a_page_holds(watchless: Watchless, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_api, "PAGE", 2)
    await watchless.create()
    for number in range(5):
        await watchless.ask(f"q-{number}", f"c-{number}")
    await watchless.status(lambda s: [t["phase"] for t in s["pendingTasks"].values()] == ["Started"] * 5)

    await watchless.fleet.sweep(watchless.namespace)

    assert len(await watchless.jobs()) == 5
    assert "tasksFailed" not in totals((await watchless.agent())["status"])


async def test_a_namesake_is_seen_before_the_old_one_is_seen_to_be_gone(watchless: Watchless) -> None:
    # Given two Agents of one name, whose events come out of order: kopf keeps order for one object only
    old = await watchless.create()
    await watchless.until(lambda: _running(watchless), "the loop")
    await watchless.api.delete(agent_path(watchless.namespace, "researcher"))
    new = await watchless.add()

    # When
    watchless.fleet.observe(new)
    watchless.fleet.observe(old, deleted=True)

    # Then the new one runs, with a ledger of its own
    await watchless.ask("q-9", "c-9")
    await watchless.status(lambda s: "c-9" in s["sessions"])
    assert (await watchless.agent())["metadata"]["uid"] == new["metadata"]["uid"]


async def test_a_change_seen_at_the_very_end_of_a_reconciliation_is_not_missed(watchless: Watchless) -> None:
    # Given a change that is seen in the turn in which the reconciliation of the one before is over
    body = await watchless.add()
    changed = (
        await watchless.api.merge(agent_path(watchless.namespace, "researcher"), with_handler(
            name="other", type="com.example.other", state={"other": True}
        ))
    ).body  # fmt: skip
    fleet = watchless.fleet
    reconcile = fleet._reconcile

    async def then_look(name: Any, seen: Any) -> None:
        await reconcile(name, seen)
        if seen is body:
            asyncio.get_running_loop().call_soon(fleet.observe, changed)

    fleet._reconcile = then_look  # type: ignore[method-assign]
    fleet.observe(body)

    # Then
    await watchless.until(lambda: _generation(watchless, 2), "the second generation")


async def test_an_agent_that_is_being_deleted_reacts_to_nothing_more(watchless: Watchless) -> None:
    # Given an Agent that someone's finalizer keeps for a while
    manifest = copy.deepcopy(RESEARCHER)
    manifest["metadata"]["finalizers"] = ["example.com/wait"]
    await watchless.create(manifest)
    await watchless.ask("q-1")
    job = await watchless.started()

    # When it is deleted, and its Jobs with it
    await watchless.api.delete(agent_path(watchless.namespace, "researcher"))
    watchless.fleet.observe(await watchless.agent())
    await watchless.until(lambda: _stopped(watchless), "no loop")
    await watchless.api.delete(jobs_path(watchless.namespace, job["metadata"]["name"]))
    watchless.fleet.observe_job(job, deleted=True)

    # Then no failure is told to anyone
    assert "tasksFailed" not in totals((await watchless.agent())["status"])
    path = agent_path(watchless.namespace, "researcher")
    await watchless.api.merge(path, {"metadata": {"finalizers": None}})


async def test_a_finished_job_stays_as_long_as_its_end_is_not_in_the_ledger(
    watchless: Watchless, pods: PodPhases, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a Job that is kept no longer than need be, and a ledger that does not move
    monkeypatch.setattr(kube_runner, "RETRY", 0.05)
    manifest = copy.deepcopy(RESEARCHER)
    manifest["spec"]["tasks"]["research"]["retention"] = "0s"
    body = await watchless.create(manifest)
    await watchless.ask("q-1")
    job = await watchless.started()
    await watchless.fleet.close()
    name = job["metadata"]["name"]
    await asyncio.to_thread(pods.succeed, watchless.namespace, name, '{"answer": 1}')

    async def finished() -> dict[str, Any] | None:
        found = (await watchless.api.get(jobs_path(watchless.namespace, name))).body
        return found if found.get("status", {}).get("completionTime") else None

    done = await watchless.until(finished, "the Job's end")
    runner = kube_runner.JobRunner(watchless.api, _agent(body))
    looked: list[str] = []
    waiting = True

    def waits(task_id: str) -> bool:
        looked.append(task_id)
        return waiting

    runner.waits, runner.report = waits, lambda end: True

    # When it is seen, again and again
    for _ in range(3):
        runner.observe(done)
    await watchless.until(lambda: _true(len(looked) >= 5), "looks at the ledger")
    assert len(await watchless.jobs()) == 1

    # Then it goes with the ledger's word
    waiting = False
    await watchless.until(lambda: _none(watchless.jobs), "no Job")
    runner.close()


def test_a_cancelled_job_ends_once_and_as_cancelled(stage: Stage) -> None:
    """With the real watch, which shows the deletion that the operator made itself."""
    stage.apply(
        with_handler(name="cancel", type="com.example.question.asked", when="has(state.topic)",
                     cancel=[{"task": "research"}])
    )  # fmt: skip
    stage.ask("q-1")
    stage.until_job()
    stage.until(lambda s: all(task["phase"] == "Started" for task in s["pendingTasks"].values()))

    stage.ask("q-2")

    status = stage.until(lambda s: totals(s).get("tasksFailed") == 1 and not s["outbox"])
    assert status["recentTasks"][0]["reason"] == "Cancelled"
    assert "stale" not in totals(status)
    assert stage.jobs() == []


async def _true(holds: bool) -> bool:
    return holds


async def _none(items: Callable[[], Awaitable[list[Any]]]) -> bool:
    return not await items()


async def _running(watchless: Watchless) -> bool:
    return any(running.loop.ledger is not None for running in watchless.fleet._running.values())


async def _stopped(watchless: Watchless) -> bool:
    return not watchless.fleet._running


async def _generation(watchless: Watchless, generation: int) -> bool:
    return any(item.program.generation == generation for item in watchless.fleet._running.values())


def _agent(body: dict[str, Any]) -> AgentRef:
    metadata = body["metadata"]
    return AgentRef(metadata["namespace"], metadata["name"], metadata["uid"])
