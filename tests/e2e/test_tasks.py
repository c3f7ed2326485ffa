"""Tasks that fail or never begin, on a real kubelet: their Agents hear why, and people see it."""

from __future__ import annotations

from typing import Any

from tests.cluster.controlplane.waiting import eventually
from tests.e2e.agents import FAILED, PYTHON, slow
from tests.e2e.asking import question
from tests.e2e.broker import Broker
from tests.e2e.cluster import Cluster
from tests.e2e.release import CONTAINER_SECURITY
from tests.patience import PATIENCE

MINUTE = 60.0  # until a task without a pod that runs is overdue


def slow_with_pod(pod: dict[str, Any]) -> dict[str, Any]:
    """The slow one, with more in its Job's pod; it passes on all that it hears of a failure."""
    made = slow()
    made["spec"]["tasks"]["echo"]["job"]["template"]["spec"] |= pod
    made["spec"]["handlers"][-1]["emit"][0]["data"] = "${event.data}"
    return made


def failure(broker: Broker, namespace: str) -> dict[str, Any]:
    """What the Agent was told."""
    (event,) = eventually(lambda: broker.events(namespace, FAILED), 2 * PATIENCE, what="a failed task")
    assert isinstance(event.data, dict)
    return event.data


def condition(cluster: Cluster, namespace: str, status: str) -> dict[str, Any]:
    """TasksStuck, once it says this."""
    patience = MINUTE + 2 * PATIENCE
    return cluster.until_condition(
        "slow", namespace, "TasksStuck", lambda item: item["status"] == status, patience
    )


def test_an_init_container_that_fails_is_named_with_its_words(
    cluster: Cluster, broker: Broker, namespace: str
) -> None:
    script = "import sys; sys.exit('cannot clone repo: auth failed')"
    clone = {"name": "clone", "image": PYTHON, "command": ["python3", "-c", script]}
    cluster.apply(
        [slow_with_pod({"initContainers": [clone | {"securityContext": CONTAINER_SECURITY}]})], namespace
    )
    cluster.until_ready("slow", namespace)

    broker.publish(namespace, [question("init", 0)])

    told = failure(broker, namespace)
    assert (told["reason"], told["cause"]) == ("BackoffLimitExceeded", "Error")
    assert (told["container"], told["exitCode"]) == ("clone", 1)
    assert told["message"] == "cannot clone repo: auth failed"


def test_a_task_whose_pod_never_runs_is_said_to_be_stuck_until_it_does(
    cluster: Cluster, broker: Broker, namespace: str
) -> None:
    # Given a Job that mounts a Secret which is not there
    made = slow_with_pod({"volumes": [{"name": "keys", "secret": {"secretName": "missing"}}]})
    (container,) = made["spec"]["tasks"]["echo"]["job"]["template"]["spec"]["containers"]
    container["volumeMounts"] = [{"name": "keys", "mountPath": "/keys"}]
    cluster.apply([made], namespace)
    cluster.until_ready("slow", namespace)

    # When its task is started
    broker.publish(namespace, [question("stuck", 0)])

    # Then the Agent says what keeps it, and takes it back when the Secret is there
    stuck = condition(cluster, namespace, "True")
    assert stuck["reason"] == "FailedMount"
    assert 'secret "missing" not found' in stuck["message"]
    cluster.kubectl("create", "secret", "generic", "missing", "-n", namespace, "--from-literal=a=b")
    assert condition(cluster, namespace, "False")["reason"] == "TasksRun"
