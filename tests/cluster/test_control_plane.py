"""Proves that the harness is a real control plane where the tests that stand on it need one to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.controlplane.api import Api, ApiError
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.run import ControlPlane, KubectlError
from tests.cluster.controlplane.waiting import eventually

pytestmark = pytest.mark.cluster


@pytest.fixture
def api(control_plane: ControlPlane) -> Api:
    return control_plane.admin


def jobs(namespace: str, name: str = "") -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}".rstrip("/")


def config_maps(namespace: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps/{name}".rstrip("/")


def create_job(api: Api, namespace: str, name: str, backoff_limit: int = 0) -> Any:
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "example.invalid/none"}]}
    spec = {"backoffLimit": backoff_limit, "template": {"spec": pod}}
    return api.post(jobs(namespace), {"metadata": {"name": name}, "spec": spec})


def job_has(api: Api, namespace: str, name: str, condition: str) -> Any:
    def holds() -> Any:
        conditions = api.get(jobs(namespace, name))["status"].get("conditions", [])
        return next((c for c in conditions if c["type"] == condition and c["status"] == "True"), None)

    return eventually(holds, what=f"Job {name} is {condition}")


def gone(api: Api, path: str) -> bool:
    try:
        api.get(path)
    except ApiError as error:
        return error.status == 404
    return False


def test_a_service_account_may_do_only_what_a_role_grants(
    control_plane: ControlPlane, namespace: str
) -> None:
    kubectl = control_plane.kubectl
    kubectl("-n", namespace, "create", "serviceaccount", "reader")
    reader = control_plane.as_service_account(namespace, "reader")

    with pytest.raises(ApiError, match="cannot list resource") as refused:
        reader.get(config_maps(namespace))
    assert refused.value.status == 403

    kubectl("-n", namespace, "create", "role", "reading", "--verb=get,list", "--resource=configmaps")
    kubectl(
        "-n",
        namespace,
        "create",
        "rolebinding",
        "r",
        "--role=reading",
        f"--serviceaccount={namespace}:reader",
    )
    file = control_plane.kubeconfig_for_service_account(namespace, "reader")
    listing = eventually(
        lambda: allowed(control_plane, file, namespace), what="the role to reach the authorizer"
    )
    assert "kube-root-ca.crt" in listing
    with pytest.raises(KubectlError, match="forbidden"):
        kubectl("-n", namespace, "create", "configmap", "mine", kubeconfig=file)


def allowed(control_plane: ControlPlane, kubeconfig: Path, namespace: str) -> str | None:
    try:
        return control_plane.kubectl("-n", namespace, "get", "configmaps", kubeconfig=kubeconfig)
    except KubectlError:
        return None


def test_a_merge_patch_of_a_status_with_a_stale_resource_version_conflicts(api: Api, namespace: str) -> None:
    created = create_job(api, namespace, "contested")
    path = f"{jobs(namespace, 'contested')}/status"
    stale = created["metadata"]["resourceVersion"]
    api.patch(jobs(namespace, "contested"), {"metadata": {"labels": {"changed": "yes"}}})

    with pytest.raises(ApiError) as conflict:
        api.patch(path, {"metadata": {"resourceVersion": stale}, "status": {"ready": 0}})

    assert (conflict.value.status, conflict.value.reason) == (409, "Conflict")


def test_a_job_completes_when_its_pod_succeeds(api: Api, namespace: str, pods: PodPhases) -> None:
    create_job(api, namespace, "good")
    pods.start(namespace, "good")

    pods.succeed(namespace, "good", termination_message='{"answer": 42}')

    job_has(api, namespace, "good", "Complete")
    (pod,) = pods.of_job(namespace, "good")
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] == '{"answer": 42}'
    assert api.get(jobs(namespace, "good"))["status"]["succeeded"] == 1


def test_a_job_fails_when_its_last_pod_fails(api: Api, namespace: str, pods: PodPhases) -> None:
    create_job(api, namespace, "bad")

    pods.fail(namespace, "bad", exit_code=3, termination_message="no luck")

    assert job_has(api, namespace, "bad", "Failed")["reason"] == "BackoffLimitExceeded"
    (pod,) = pods.of_job(namespace, "bad")
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3


@pytest.mark.slow
def test_a_failed_pod_is_replaced_while_the_job_may_retry(api: Api, namespace: str, pods: PodPhases) -> None:
    create_job(api, namespace, "stubborn", backoff_limit=1)

    first = pods.fail(namespace, "stubborn", exit_code=1)
    second = pods.succeed(namespace, "stubborn")

    assert first["metadata"]["name"] != second["metadata"]["name"]
    job_has(api, namespace, "stubborn", "Complete")


def test_what_is_owned_goes_with_its_owner(api: Api, namespace: str, pods: PodPhases) -> None:
    owner = api.post(config_maps(namespace), {"metadata": {"name": "owner"}})
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    create_job(api, namespace, "owned")
    api.patch(jobs(namespace, "owned"), {"metadata": {"ownerReferences": [reference]}})
    pods.wait_for_pod(namespace, "owned")

    api.delete(config_maps(namespace, "owner"))

    eventually(lambda: gone(api, jobs(namespace, "owned")), what="the owned Job to go")
    eventually(lambda: not pods.of_job(namespace, "owned"), what="its pods to go")


def test_the_api_server_comes_back_on_its_port_with_its_data(
    control_plane: ControlPlane, api: Api, namespace: str, pods: PodPhases
) -> None:
    create_job(api, namespace, "before")

    control_plane.kill_apiserver()
    try:
        with pytest.raises(OSError, match="refused"):
            api.get("/readyz")
    finally:
        control_plane.start_apiserver()

    pods.succeed(namespace, "before")
    job_has(api, namespace, "before", "Complete")
