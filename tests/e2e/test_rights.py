"""Stories that need each of the operator's rights; test_audit.py then looks whether all were needed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders.manifests import document
from tests.cluster.controlplane.waiting import eventually
from tests.e2e.agents import ASKED, FAILED, slow
from tests.e2e.asking import question
from tests.e2e.broker import Broker
from tests.e2e.cluster import (
    Cluster,
    CommandFailed,
)
from tests.e2e.release import NAME, NAMESPACE, Release
from tests.patience import PATIENCE
from tests.statuses import totals


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("AgentPolicy", {"agentSelector": {"matchLabels": {"nobody": "here"}}, "limits": {"sessions": 10}}),
        ("EventGrant", {"from": [{"namespace": "demo"}], "types": ["com.example.>"]}),
        ("EventType", {"type": "com.example.typed", "schema": {"type": "object"}}),
    ],
)
def test_rules_are_accepted(
    cluster: Cluster, release: Release, namespace: str, kind: str, spec: dict[str, Any]
) -> None:
    cluster.apply([document(kind, spec, "rule", None)], namespace)
    cluster.kubectl(
        "wait",
        kind.lower(),
        "rule",
        "-n",
        namespace,
        "--for=condition=Accepted",
        f"--timeout={PATIENCE:.0f}s",
    )


def test_a_manifest_that_cannot_be_right_is_refused_when_it_is_applied(
    cluster: Cluster, release: Release, namespace: str
) -> None:
    agent = slow()
    agent["spec"]["handlers"][0]["when"] = "event.data.topic =="

    with pytest.raises(CommandFailed, match="it ends too early"):
        cluster.apply([agent], namespace)


def test_a_job_that_takes_too_long_is_removed(
    cluster: Cluster, release: Release, broker: Broker, namespace: str
) -> None:
    cluster.apply([slow(timeout="2s")], namespace)
    cluster.until_ready("slow", namespace)

    broker.publish(namespace, [question("endless", 600)])

    cluster.until("slow", namespace, lambda s: totals(s).get("tasksFailed") == 1 and not s["outbox"])
    (failed,) = broker.events(namespace, FAILED)
    assert failed.data == {"reason": "DeadlineExceeded"}
    eventually(lambda: not cluster.items("jobs", "-n", namespace), PATIENCE, what="the Job's end", every=0.5)


def test_an_agent_that_a_policy_forbids_stops_and_says_so_in_an_event(
    cluster: Cluster, release: Release, namespace: str
) -> None:
    # Given an Agent at work
    cluster.apply([slow()], namespace)
    cluster.until_ready("slow", namespace)

    # When
    cluster.apply(
        [document("AgentPolicy", {"agentSelector": {}, "subscriptions": []}, "rule", None)], namespace
    )

    # Then
    cluster.kubectl(
        "wait", "agent", "slow", "-n", namespace, "--for=condition=Ready=False", f"--timeout={PATIENCE:.0f}s"
    )
    (ready,) = (c for c in cluster.status("slow", namespace)["conditions"] if c["type"] == "Ready")
    assert ready["reason"] == "PolicyViolation"
    assert ASKED in ready["message"]

    def told() -> bool:
        events = cluster.items("events", "-n", namespace, "--field-selector=involvedObject.kind=Agent")
        return any(event["reason"] == "PolicyViolation" for event in events)

    eventually(told, PATIENCE, what="an Event", every=0.5)


def test_a_lease_that_somebody_deleted_is_made_again(cluster: Cluster, release: Release) -> None:
    cluster.kubectl("delete", "lease", "heed", "-n", NAMESPACE)

    def held() -> bool:
        try:
            return release.active() in [pod["metadata"]["name"] for pod in release.pods()]
        except CommandFailed:
            return False

    eventually(held, PATIENCE, what="a lease that is held", every=0.5)
    cluster.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/heed", f"--timeout={PATIENCE:.0f}s")

    # It is the replicas' own now; what people do to have the release own it again
    owner = (f"meta.helm.sh/release-name={NAME}", f"meta.helm.sh/release-namespace={NAMESPACE}")
    cluster.kubectl("annotate", "lease", NAME, "-n", NAMESPACE, *owner)
    cluster.kubectl("label", "lease", NAME, "-n", NAMESPACE, "app.kubernetes.io/managed-by=Helm")
