"""`helm test` and the Lease on a real API server, with a real operator: what the chart makes is what they need."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chart.rendering import render
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.operating import SYSTEM, Broker, Operator, Stage
from tests.cluster.releases import run_test_pod
from tests.ports import free_port

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
Check = Callable[[int], subprocess.CompletedProcess[str]]


@pytest.fixture
def check(control_plane: ControlPlane, stage: Stage, broker: Broker, tmp_path: Path) -> Check:
    """Makes what `helm test` makes, and runs what its pod runs, as its service account with the chart's rights."""

    def check(timeout: int) -> subprocess.CompletedProcess[str]:
        rendered = render(f"watchNamespace={stage.namespace}", f"test.timeout={timeout}", hooks=True)
        made = [
            item for item in rendered if item["metadata"]["name"] == "heed-test" and item["kind"] != "Pod"
        ]
        moved = json.dumps({"apiVersion": "v1", "kind": "List", "items": made})
        control_plane.kubectl("apply", "-f", "-", stdin=moved.replace('"system"', f'"{stage.namespace}"'))
        account = control_plane.as_service_account(stage.namespace, "heed-test")
        return run_test_pod(rendered.pod("Pod"), account, tmp_path, {"HEED_NATS_URL": broker.url})

    return check


def test_helm_test_passes_where_events_come_through(check: Check) -> None:
    done = check(60)

    assert done.returncode == 0, done.stderr
    assert "published test.helm.published" in done.stdout


def test_helm_test_says_what_is_missing(check: Check, operator: Operator) -> None:
    operator.kill()

    done = check(3)

    assert done.returncode == 1
    assert "no operator has looked at it; is one active?" in done.stderr


def test_operator_takes_the_lease_that_the_chart_makes(
    control_plane: ControlPlane, operator_kubeconfig: Path, broker: Broker, tmp_path: Path
) -> None:
    # given the chart's Lease, in which nothing is written
    lease = render()["Lease"]
    path = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases"
    control_plane.admin.post(path, {**lease, "metadata": {"name": "heed"}})
    operator = Operator(
        operator_kubeconfig, broker.url, tmp_path, free_port(), lease="heed", lease_namespace=SYSTEM
    )
    try:
        # when an operator starts, then it is the active one
        operator.start()
        assert control_plane.admin.get(f"{path}/heed")["spec"]["holderIdentity"] == "operator"
    finally:
        operator.kill()
        control_plane.admin.delete(f"{path}/heed")
