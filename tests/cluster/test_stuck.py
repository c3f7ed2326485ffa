"""What an Agent cannot have made: its condition says so and why, and everything else goes on."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml

from heed import names
from heed.kube.status.loop_health import HealthThresholds
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.operating import (
    Broker,
)
from tests.cluster.stories import RESEARCHER
from tests.cluster.watchless import Watchless, true, watchless_fleet
from tests.statuses import totals

pytestmark = pytest.mark.cluster
QUICK = HealthThresholds(loop=0.5, effects=0.5, between=0.2)
Fleets = Callable[..., AbstractAsyncContextManager[Watchless]]


@pytest.fixture
def fleets(control_plane: ControlPlane, broker: Broker, namespace: str) -> Fleets:
    """Fleets with some rights or other."""

    def fleet(**options: Any) -> AbstractAsyncContextManager[Watchless]:
        return watchless_fleet(control_plane.kubeconfig, broker.url, namespace, patience=QUICK, **options)

    return fleet


@pytest.fixture
async def watchless(fleets: Fleets) -> AsyncIterator[Watchless]:
    async with fleets() as watchless:
        yield watchless


async def test_a_missing_right_to_create_jobs_is_said(
    fleets: Fleets, control_plane: ControlPlane, namespace: str
) -> None:
    kubeconfig = limited(control_plane, namespace, {"jobs": ["get", "list", "watch"]})
    async with fleets(kubeconfig=kubeconfig) as watchless:
        # Given
        await watchless.create()
        await watchless.condition("True", "Subscribed")

        # When
        await watchless.ask("q-1")

        # Then it is said what is missing, and why
        stuck = await watchless.condition("False", "EffectsStuck")
        assert "cannot create resource" in stuck["message"]
        assert "rights" in stuck["message"]

        # And with the right everything goes on by itself
        limited(control_plane, namespace, {"jobs": ["create", "get", "list", "watch"]})
        await watchless.condition("True", "Subscribed")
        assert len(await watchless.jobs()) == 1


async def test_where_not_even_the_condition_may_be_written_the_log_says_so(
    fleets: Fleets, control_plane: ControlPlane, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    kubeconfig = limited(control_plane, namespace)
    async with fleets(kubeconfig=kubeconfig) as watchless:
        # Given
        await watchless.create()
        well = await watchless.condition("True", "Subscribed")

        # When the right to write the status is taken away
        limited(control_plane, namespace, {"agents/status": ["get"]})
        await watchless.ask("q-1")
        await watchless.until(
            lambda: true("cannot write the condition Ready" in caplog.text), "a word in the log"
        )
        (record, *_) = [r for r in caplog.records if r.message == "cannot write the condition Ready"]
        assert record.__dict__["reason"] == "LedgerRefused"
        assert "403" in record.__dict__["error"]

        # Then, when it is given back, the event is decided
        limited(control_plane, namespace)
        await watchless.status(lambda s: "c-1" in s["sessions"])
        assert (await watchless.condition("True", "Subscribed"))["message"] == well["message"]


async def test_a_quota_holds_tasks_up_and_nothing_else(watchless: Watchless, pods: PodPhases) -> None:
    # Given room for one Job
    quota = f"/api/v1/namespaces/{watchless.namespace}/resourcequotas"
    one = {"metadata": {"name": "small"}, "spec": {"hard": {"count/jobs.batch": "1"}}}
    await watchless.api.create(quota, one)

    async def counted() -> bool:
        found = (await watchless.api.get(f"{quota}/small")).body
        return "used" in found.get("status", {})

    await watchless.until(counted, "a quota that is kept")
    manifest = copy.deepcopy(RESEARCHER)
    manifest["spec"]["tasks"]["research"]["retention"] = "0s"
    await watchless.create(manifest)

    # When three tasks are to be started
    for number in range(3):
        await watchless.ask(f"q-{number}", f"c-{number}")
    await watchless.status(lambda s: totals(s).get("tasksStarted") == 3)

    # Then the condition gives the API server's reason
    stuck = await watchless.condition("False", "EffectsStuck")
    assert "exceeded quota: small" in stuck["message"]
    assert "raise the quota" in stuck["message"]

    # And what runs comes to its end, whose follow-ups are made
    (job,) = await watchless.jobs()
    await asyncio.to_thread(
        pods.succeed, watchless.namespace, job["metadata"]["name"], '{"answer": "the moon"}'
    )
    done = await watchless.until(lambda: watchless.finished(job["metadata"]["name"]), "its end")
    watchless.fleet.observe_job(done)
    await watchless.status(lambda s: totals(s).get("tasksCompleted") == 1 and not s["outbox"])

    # And when there is room, everything goes on by itself
    await watchless.api.merge(f"{quota}/small", {"spec": {"hard": {"count/jobs.batch": "5"}}})
    await watchless.status(lambda s: [t["phase"] for t in s["pendingTasks"].values()] == ["Started"] * 2)
    await watchless.condition("True", "Subscribed")


def limited(control_plane: ControlPlane, namespace: str, rights: dict[str, list[str]] | None = None) -> Path:
    """A service account with the operator's rights in a namespace, some of them replaced; again, to change them."""
    granted = {
        "agents": ["get", "list", "watch"],
        "agents/status": ["patch"],
        "jobs": ["create", "delete", "get", "list", "watch"],
        "pods": ["list"],
        **(rights or {}),
    }
    name = {"metadata": {"name": "limited", "namespace": namespace}}
    rbac = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": ["", "batch", names.GROUP], "resources": [resource], "verbs": verbs}
        for resource, verbs in granted.items()
    ]
    account = {"kind": "ServiceAccount", "name": "limited", "namespace": namespace}
    reference = {"apiGroup": rbac, "kind": "Role", "name": "limited"}
    objects = [
        {"apiVersion": "v1", "kind": "ServiceAccount", **name},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", **name, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            **name,
            "subjects": [account],
            "roleRef": reference,
        },
    ]
    control_plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))
    return control_plane.kubeconfig_for_service_account(namespace, "limited")
