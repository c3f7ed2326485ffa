"""`helm uninstall` leaves the CRDs, and with them the Agents, and nothing else of the release."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from heed import names
from tests.cluster.controlplane.waiting import eventually
from tests.e2e.agents import counter
from tests.e2e.asking import tick
from tests.e2e.broker import Broker
from tests.e2e.cluster import (
    Cluster,
)
from tests.e2e.release import NAMESPACE, Release
from tests.patience import PATIENCE
from tests.statuses import totals

CRD = "customresourcedefinition.apiextensions.k8s.io"
KINDS = {f"{CRD}/{plural}.heed.dev" for plural in names.PLURALS.values()}
API = "apiservice.apiregistration.k8s.io/v1alpha1.heed.dev"  # the API server's own, for these kinds


@pytest.fixture
def survivor(cluster: Cluster) -> Iterator[str]:
    """A namespace whose Agent nobody deletes."""
    cluster.kubectl("create", "namespace", "survivors")
    yield "survivors"
    cluster.kubectl("delete", "namespace", "survivors", "--wait=false")


def test_crds_and_agents_stay_and_nothing_else(
    cluster: Cluster, release: Release, broker: Broker, survivor: str
) -> None:
    # Given an Agent that has decided an event
    cluster.apply([counter()], survivor)
    cluster.until_ready("counter", survivor)
    broker.publish(survivor, [tick(1)])
    status = cluster.until("counter", survivor, lambda s: totals(s).get("emitted") == 1 and not s["outbox"])
    installed = cluster.objects(NAMESPACE) - release.before
    assert "deployment.apps/heed" in installed

    # When
    release.uninstall()

    # Then
    try:
        eventually(lambda: not left(cluster, release), PATIENCE, every=1)
    except AssertionError:
        assert left(cluster, release) == set()
    assert set(cluster.kubectl("get", "crds", "-o", "name").split()) >= KINDS
    kept = cluster.status("counter", survivor)
    assert (kept["cursor"], kept["sessions"]) == (status["cursor"], status["sessions"])


def left(cluster: Cluster, release: Release) -> set[str]:
    """What was not there before the installation, CRDs and the stories' own namespaces apart."""
    found = cluster.objects(NAMESPACE) - release.before - KINDS - {API}
    return {name for name in found if not name.startswith(("namespace/story-", "namespace/survivors"))}
