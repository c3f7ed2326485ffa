"""Deployments of workers on a real API server, with the real controllers of Deployments and ReplicaSets.

There is no node: the tests play the kubelet, and `heed worker` runs as a process where a pod would run it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from heed import names
from tests.cluster.coding import CodeWorker, ask, until_answered
from tests.cluster.controlplane.api import ApiError
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.helm import require_helm
from tests.cluster.operating import Broker, Operator, Stage
from tests.patience import PATIENCE
from tests.ports import free_port

pytestmark = pytest.mark.cluster

NAME = "researcher-worker"


def with_template(manifest: dict[str, Any], image: str = "workers:1", **worker: Any) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "worker", "image": image}]}}
    spec = manifest["spec"]
    return {
        **manifest,
        "spec": {**spec, "worker": {**spec["worker"], "template": template, "replicas": 1, **worker}},
    }


def path(stage: Stage, kind: str = "deployments", name: str = NAME) -> str:
    return f"/apis/apps/v1/namespaces/{stage.namespace}/{kind}/{name}"


def deployment(stage: Stage) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = stage.plane.admin.get(path(stage))
    except ApiError as error:
        if error.status != 404:
            raise
        return None
    return found


def until_deployed(stage: Stage, image: str = "workers:1") -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = deployment(stage)
        return found if found is not None and image_of(found) == image else None

    return eventually(look, PATIENCE, what=f"a Deployment of {image}; log: {stage.operator.log}")


def image_of(workload: dict[str, Any]) -> str:
    return str(workload["spec"]["template"]["spec"]["containers"][0]["image"])


def pods(stage: Stage, image: str) -> list[dict[str, Any]]:
    query = f"labelSelector={names.LABEL_WORKER_OF}=researcher"
    found = stage.plane.admin.get(f"/api/v1/namespaces/{stage.namespace}/pods?{query}")["items"]
    return [pod for pod in found if pod["spec"]["containers"][0]["image"] == image]


def report_pods(stage: Stage, image: str, state: dict[str, Any], *, ready: bool) -> None:
    """Say of the pods with an image what a kubelet would."""
    found = eventually(lambda: pods(stage, image), PATIENCE, what=f"pods of {image}")
    for pod in found:
        conditions = [{"type": "PodScheduled", "status": "True"}]
        conditions += [
            {"type": name, "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}
            for name in ("Initialized", "ContainersReady", "Ready")
        ]
        status = {"name": "worker", "image": image, "imageID": "", "restartCount": 0}
        PodPhases(stage.plane.admin).report(
            pod,
            phase="Running" if ready else "Pending",
            conditions=conditions,
            containerStatuses=[{**status, "ready": ready, "state": state}],
        )


def run_pods(stage: Stage, image: str) -> None:
    report_pods(stage, image, {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, ready=True)


def condition(status: dict[str, Any], type_: str = "WorkerReady") -> dict[str, Any]:
    return next((item for item in status["conditions"] if item["type"] == type_), {})


def summary(said: dict[str, Any]) -> tuple[Any, ...]:
    return said.get("status"), said.get("reason"), said.get("observedGeneration")


def until_condition(stage: Stage, status: str, reason: str, type_: str = "WorkerReady") -> dict[str, Any]:
    def holds(found: dict[str, Any]) -> bool:
        said = condition(found, type_)
        return (said.get("status"), said.get("reason")) == (status, reason)

    what = f"{type_}={status} {reason}"
    return condition(stage.until(holds, "researcher", what), type_)


def test_a_deployment_is_made_repaired_and_removed(
    stage: Stage, workers: tuple[CodeWorker, CodeWorker]
) -> None:
    one, _ = workers
    stage.apply(with_template(one.manifest()))

    made = until_deployed(stage)
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == (stage.agent("researcher")["metadata"]["uid"], True)
    until_condition(stage, "False", "Progressing")
    run_pods(stage, "workers:1")
    until_condition(stage, "True", "Available")

    stage.plane.kubectl("set", "image", f"deployment/{NAME}", "worker=evil:1", "-n", stage.namespace)
    until_deployed(stage)
    stage.plane.admin.delete(path(stage))
    eventually(
        lambda: (
            (found := deployment(stage)) is not None and found["metadata"]["uid"] != made["metadata"]["uid"]
        ),
        PATIENCE,
        what="another Deployment",
    )

    stage.apply(one.manifest() | {"spec": {**one.manifest()["spec"], "worker": without(one)}})
    eventually(lambda: deployment(stage) is None, PATIENCE, what="no Deployment")
    until_condition(stage, "Unknown", "External")


def without(worker: CodeWorker) -> dict[str, Any]:
    return {**worker.manifest()["spec"]["worker"], "template": None, "replicas": None}


def test_replicas_that_the_manifest_leaves_out_are_an_autoscalers(
    stage: Stage, workers: tuple[CodeWorker, CodeWorker]
) -> None:
    one, _ = workers
    manifest = with_template(one.manifest())
    del manifest["spec"]["worker"]["replicas"]
    stage.apply(manifest)
    assert until_deployed(stage)["spec"]["replicas"] == 1

    stage.plane.kubectl("scale", f"deployment/{NAME}", "--replicas=0", "-n", stage.namespace)
    until_condition(stage, "False", "ScaledToZero")
    manifest["spec"]["worker"]["template"]["spec"]["containers"][0]["image"] = "workers:2"
    stage.apply(manifest)

    assert until_deployed(stage, "workers:2")["spec"]["replicas"] == 0


def test_the_last_good_generation_decides_until_the_new_code_answers(
    stage: Stage, workers: tuple[CodeWorker, CodeWorker]
) -> None:
    one, two = workers
    stage.apply(with_template(one.manifest()))
    run_pods(stage, "workers:1")
    one.start()
    ask(stage, "comets")
    until_answered(stage, comets="one of comets")

    stage.apply(with_template(two.manifest(), image="workers:bad"))
    until_deployed(stage, "workers:bad")
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    report_pods(stage, "workers:bad", waiting, ready=False)
    until_condition(stage, "False", "ImagePullBackOff")
    ready = until_condition(stage, "False", "WorkersAwaited", "Ready")
    assert "generation 1 decides meanwhile" in ready["message"]
    assert two.manifest()["spec"]["worker"]["digest"] in ready["message"]
    ask(stage, "tides")
    until_answered(stage, comets="one of comets", tides="one of tides")
    stage.operator.kill()
    stage.operator.start()
    ask(stage, "ink")
    until_answered(stage, comets="one of comets", tides="one of tides", ink="one of ink")

    stage.apply(with_template(two.manifest(), image="workers:2"))
    until_deployed(stage, "workers:2")
    run_pods(stage, "workers:2")
    two.start()
    until_condition(stage, "True", "Subscribed", "Ready")
    one.end()
    ask(stage, "stars")
    until_answered(
        stage, comets="one of comets", tides="one of tides", ink="one of ink", stars="two of stars"
    )
    assert not stage.status("researcher").get("lastValidSpec")


def test_at_zero_replicas_no_worker_of_new_code_is_awaited(
    stage: Stage, workers: tuple[CodeWorker, CodeWorker]
) -> None:
    one, two = workers
    stage.apply(with_template(one.manifest(), replicas=0))
    until_condition(stage, "False", "ScaledToZero")

    stage.apply(with_template(two.manifest(), image="workers:2", replicas=0))

    until_deployed(stage, "workers:2")
    ready = ("True", "Subscribed", 2)
    stage.until(lambda found: ready == summary(condition(found, "Ready")), "researcher", "generation 2")
    ask(stage, "comets")
    until_condition(stage, "False", "CodeUnavailable", "Ready")
    two.start()
    until_answered(stage, comets="two of comets")


def test_a_deployment_of_somebody_else_is_left_alone(
    stage: Stage, workers: tuple[CodeWorker, CodeWorker]
) -> None:
    labels = {"heed.dev/worker-of": "researcher"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "x", "image": "theirs:1"}]}}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "labels": labels},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
    }
    stage.apply(body)

    stage.apply(with_template(workers[0].manifest()))

    assert "delete it" in until_condition(stage, "False", "NameTaken")["message"]
    found = deployment(stage)
    assert found is not None
    assert image_of(found) == "theirs:1"


def test_what_the_api_server_refuses_is_said(stage: Stage, workers: tuple[CodeWorker, CodeWorker]) -> None:
    manifest = with_template(workers[0].manifest())
    manifest["spec"]["worker"]["template"]["spec"]["containers"][0]["image"] = ""

    stage.apply(manifest)

    assert "image" in until_condition(stage, "False", "Refused")["message"]


@pytest.fixture
def poor_operator(
    control_plane: ControlPlane, broker: Broker, namespace: str, tmp_path: Path
) -> Iterator[Operator]:
    """An operator with the chart's default rights, for one namespace."""
    command = [str(require_helm()), "template", "poor", "charts/heed", "--namespace", namespace]
    command += [
        "--set",
        f"watchNamespace={namespace}",
        "--set",
        "crds.install=false",
        "--set",
        "election.enabled=false",
    ]
    command += ["--set", "replicas=1"]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rights = [
        item
        for item in yaml.safe_load_all(rendered)
        if item and item["kind"] in ("ServiceAccount", "Role", "RoleBinding")
    ]
    control_plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(rights))
    account = next(item["metadata"]["name"] for item in rights if item["kind"] == "ServiceAccount")
    kubeconfig = control_plane.kubeconfig_for_service_account(namespace, account)
    made = Operator(kubeconfig, broker.url, tmp_path, free_port(), lease="")
    made.environment |= {"HEED_NAMESPACE": namespace, "HEED_LEASE": ""}
    try:
        yield made.start()
    finally:
        made.kill()


def test_without_rights_the_condition_names_the_value_of_the_chart(
    control_plane: ControlPlane, namespace: str, poor_operator: Operator, broker: Broker, tmp_path: Path
) -> None:
    stage = Stage(control_plane, namespace, poor_operator, broker)
    one = CodeWorker(stage, tmp_path, "one")
    stage.apply(with_template(one.manifest()))

    assert "workers.enabled=true" in until_condition(stage, "False", "Refused")["message"]
    one.start()
    try:
        ask(stage, "comets")
        until_answered(stage, comets="one of comets")
    finally:
        one.end()
