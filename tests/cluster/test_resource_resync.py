"""Resync of resource tasks: what a watch missed is found, and what is not lost is not called so."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.resources.kinds import GROUP, Objects, definition, install
from tests.cluster.stories import RESEARCHER
from tests.cluster.watchless import Watchless, true
from tests.statuses import totals

pytestmark = pytest.mark.cluster
PATH = f"/apis/{GROUP}/v1/namespaces"
RESOURCE: dict[str, Any] = {
    "template": {"apiVersion": f"{GROUP}/v1", "kind": "Widget", "spec": {"size": 1}},
    "succeeded": 'object.status.phase == "Ready"',
    "result": "{'answer': object.status.answer}",
}


@pytest.fixture
async def blind(control_plane: ControlPlane, watchless: Watchless) -> Watchless:
    """A fleet whose watch of Widgets has stopped, after a task's object was made."""
    install(control_plane, definition("widgets", "Widget"))
    await watchless.create(
        {**RESEARCHER, "spec": {**RESEARCHER["spec"], "tasks": {"research": {"resource": RESOURCE}}}}
    )
    await watchless.ask("q-1")
    await watchless.status(lambda s: [t["phase"] for t in s["pendingTasks"].values()] == ["Started"])
    (watch,) = watchless.fleet._loops.watches._watches.values()
    await watchless.until(lambda: true(len(watch.informer.objects) == 1), "the object in the watch")
    watch.running.cancel()
    return watchless


@pytest.fixture
def widgets(control_plane: ControlPlane, blind: Watchless) -> Objects:
    return Objects(control_plane.admin, blind.namespace, f"{GROUP}/v1", "widgets")


@pytest.mark.parametrize("everywhere", [False, True])
async def test_an_end_that_no_watch_showed_is_found_by_the_sweep(
    blind: Watchless, widgets: Objects, everywhere: bool
) -> None:
    widgets.report(widgets.one(), phase="Ready", answer="the moon")

    await blind.fleet.sweep(None if everywhere else blind.namespace)

    status = await blind.status(lambda s: totals(s).get("tasksCompleted") == 1)
    assert status["sessions"]["c-1"]["state"]["answer"] == "the moon"


async def test_a_deletion_that_no_watch_showed_is_found_by_the_sweep(
    blind: Watchless, widgets: Objects
) -> None:
    widgets.delete(widgets.one())
    widgets.none()

    await blind.fleet.sweep(blind.namespace)

    status = await blind.status(lambda s: totals(s).get("tasksFailed") == 1)
    assert status["recentTasks"][0]["reason"] == "ResourceLost"


async def test_a_sweep_finds_nothing_wrong_where_nothing_is_wrong(blind: Watchless, widgets: Objects) -> None:
    for number in range(3):
        await blind.ask(f"n-{number}", f"c-{number}x")
        await blind.fleet.sweep(blind.namespace)
    await blind.status(lambda s: totals(s).get("tasksStarted") == 4)
    await blind.fleet.sweep(blind.namespace)

    assert "tasksFailed" not in totals((await blind.agent())["status"])
    assert len(widgets.all()) == 4


async def test_watches_that_no_task_needs_end_with_the_sweep(blind: Watchless, widgets: Objects) -> None:
    widgets.report(widgets.one(), phase="Ready", answer="the moon")
    await blind.fleet.sweep(blind.namespace)
    await blind.status(lambda s: totals(s).get("tasksCompleted") == 1)
    assert len(blind.fleet._loops.watches.kinds) == 1

    await blind.fleet.sweep(blind.namespace)

    assert blind.fleet._loops.watches.kinds == []


async def test_an_object_that_another_owner_has_under_the_name_is_a_lost_one(
    blind: Watchless, widgets: Objects
) -> None:
    body = widgets.one()
    widgets.delete(body)
    widgets.none()
    path = f"{PATH}/{blind.namespace}/widgets"
    theirs = {**RESOURCE["template"], "metadata": {"name": body["metadata"]["name"]}}
    await blind.api.create(path, theirs)

    await blind.fleet.sweep(blind.namespace)

    status = await blind.status(lambda s: totals(s).get("tasksFailed") == 1)
    assert status["recentTasks"][0]["reason"] == "ResourceLost"
    assert len(widgets.all()) == 1
