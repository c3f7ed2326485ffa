"""Which generation of each Agent runs, and what is said of it, in whatever order sights come."""

from __future__ import annotations

from typing import Any

import pytest

from heed.engine.loop import AgentLoop
from heed.kube.controller import agents, reconcile_queue
from heed.kube.controller.generation import choose_generation
from heed.kube.controller.last_valid_spec import dump_last_valid
from heed.kube.status.loop_health import HealthThresholds
from heed.kube.status.reasons import Trouble
from tests.builders.agents import ref
from tests.integration.waiting import until
from tests.unit.apiserver import ApiServer
from tests.unit.fleets import NOTE, World, fleet_on, path
from tests.unit.inmemory import turns

OTHER = {"name": "other", "state": {"other": "${event.id}"}}
WRONG = {"name": "wrong", "when": "nothing", "state": {"a": "b"}}


# --- an Agent that comes --------------------------------------------------------------------------------------


async def test_an_agent_that_is_seen_runs_and_says_so(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "heed.fleet")

    body = world.create()
    running = await world.running()
    ready = await world.says("True", "Subscribed")

    assert ready["message"] == "1 pattern, 1 handlers"
    assert ready["observedGeneration"] == world.status()["observedGeneration"] == 1
    subjects, after, since = world.bus.opened[0]
    assert (after, since) == (0, body["metadata"]["creationTimestamp"])
    assert "heed.events.demo.com.example.>" in subjects
    assert running.task.get_name() == f"agent {ref(body)}"
    said = [(r.getMessage(), getattr(r, "agent", None)) for r in caplog.records]
    assert ("agent subscribed", "demo/researcher") in said


async def test_its_events_are_decided_whatever_is_written_beside_its_ledger(world: World) -> None:
    world.create()
    await world.says("True", "Subscribed")

    for count in range(1, 4):
        world.bus.come()
        await world.heard(count)

    assert [session["state"] for session in world.status()["sessions"].values()] == [
        {"seen": f"e{number}"} for number in (1, 2, 3)
    ]
    running = await world.running()
    writes = [path for method, path in world.server.asked if method == "PATCH"]
    assert len(writes) == 4, "the condition, and each ledger at the first try"
    assert running.loop.ledger.totals.handled == 3


async def test_what_is_seen_again_changes_nothing(world: World) -> None:
    body = world.create()
    running = await world.running()
    await world.says("True", "Subscribed")
    asked = len(world.server.asked)

    world.fleet.observe(body)
    world.fleet.observe(world.server.edit(path(), metadata={"annotations": {"a": "b"}}))
    await world.settled()

    assert (await world.running()) is running
    assert len(world.server.asked) == asked


@pytest.mark.parametrize("late", [False, True])
async def test_other_labels_begin_anew_and_late_sights_do_not(world: World, late: bool) -> None:
    body = world.create()
    first = await world.running()
    labelled = world.edit(metadata={"labels": {"team": "a"}})
    await world.replaced(first)
    second = await world.running()
    assert second.program.labels == {"team": "a"}
    assert first.task.done()

    world.fleet.observe(body if late else labelled)
    await world.settled()

    assert (await world.running()) is second


async def test_another_generation_takes_the_place_of_the_one_before(world: World) -> None:
    world.create()
    first = await world.running()
    world.bus.come()
    await world.heard(1)

    world.edit(NOTE, OTHER)
    second = await world.running(generation=2)
    ready = await until_message(world, "1 pattern, 2 handlers")

    assert first.task.done() and second.loop is not first.loop
    assert ready["observedGeneration"] == world.status()["observedGeneration"] == 2
    world.bus.come()
    await world.heard(2)
    assert world.bus.opened[-1][1] == 1


async def until_message(world: World, message: str) -> Any:
    await until(lambda: world.condition().get("message") == message)
    return world.condition()


async def test_of_many_sights_at_once_only_the_last_one_counts(world: World) -> None:
    world.create()
    for number in range(5):
        world.edit(NOTE, OTHER, {"name": f"h-{number}"})
    await world.running(generation=6)

    assert len(world.bus.opened) == 1
    assert (await until_message(world, "1 pattern, 3 handlers"))["observedGeneration"] == 6


# --- one that goes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["gone", "going"])
async def test_an_agent_that_is_gone_or_going_runs_no_more(world: World, how: str) -> None:
    world.create()
    running = await world.running()
    await world.says("True", "Subscribed")
    assert [item.agent.name for item in world.fleet.snapshots()] == ["researcher"]

    if how == "gone":
        world.fleet.observe(world.server.at(path()), deleted=True)
    else:
        world.edit(metadata={"deletionTimestamp": "2026-11-01T12:00:00Z"})
    await world.until(lambda: running.task.done())
    await world.settled()

    assert list(world.fleet.snapshots()) == []
    assert not (world.fleet._running or world.fleet._seen or world.fleet._wanted)


async def test_one_that_was_never_seen_may_go(world: World) -> None:
    world.fleet.observe(world.add(), deleted=True)
    await world.settled()

    assert world.fleet._seen == {}
    assert world.server.asked == []


async def test_the_late_end_of_an_earlier_one_of_that_name_ends_nothing(world: World) -> None:
    body = world.create()
    running = await world.running()

    world.fleet.observe({**body, "metadata": {**body["metadata"], "uid": "earlier"}}, deleted=True)
    await world.settled()

    assert (await world.running()) is running


async def test_another_one_of_that_name_begins_from_nothing(world: World) -> None:
    world.create()
    first = await world.running()
    await world.says("True", "Subscribed")
    world.server.remove(path())
    world.add()
    world.edit(metadata={"uid": "another"})

    await world.until(lambda: first.task.done())
    second = await world.running()
    await world.says("True", "Subscribed")

    assert second.program.agent.uid == "another"
    assert [item.agent.uid for item in world.fleet.snapshots()] == ["another"]
    assert world.fleet._wanted[("demo", "researcher")][0].uid == "another"


async def test_one_that_comes_back_while_it_goes_runs(world: World) -> None:
    body = world.create()
    await world.running()

    world.fleet.observe(body, deleted=True)
    world.edit(metadata={"uid": "another"})
    await world.settled()

    assert (await world.running()).program.agent.uid == "another"
    assert world.fleet._seen[("demo", "researcher")].uid == "another"


# --- one that is not valid ------------------------------------------------------------------------------------


async def test_one_that_is_not_valid_does_not_run_and_says_why(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.create(WRONG)
    ready = await world.says("False", "Invalid")

    assert 'spec.handlers[0].when: unknown variable or function "nothing"' in ready["message"]
    assert world.fleet._running == {}
    assert "lastValidSpec" not in world.status()
    assert [r.getMessage() for r in caplog.records] == ["agent invalid"]
    (sight,) = world.fleet.snapshots()
    assert (sight.ready, sight.stored, sight.lag) == (("False", "Invalid"), None, None)


async def test_the_last_valid_generation_runs_on_also_after_a_restart(
    world: World, server: ApiServer
) -> None:
    # Given
    valid = world.create()
    first = await world.running()
    await world.says("True", "Subscribed")

    # When
    world.edit(WRONG)
    await world.says("False", "Invalid")

    # Then
    assert (await world.running()) is first
    assert world.status()["lastValidSpec"] == dump_last_valid(valid)
    assert world.status()["observedGeneration"] == 2
    world.edit(WRONG, {"name": "more"})
    await until(lambda: world.status()["observedGeneration"] == 3)
    assert (await world.running()) is first
    assert world.status()["lastValidSpec"] == dump_last_valid(valid)

    # And a fleet that begins there finds it
    await world.fleet.close()
    assert first.task.done()
    async with fleet_on(server) as again:
        again.fleet.observe(server.at(path()))
        assert (await again.running()).program.generation == 1
        again.bus.come()
        await again.heard(1)

        # And one that is valid takes its place
        again.edit(NOTE, OTHER)
        await again.running(generation=4)
        await again.says("True", "Subscribed")
        await until(lambda: "lastValidSpec" not in again.status())


async def test_a_suspended_agent_reads_nothing_until_it_is_resumed(world: World) -> None:
    # Given
    world.create(suspend=True)
    running = await world.running()

    # Then
    ready = await world.says("True", "Suspended")
    assert ready["message"] == "1 pattern, 1 handlers; spec.suspend is true, so no events are read"
    (said,) = [item for item in world.status()["conditions"] if item["type"] == "Suspended"]
    assert (said["status"], said["reason"]) == ("True", "AgentSuspended")
    world.bus.come()
    await turns()
    assert (world.bus.opened, running.loop.lag) == ([], None)

    # When
    world.edit(NOTE, suspend=False)

    # Then it goes on from there
    await world.heard(1)
    await world.says("True", "Subscribed")
    (said,) = [item for item in world.status()["conditions"] if item["type"] == "Suspended"]
    assert (said["status"], said["reason"]) == ("False", "AgentResumed")


async def test_an_agent_can_be_suspended_whose_spec_is_invalid(world: World) -> None:
    # Given one whose last valid generation runs
    world.create()
    first = await world.running()
    world.edit(WRONG)
    await world.says("False", "Invalid")
    kept = world.status()["lastValidSpec"]

    # When
    world.edit(WRONG, suspend=True)
    await until(lambda: world.status()["observedGeneration"] == 3)
    await world.settled()

    # Then that generation is suspended, and it runs again when it is not
    second = await world.running()
    assert (second is not first, second.program.generation, second.program.suspended) == (True, 1, True)
    assert [item["status"] for item in world.status()["conditions"] if item["type"] == "Suspended"] == [
        "True"
    ]
    world.edit(WRONG, suspend=False)
    await until(lambda: world.status()["observedGeneration"] == 4)
    await world.settled()
    assert not (await world.running()).program.suspended
    assert world.status()["lastValidSpec"] == kept


async def test_the_same_generation_that_is_not_valid_any_more_leaves_nothing_to_go_back_to(
    world: World,
) -> None:
    world.create()
    running = await world.running()
    await world.says("True", "Subscribed")

    policy = world.rule("AgentPolicy", "strict", agentSelector={}, subscriptions=[])
    world.fleet.observe_rule(policy)
    ready = await world.says("False", "PolicyViolation")

    assert running.task.done() and world.fleet._running == {}
    assert ready["message"].endswith("the Agent is stopped, and its events wait in the stream")
    assert "lastValidSpec" not in world.status()

    world.fleet.observe_rule(policy, deleted=True)
    await world.says("True", "Subscribed")
    await world.running()


# --- what troubles it -----------------------------------------------------------------------------------------


async def test_what_troubles_all_is_said_of_all_and_the_loops_go_on(world: World) -> None:
    world.create()
    world.create(name="writer")
    for name in ("researcher", "writer"):
        await world.says("True", "Subscribed", name)

    world.fleet.set_shared_trouble(Trouble("StreamUnsafe", "it loses events"))
    for name in ("researcher", "writer"):
        assert (await world.says("False", "StreamUnsafe", name))["message"] == "it loses events"
    world.bus.come()
    await world.heard(1)

    world.fleet.set_shared_trouble(None)
    for name in ("researcher", "writer"):
        await world.says("True", "Subscribed", name)


async def test_a_loop_that_starts_over_for_long_is_in_trouble(server: ApiServer) -> None:
    async with fleet_on(server, HealthThresholds(loop=0.01, effects=1000, between=0, pods=1000)) as world:
        world.bus.away = True
        world.create()

        ready = await world.says("False", "BrokerUnavailable")

        assert ready["message"] == "no broker; events wait, and the Agent goes on by itself"
        (sight,) = world.fleet.snapshots()
        assert sight.ready == ("False", "BrokerUnavailable")
        world.bus.away = False
        await world.says("True", "Subscribed")


async def test_a_mistake_of_ours_is_said_and_the_agent_is_looked_at_again(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reconcile_queue, "RETRY_DELAY_S", 0.001)
    tries = 0

    def breaks(*given: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise RuntimeError("a mistake")
        return choose_generation(*given)

    monkeypatch.setattr(agents, "choose_generation", breaks)
    world.create()
    await world.running()

    said = [record for record in caplog.records if record.getMessage() == "cannot reconcile"]
    assert [(r.agent, r.error, bool(r.exc_info)) for r in said] == [  # type: ignore[attr-defined]
        ("demo/researcher", "a mistake", True)
    ] * 2


async def test_a_loop_that_breaks_is_said_aloud(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks(*_: Any) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(AgentLoop, "run", breaks)
    body = world.create()

    await until(lambda: "agent loop failed" in caplog.text)

    (record,) = [item for item in caplog.records if item.getMessage() == "agent loop failed"]
    assert record.agent == str(ref(body))  # type: ignore[attr-defined]
    assert record.exc_info and str(record.exc_info[1]) == "a mistake"


# --- what is known of it --------------------------------------------------------------------------------------


async def test_what_is_known_of_agents_is_shown_without_asking(world: World) -> None:
    body = world.create()
    world.create(WRONG, name="wrong")
    await world.running()
    await world.says("True", "Subscribed")
    await world.says("False", "Invalid", "wrong")
    world.bus.come()
    await world.heard(1)
    await until(lambda: next(iter(world.fleet.snapshots())).stored.ledger.totals.handled == 1)  # type: ignore[union-attr]
    asked = len(world.server.asked)

    found = {item.agent.name: item for item in world.fleet.snapshots()}

    assert set(found) == {"researcher", "wrong"}
    one, other = found["researcher"], found["wrong"]
    assert (one.agent, one.ready, one.stuck, one.refused) == (ref(body), ("True", "Subscribed"), 0, False)
    assert one.lag is not None and one.lag.events == 0
    assert (other.stored, other.lag, other.ready) == (None, None, ("False", "Invalid"))
    assert len(world.server.asked) == asked


async def test_a_status_that_is_refused_is_shown(world: World) -> None:
    world.server.refuse = lambda method, path: 403 if path.endswith("/status") else None
    body = world.create()

    await until(lambda: world.fleet.describe_refused() is not None)

    assert world.fleet.describe_refused() == f"cannot write the status of 1 agent: {ref(body)}: 403: no 403"
    (sight,) = world.fleet.snapshots()
    assert sight.refused
    await until(lambda: bool(world.server.of("events")))
    (event,) = world.server.of("events")
    assert (event["reason"], event["involvedObject"]["name"]) == ("StatusRefused", "researcher")


async def test_news_of_a_condition_is_an_event(world: World) -> None:
    world.create(WRONG)
    await until(lambda: bool(world.server.of("events")))

    (event,) = world.server.of("events")
    assert (event["type"], event["reason"]) == ("Warning", "Invalid")


async def test_what_somebody_makes_of_the_condition_is_put_right(world: World) -> None:
    world.create()
    await world.says("True", "Subscribed")
    world.bus.come()  # the loop has shown that it is well
    await world.heard(1)

    world.edit(status={"conditions": [{**world.condition(), "status": "False", "reason": "Vandal"}]})

    await world.says("True", "Subscribed")


async def test_after_the_end_nothing_runs(server: ApiServer) -> None:
    async with fleet_on(server) as world:
        world.create()
        running = await world.running()

    assert running.task.done()
    assert world.fleet._running == {}
