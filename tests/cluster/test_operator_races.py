"""What a watch shows of Agents late, twice, out of order or never: the fleet on a real API server."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from heed.kube.client.client import ApiError, agent_path, jobs_path
from tests.builders.agents import ref
from tests.cluster.stories import RESEARCHER, researcher, with_handler
from tests.cluster.watchless import AGENT, Watchless
from tests.statuses import totals

pytestmark = pytest.mark.cluster
MORE = {"name": "other", "type": "com.example.other", "state": {"other": True}}


def handlers(*more: dict[str, Any]) -> dict[str, Any]:
    """A merge patch that gives the Agent these handlers too."""
    return {"spec": {"handlers": [*RESEARCHER["spec"]["handlers"], *more]}}


async def test_an_agent_deleted_in_a_gap_of_the_watch_is_stopped_by_the_sweep(watchless: Watchless) -> None:
    await watchless.create()
    await watchless.running()
    await watchless.delete()

    await watchless.fleet.sweep(watchless.namespace)

    await watchless.stopped()


async def test_a_sweep_does_not_stop_an_agent_that_came_into_being_meanwhile(
    watchless: Watchless, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an Agent that is replaced by another of its name between the sweep's list and what is made of it
    await watchless.create()
    await watchless.running()
    fleet, listed = watchless.fleet, watchless.fleet._api.list

    async def list_then_replace(*arguments: Any, **options: Any) -> Any:
        items = await listed(*arguments, **options)
        await watchless.delete()
        new = await watchless.create()
        await watchless.until(lambda: runs(watchless, new), "the new one")
        return items

    monkeypatch.setattr(fleet._api, "list", list_then_replace)
    await fleet.sweep(watchless.namespace)
    monkeypatch.undo()

    # Then the new one goes on
    await watchless.ask("q-1")
    await watchless.status(lambda s: "c-1" in s["sessions"])


async def test_a_loop_that_was_told_its_agent_is_gone_begins_again_where_it_is_not(
    watchless: Watchless, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an API server that said once too often that something is not there
    body = await watchless.add()
    get = watchless.fleet._api.get

    async def lying(path: str, query: Any = None) -> Any:
        raise ApiError(404, "the server could not find the requested resource")

    monkeypatch.setattr(watchless.fleet._api, "get", lying)
    watchless.fleet.observe(body)
    await watchless.until(lambda: ended(watchless), "the end of the loop")
    monkeypatch.setattr(watchless.fleet._api, "get", get)

    # When
    await watchless.fleet.sweep(watchless.namespace)

    # Then
    await watchless.ask("q-1")
    await watchless.status(lambda s: "c-1" in s["sessions"])
    await watchless.condition("True", "Subscribed")


async def test_a_namesake_is_seen_before_the_old_one_is_seen_to_be_gone(watchless: Watchless) -> None:
    # Given two Agents of one name, whose events come out of order: kopf keeps order for one object only
    old = await watchless.create()
    await watchless.running()
    await watchless.delete()
    new = await watchless.add()

    # When
    watchless.fleet.observe(new)
    watchless.fleet.observe(old, deleted=True)

    # Then the new one runs, with a ledger of its own
    await watchless.ask("q-9", "c-9")
    await watchless.status(lambda s: "c-9" in s["sessions"])
    assert (await watchless.agent())["metadata"]["uid"] == new["metadata"]["uid"]


async def test_a_late_sight_of_the_old_one_does_not_stop_its_namesake(watchless: Watchless) -> None:
    # Given
    old = await watchless.create()
    await watchless.condition("True", "Subscribed")
    written = await watchless.agent()
    await watchless.delete()
    new = await watchless.create()
    await watchless.until(lambda: runs(watchless, new), "the new one")

    # When what was seen of the old one comes late
    for late in (old, written):
        watchless.fleet.observe(late)
    watchless.fleet.observe(written, deleted=True)

    # Then
    await watchless.ask("q-9", "c-9")
    await watchless.status(lambda s: "c-9" in s["sessions"])
    assert await runs(watchless, new)


async def test_a_late_sight_of_an_older_generation_changes_nothing(watchless: Watchless) -> None:
    body = await watchless.create()
    await watchless.edit(handlers(MORE))
    await watchless.running(2)

    watchless.fleet.observe(body)

    await watchless.ask("o-1", "c-1", "com.example.question.asked")
    await watchless.status(lambda s: "c-1" in s["sessions"])
    assert [item.program.generation for item in watchless.fleet._running.values()] == [2]
    await watchless.status(lambda s: s["observedGeneration"] == 2)


async def test_an_agent_recreated_while_it_is_at_work_begins_anew_and_the_old_one_writes_nothing_into_it(
    watchless: Watchless,
) -> None:
    # Given an Agent in the midst of many events, of whose end nobody is told
    await watchless.create()
    asking = asyncio.create_task(ask_many(watchless, 40))
    await watchless.status(lambda s: totals(s).get("handled", 0) >= 3)
    await watchless.delete()
    new = await watchless.create()
    await asking

    # When all is done
    await watchless.ask("last", "c-last")
    status = await watchless.status(lambda s: "c-last" in s["sessions"])

    # Then the new ledger accounts for what the new Agent did, and every Job is of its own
    status = await watchless.status(
        lambda s: all(t["phase"] == "Started" for t in s["pendingTasks"].values())
    )
    assert totals(status)["handled"] == len(status["sessions"]) == totals(status)["tasksStarted"]
    mine = [
        job
        for job in await watchless.jobs()
        if job["metadata"]["ownerReferences"][0]["uid"] == new["metadata"]["uid"]
    ]
    assert len(mine) == len(status["pendingTasks"])
    assert ref(await watchless.agent()) == ref(new)


async def test_edits_while_events_come_lose_none_and_decide_none_twice(watchless: Watchless) -> None:
    # Given
    await watchless.create()
    asking = asyncio.create_task(ask_many(watchless, 40))

    # When the Agent is edited, and relabelled, again and again meanwhile
    for number in range(6):
        more = {**MORE, "name": f"other-{number}"}
        labels = {"metadata": {"labels": {"edit": f"n-{number}"}}}
        await watchless.edit({**handlers(more), **labels})
        await asyncio.sleep(0)
    await asking

    # Then
    status = await watchless.status(
        lambda s: (
            totals(s).get("handled") == 40
            and all(task["phase"] == "Started" for task in s["pendingTasks"].values())
        )
    )
    assert totals(status) == {"handled": 40, "tasksStarted": 40}
    assert len(await watchless.jobs()) == 40
    await watchless.running(7)


async def test_a_change_of_labels_takes_effect(watchless: Watchless) -> None:
    # Given an Agent that speaks of its labels
    manifest = with_handler(name="label", type="com.example.label", state={"team": "${agent.labels.team}"})
    manifest["spec"]["subscribe"] = [{"type": "com.example.>"}]
    manifest["metadata"]["labels"] = {"team": "blue"}
    await watchless.create(manifest)
    await watchless.ask("l-1", "c-1", "com.example.label")
    await watchless.status(lambda s: s["sessions"].get("c-1", {}).get("state") == {"team": "blue"})

    # When
    body = await watchless.edit({"metadata": {"labels": {"team": "red"}}})

    # Then, though its generation is the same
    assert body["metadata"]["generation"] == 1
    await watchless.until(lambda: labelled(watchless, "red"), "the new label")
    await watchless.ask("l-2", "c-2", "com.example.label")
    await watchless.status(lambda s: s["sessions"].get("c-2", {}).get("state") == {"team": "red"})

    # And so it is while the last valid generation stands in for an invalid one
    typo = {"name": "typo", "type": "com.example.label", "when": "evnt.id == ''"}
    await watchless.edit({"spec": {"handlers": [*manifest["spec"]["handlers"], typo]}})
    await watchless.condition("False", "Invalid")
    await watchless.edit({"metadata": {"labels": {"team": "green"}}})
    await watchless.until(lambda: labelled(watchless, "green"), "the new label")
    await watchless.ask("l-3", "c-3", "com.example.label")
    await watchless.status(lambda s: s["sessions"].get("c-3", {}).get("state") == {"team": "green"})


async def test_a_change_seen_at_the_very_end_of_a_reconciliation_is_not_missed(
    watchless: Watchless, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a change that is seen in the turn in which the reconciliation of the one before is over
    body = await watchless.add()
    changed = await watchless.edit(handlers(MORE), show=False)
    fleet = watchless.fleet
    reconcile = fleet._run_latest

    async def then_look(name: Any, seen: Any) -> None:
        await reconcile(name, seen)
        if seen["metadata"]["generation"] == 1:
            asyncio.get_running_loop().call_soon(fleet.observe, changed)

    monkeypatch.setattr(fleet, "_run_latest", then_look)
    fleet.observe(body)

    # Then
    await watchless.running(2)


async def test_an_agent_that_is_being_deleted_reacts_to_nothing_more(watchless: Watchless) -> None:
    # Given an Agent that someone's finalizer keeps for a while
    manifest = copy.deepcopy(RESEARCHER)
    manifest["metadata"]["finalizers"] = ["example.com/wait"]
    await watchless.create(manifest)
    await watchless.ask("q-1")
    job = await watchless.started()

    # When it is deleted, and its Jobs with it
    await watchless.delete()
    watchless.fleet.observe(await watchless.agent())
    await watchless.stopped()
    await watchless.api.delete(jobs_path(watchless.namespace, job["metadata"]["name"]))
    watchless.fleet.observe_job(job, deleted=True)

    # Then no failure is told to anyone
    assert "tasksFailed" not in totals((await watchless.agent())["status"])
    await watchless.api.merge(agent_path(watchless.namespace, AGENT), {"metadata": {"finalizers": None}})


async def test_an_invalid_agent_that_is_replaced_by_a_valid_one_is_forgotten(watchless: Watchless) -> None:
    # Given an Agent that never ran
    old = await watchless.create(
        researcher(handlers=[{"name": "typo", "type": "com.example.x", "when": "evnt"}])
    )
    await watchless.condition("False", "Invalid")

    # When another one takes its place, seen before the old one is seen to be gone
    await watchless.delete()
    await watchless.create()
    watchless.fleet.observe(old, deleted=True)

    # Then
    await watchless.condition("True", "Subscribed")
    await watchless.ask("q-1")
    await watchless.status(lambda s: "c-1" in s["sessions"])


async def ask_many(watchless: Watchless, count: int) -> None:
    for number in range(count):
        await watchless.ask(f"q-{number}", f"c-{number}")


async def runs(watchless: Watchless, body: dict[str, Any]) -> bool:
    return any(item.program.agent == ref(body) for item in watchless.fleet._running.values())


async def ended(watchless: Watchless) -> bool:
    return any(item.task.done() for item in watchless.fleet._running.values())


async def labelled(watchless: Watchless, team: str) -> bool:
    return any(item.program.labels.get("team") == team for item in watchless.fleet._running.values())
