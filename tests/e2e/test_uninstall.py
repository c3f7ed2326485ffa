"""`helm uninstall` leaves the CRDs, and with them the Agents, and nothing else of the release."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.controlplane.waiting import eventually
from tests.e2e.agents import counter
from tests.e2e.cluster import PATIENCE, Cluster
from tests.e2e.release import NAMESPACE, Release

CRD = "customresourcedefinition.apiextensions.k8s.io"
KINDS = {f"{CRD}/{plural}.heed.dev" for plural in ("agents", "agentpolicies", "eventgrants", "eventtypes")}
API = "apiservice.apiregistration.k8s.io/v1alpha1.heed.dev"  # the API server's own, for these kinds


@pytest.fixture
def survivor(cluster: Cluster) -> Iterator[str]:
    """A namespace whose Agent nobody deletes."""
    cluster.kubectl("create", "namespace", "survivors")
    yield "survivors"
    cluster.kubectl("delete", "namespace", "survivors", "--wait=false")


def test_crds_and_agents_stay_and_nothing_else(cluster: Cluster, release: Release, survivor: str) -> None:
    # Given an Agent
    cluster.apply([counter()], survivor)
    status = cluster.until_ready("counter", survivor)
    installed = cluster.objects(NAMESPACE) - release.before
    assert "deployment.apps/heed" in installed

    # When
    release.uninstall()

    # Then
    stories = {"namespace/survivors"}
    eventually(
        lambda: left(cluster, release) <= KINDS | {API} | stories,
        PATIENCE,
        what=f"nothing of {sorted(installed)} but the CRDs",
        every=1,
    )
    assert set(cluster.kubectl("get", "crds", "-o", "name").split()) >= KINDS
    assert cluster.status("counter", survivor)["cursor"] == status["cursor"]


def left(cluster: Cluster, release: Release) -> set[str]:
    """What was not there before the installation; namespaces of other stories may be on their way out."""
    found = cluster.objects(NAMESPACE) - release.before
    return {name for name in found if not name.startswith("namespace/story-")}
