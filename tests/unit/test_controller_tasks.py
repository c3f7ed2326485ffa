"""The Jobs of Agents that run, and what a sweep finds that no watch has shown."""

from __future__ import annotations

from typing import Any

import pytest

from heed import names
from heed.kube.status.loop_health import HealthThresholds
from tests.builders.agents import job, ref
from tests.integration.waiting import until
from tests.unit.apiserver import ApiServer, Object
from tests.unit.fleets import NOTE, START, World, fleet_on, path

JOBS = "/apis/batch/v1/namespaces/demo/jobs"
TASKS = {"work": job()}
DONE = {"name": "done", "type": names.TASK_COMPLETED, "state": {"done": "${task.id}"}}
LOST = {"name": "lost", "type": names.TASK_FAILED, "state": {"lost": "${event.data.reason}"}}
COMPLETE = [{"type": "Complete", "status": "True", "lastTransitionTime": "2099-01-01T00:00:00Z"}]


async def started(world: World) -> tuple[Any, str]:
    """An Agent with one task that its ledger knows to have started; its Job's path."""
    world.create(START, DONE, LOST, tasks=TASKS)
    running = await world.running()
    await world.says("True", "Subscribed")
    world.bus.come()
    await until(lambda: [item["phase"] for item in tasks(world)] == ["Started"])
    (made,) = world.server.of("jobs")
    return running, f"{JOBS}/{made['metadata']['name']}"


def tasks(world: World) -> list[Object]:
    return list((world.status().get("pendingTasks") or {}).values())


def states(world: World) -> list[Object]:
    return [item.get("state") or {} for item in world.status()["sessions"].values()]


# --- Jobs -----------------------------------------------------------------------------------------------------


async def test_the_end_of_a_job_that_is_seen_is_an_event_of_its_agent(world: World) -> None:
    _, at = await started(world)
    task_id = next(iter(world.status()["pendingTasks"]))

    world.fleet.observe_job(world.server.edit(at, status={"conditions": COMPLETE}))
    await until(lambda: {"done": task_id} in states(world))

    ((subject, event),) = world.bus.sent
    assert (subject, event.type) == (
        "heed.inbox.demo.researcher.dev.heed.task.completed",
        names.TASK_COMPLETED,
    )


@pytest.mark.parametrize("change", ["namespace", "uid", "name"])
async def test_a_job_of_others_is_nobodys_end(world: World, change: str) -> None:
    _, at = await started(world)
    made = world.server.edit(at, status={"conditions": COMPLETE})
    if change == "namespace":
        made["metadata"]["namespace"] = "other"
    else:
        made["metadata"]["ownerReferences"][0][change] = "another"

    world.fleet.observe_job(made)

    world.fleet.observe_job({**world.server.at(at), "status": {}})
    assert not (await world.running()).runner._readings


async def test_a_deleted_job_is_looked_for_and_lost(world: World) -> None:
    _, at = await started(world)
    made = world.server.at(at)
    world.server.remove(at)

    world.fleet.observe_job(made, deleted=True)

    await until(lambda: {"lost": "JobLost"} in states(world))


async def test_a_task_whose_job_gets_no_pod_is_said_to_be_stuck(server: ApiServer) -> None:
    async with fleet_on(server, HealthThresholds(loop=1000, effects=1000, between=0, pods=0.02)) as world:
        _, at = await started(world)
        made = server.at(at)
        server.add(
            "/api/v1/namespaces/demo/pods/a-1",
            metadata={
                "labels": {
                    names.LABEL_AGENT: "researcher",
                    "batch.kubernetes.io/controller-uid": made["metadata"]["uid"],
                }
            },
            status={
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes",
                    }
                ]
            },
        )

        world.fleet.observe_job(made)

        stuck = await world.says("True", "Unschedulable", type_="TasksStuck")
        assert f"Job {made['metadata']['name']} has no pod that runs: pod a-1: 0/3 nodes" in stuck["message"]
        assert next(iter(world.fleet.snapshots())).stuck == 1
        world.fleet.observe_job(server.edit(at, status={"active": 1, "ready": 1}))
        await world.says("False", "TasksRun", type_="TasksStuck")
        assert next(iter(world.fleet.snapshots())).stuck == 0


async def test_tasks_that_were_stuck_before_a_restart_stay_so_until_there_was_time_to_look(
    server: ApiServer,
) -> None:
    async with fleet_on(server) as world:
        stuck = {"type": "TasksStuck", "status": "True", "reason": "Unschedulable", "message": "m"}
        body = world.add()
        body = server.edit(path(), status={"conditions": [stuck]})
        world.fleet.observe(body)
        await world.says("True", "Subscribed")

        assert world.condition(type_="TasksStuck")["status"] == "True"


# --- sweeping -------------------------------------------------------------------------------------------------


async def test_an_agent_that_vanished_is_found_gone(world: World) -> None:
    world.create()
    world.create(name="writer")
    running = await world.running()
    await world.running("writer")
    await world.says("True", "Subscribed")
    await world.says("True", "Subscribed", "writer")

    await world.fleet.sweep(None)
    assert not running.task.done()

    world.server.remove(path())
    await world.fleet.sweep("demo")
    await until(lambda: running.task.done())
    await world.settled()

    assert [item.agent.name for item in world.fleet.snapshots()] == ["writer"]
    listed = [asked for _, asked in world.server.asked if "limit=" in asked and "agents" in asked]
    assert listed[0].startswith("/apis/heed.dev/v1alpha1/agents?")
    assert listed[1].startswith("/apis/heed.dev/v1alpha1/namespaces/demo/agents?")


async def test_another_one_of_its_name_does_not_keep_it_alive(world: World) -> None:
    world.create()
    running = await world.running()
    world.server.edit(path(), metadata={"uid": "another"})

    await world.fleet.sweep(None)

    await until(lambda: running.task.done())


async def test_a_loop_that_was_told_that_its_agent_is_gone_begins_again_where_it_is_not(world: World) -> None:
    # Given
    world.create()
    first = await world.running()
    await world.says("True", "Subscribed")
    world.server.refuse = lambda method, path: 404 if path.endswith("/status") else None
    world.bus.come()
    await until(lambda: first.task.done())
    world.server.refuse = lambda method, path: None

    # When
    await world.fleet.sweep(None)
    await world.replaced(first)

    # Then
    await world.running()
    await world.heard(1)


async def test_one_that_cannot_be_read_begins_again_later(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    body = world.create()
    first = await world.running()
    await world.says("True", "Subscribed")
    world.server.refuse = lambda method, path: 404 if path.endswith("/status") else None
    world.bus.come()
    await until(lambda: first.task.done())
    caplog.clear()
    world.server.refuse = lambda method, asked: 500 if asked == path() else None

    await world.fleet.sweep(None)

    (record,) = [item for item in caplog.records if item.getMessage() == "cannot read an agent"]
    assert (record.agent, record.error) == (str(ref(body)), "500: no 500")  # type: ignore[attr-defined]
    assert world.fleet._running["demo", "researcher"] is first


async def test_a_job_that_vanished_is_lost(world: World) -> None:
    _, at = await started(world)
    await world.fleet.sweep(None)
    assert len(tasks(world)) == 1

    world.server.remove(at)
    await world.fleet.sweep(None)

    await until(lambda: {"lost": "JobLost"} in states(world))


async def test_a_job_that_no_task_waits_for_is_said_once_for_as_long_as_it_is_there(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    _, at = await started(world)
    made = world.server.at(at)
    labels = {"labels": {names.LABEL_TASK_ID: "nobodys"}}
    orphan = world.server.add(
        f"{JOBS}/orphan",
        metadata={
            "labels": made["metadata"]["labels"] | labels["labels"],
            "ownerReferences": made["metadata"]["ownerReferences"],
        },
        spec={**made["spec"], "template": {**made["spec"]["template"], "metadata": labels}},
        status={},
    )
    caplog.clear()

    await world.fleet.sweep(None)
    await world.fleet.sweep("demo")

    (record,) = [item for item in caplog.records if item.getMessage() == "job without a pending task"]
    uid = orphan["metadata"]["uid"]
    assert (record.job, record.uid) == ("orphan", uid)  # type: ignore[attr-defined]
    assert record.remedy == "if it is of no use: kubectl delete job -n demo orphan"  # type: ignore[attr-defined]
    assert world.fleet._loops.orphans == {uid}
    world.server.remove(f"{JOBS}/orphan")
    await world.fleet.sweep(None)
    assert world.fleet._loops.orphans == set()


async def test_quiet_agents_keep_up_with_the_stream(world: World) -> None:
    world.create(NOTE)
    await world.running()
    world.bus.come()
    await world.heard(1)
    world.bus.messages += [world.bus.messages[0]] * 99  # of others: nobody is told

    world.bus.limits, world.bus.lost = (50, 100), True
    await world.fleet.sweep(None)  # a reader that is lost is its loop's concern
    assert world.status()["cursor"]["sequence"] == 1
    world.bus.lost = False
    await world.fleet.sweep(None)
    await until(lambda: world.status()["cursor"]["sequence"] == 100)

    world.bus.away = True
    await world.fleet.sweep(None)


async def test_rules_are_read_before_any_agent_is_shown(world: World) -> None:
    world.rule("AgentPolicy", "strict", agentSelector={}, subscriptions=[])

    await world.fleet.relist_rules()
    world.create()

    await world.says("False", "PolicyViolation")
    assert world.fleet._running == {}
    listed = [asked.partition("?")[0] for _, asked in world.server.asked if "limit=" in asked]
    assert listed == [
        "/apis/heed.dev/v1alpha1/agentpolicies",
        "/apis/heed.dev/v1alpha1/eventgrants",
        "/apis/heed.dev/v1alpha1/eventtypes",
    ]


async def test_only_one_namespace_is_known_where_only_one_is_watched(server: ApiServer) -> None:
    async with fleet_on(server, watched="demo") as world:
        await world.fleet.relist_rules()
        world.create(subscribe=[{"type": "com.example.>", "namespace": "shop"}])

        ready = await world.says("False", "NotGranted")

        assert (
            "this operator watches namespace demo only, and knows no EventGrant of others" in ready["message"]
        )
        assert all("/namespaces/demo/" in asked for _, asked in server.asked)


async def test_rules_that_change_are_in_force_and_said_to_be(world: World) -> None:
    world.create()
    await world.says("True", "Subscribed")
    first = await world.running()
    policy = world.rule("AgentPolicy", "strict", agentSelector={}, emissions=[])

    world.fleet.observe_rule(policy)

    await until(lambda: bool((world.server.of("agentpolicies")[0].get("status") or {}).get("conditions")))
    await world.replaced(first)
    await world.says("True", "Subscribed")
