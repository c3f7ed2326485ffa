"""Pods and the node's kubelet die in the middle of work: nothing is lost and nothing done twice."""

from __future__ import annotations

import os
import time

import pytest

from tests.builders.events import data_of
from tests.cluster.controlplane.waiting import eventually
from tests.e2e.agents import ANSWERED, slow
from tests.e2e.asking import question
from tests.e2e.broker import Broker
from tests.e2e.cluster import (
    Cluster,
)
from tests.e2e.node import machine
from tests.e2e.node.layout import Layout
from tests.e2e.release import NAMESPACE, Release
from tests.patience import PATIENCE
from tests.statuses import totals

QUESTIONS = 6
LASTING = 10.0  # seconds that a Job takes which is to be seen at work


def at_work(cluster: Cluster, namespace: str, count: int) -> None:
    """Until so many containers of Jobs run."""

    def running() -> bool:
        pods = cluster.items("pods", "-n", namespace)
        return [pod["status"].get("phase") for pod in pods].count("Running") == count

    eventually(running, PATIENCE, what=f"{count} running pods", every=0.3)


def assert_all_answered(cluster: Cluster, broker: Broker, namespace: str, topics: list[str]) -> None:
    status = cluster.until(
        "slow", namespace, lambda s: totals(s).get("emitted") == len(topics) and not s["outbox"]
    )
    count = len(topics)
    expected = {"handled": 2 * count, "emitted": count, "tasksStarted": count, "tasksCompleted": count}
    assert totals(status) == expected
    assert status["pendingTasks"] == status["sessions"] == {}
    answers = [data_of(event)["answer"] for event in broker.events(namespace, ANSWERED)]
    assert sorted(answers) == sorted(topics)
    assert len(cluster.items("jobs", "-n", namespace)) == count


def test_operator_pods_deleted_in_mid_flight(
    cluster: Cluster, release: Release, broker: Broker, namespace: str
) -> None:
    # Given questions whose Jobs are at work
    cluster.apply([slow()], namespace)
    cluster.until_ready("slow", namespace)
    topics = [f"topic-{number}" for number in range(QUESTIONS)]
    broker.publish(namespace, [question(topic, LASTING) for topic in topics[:-1]])
    at_work(cluster, namespace, QUESTIONS - 1)

    # When all operators are gone at once, while Jobs end and another question comes
    old = [pod["metadata"]["name"] for pod in release.pods()]
    cluster.kubectl("delete", "pod", "-n", NAMESPACE, "--force", "--grace-period=0", *old)
    broker.publish(namespace, [question(topics[-1], 1)])

    # Then
    assert_all_answered(cluster, broker, namespace, topics)
    cluster.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/heed", f"--timeout={PATIENCE:.0f}s")
    assert not set(old) & {pod["metadata"]["name"] for pod in release.pods()}


def test_the_active_operator_is_deleted_and_the_standby_takes_over(
    cluster: Cluster, release: Release, broker: Broker, namespace: str
) -> None:
    # Given
    cluster.apply([slow()], namespace)
    cluster.until_ready("slow", namespace)
    active = release.active()
    broker.publish(namespace, [question("takeover", LASTING)])
    at_work(cluster, namespace, 1)

    # When
    cluster.kubectl("delete", "pod", "-n", NAMESPACE, active)

    # Then
    assert_all_answered(cluster, broker, namespace, ["takeover"])
    assert release.active() != active


@pytest.mark.skipif(os.environ.get("E2E_CLUSTER", "node") != "node", reason="the kubelet is not ours")
def test_the_kubelet_is_away_while_jobs_end(cluster: Cluster, broker: Broker, namespace: str) -> None:
    # Given Jobs at work
    layout = Layout.from_environment()
    cluster.apply([slow()], namespace)
    cluster.until_ready("slow", namespace)
    topics = [f"topic-{number}" for number in range(QUESTIONS)]
    broker.publish(namespace, [question(topic, LASTING) for topic in topics[:3]])
    at_work(cluster, namespace, 3)

    # When the kubelet dies in the middle of them and of starting more, and is not there when they end
    broker.publish(namespace, [question(topic, 1) for topic in topics[3:]])
    machine.hold(layout, "kubelet")
    try:
        time.sleep(LASTING)  # the containers end by themselves, and nobody is there who could tell
        assert len(cluster.status("slow", namespace)["pendingTasks"]) >= 3
    finally:
        machine.release(layout, "kubelet")

    # Then
    assert_all_answered(cluster, broker, namespace, topics)
