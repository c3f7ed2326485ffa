"""`helm uninstall` leaves the CRDs, and with them the Agents, and nothing else of the release."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.controlplane.waiting import eventually
from tests.e2e.agents import counter
from tests.e2e.cluster import Cluster
from tests.e2e.release import NAMESPACE, Release

# Made and unmade by the cluster itself, for whatever is there.
OF_THE_CLUSTER = {
    "events",
    "events.events.k8s.io",
    "endpointslices.discovery.k8s.io",
    "endpoints",
    "leases.coordination.k8s.io",
}


def objects(cluster: Cluster) -> set[str]:
    """Everything that can be listed: in the release's namespace, and outside of namespaces."""
    found = set()
    for where in (("--namespaced=true", "-n", NAMESPACE), ("--namespaced=false",)):
        listed = cluster.kubectl("api-resources", "--verbs=list", "-o", "name", where[0]).split()
        kinds = ",".join(sorted(set(listed) - OF_THE_CLUSTER))
        found |= set(cluster.kubectl("get", kinds, *where[1:], "-o", "name", "--ignore-not-found").split())
    return found


@pytest.fixture
def survivor(cluster: Cluster) -> Iterator[str]:
    """An Agent in a namespace of its own, without a finalizer to wait for."""
    cluster.kubectl("create", "namespace", "survivors")
    yield "survivors"
    cluster.kubectl("delete", "namespace", "survivors", "--wait=false")


def test_crds_and_agents_stay_and_nothing_else(cluster: Cluster, release: Release, survivor: str) -> None:
    # Given an Agent that has decided something
    cluster.apply([counter()], survivor)
    before = cluster.until_ready("counter", survivor)
    with_release = objects(cluster)

    # When
    release.uninstall()

    # Then of the release, only its CRDs are left
    labelled = cluster.kubectl("get", "crds", "-o", "name", "-l", "app.kubernetes.io/instance=heed").split()
    assert {name.removeprefix("customresourcedefinition.apiextensions.k8s.io/") for name in labelled} == {
        "agents.heed.dev",
        "agentpolicies.heed.dev",
        "eventgrants.heed.dev",
        "eventtypes.heed.dev",
    }
    heeds = eventually(lambda: left(cluster), 60, what="only the CRDs left")
    assert heeds == set(labelled)

    # And the Agent is as it was
    assert cluster.status("counter", survivor)["sessions"] == before["sessions"]
    assert "serviceaccount/heed" in with_release


def left(cluster: Cluster) -> set[str] | None:
    """What bears the release's name, once no pod or claim is on its way out any more."""
    found = {name for name in objects(cluster) if "heed" in name.partition("/")[2]}
    found -= {f"namespace/{NAMESPACE}", "node/heed-node"}
    on_the_way = {name for name in found if name.startswith(("pod/", "persistentvolumeclaim/"))}
    return None if on_the_way else found
