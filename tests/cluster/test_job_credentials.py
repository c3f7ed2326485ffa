"""Jobs with an identity of their own on a real API server and a real broker in JWT mode."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from heed import names
from heed.bus.auth.accounts import OPERATOR_CREDS
from heed.kube.jobs.manifest import QUEUE_LABEL
from tests.chart.rendering import NAMESPACE
from tests.cluster.controlplane.api import ApiError
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.keyed import SECRET, KeyedBroker, KeyedOperator, installed
from tests.cluster.operating import (
    Stage,
)
from tests.cluster.queueing import QUEUE, admit
from tests.cluster.stories import RESEARCHER
from tests.cluster.tenancy import make_namespace
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.statuses import totals

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def kubeconfig(control_plane: ControlPlane) -> Path:
    make_namespace(control_plane, NAMESPACE)
    return installed(control_plane)


@dataclass
class Keyed:
    """A namespace, an operator that makes its broker's keys, and that broker."""

    stage: Stage
    operator: KeyedOperator
    broker: KeyedBroker
    plane: ControlPlane

    def apply(self, *, suspend: bool = False) -> None:
        self.stage.apply(publishing(suspend=suspend))

    def job(self) -> dict[str, Any]:
        """The one Job, once it may run."""
        eventually(
            lambda: (jobs := self.stage.jobs()) and not jobs[0]["spec"].get("suspend"),
            PATIENCE,
            what=f"a Job that runs; log: {self.operator.log}",
        )
        (job,) = self.stage.jobs()
        return job

    def secrets(self) -> list[dict[str, Any]]:
        """All in the namespace."""
        return list(self.plane.admin.get(f"/api/v1/namespaces/{self.stage.namespace}/secrets")["items"])

    def secret(self, job: dict[str, Any]) -> dict[str, Any] | None:
        path = f"/api/v1/namespaces/{self.stage.namespace}/secrets/{job['metadata']['name']}-nats"
        try:
            found: dict[str, Any] = self.plane.admin.get(path)
        except ApiError as error:
            if error.status != 404:
                raise
            return None
        return found

    def credentials(self, job: dict[str, Any]) -> str:
        """What the Job's containers find in HEED_NATS_CREDENTIALS."""
        secret = self.secret(job)
        assert secret is not None
        return base64.b64decode(secret["data"]["nats.creds"]).decode()

    def say(self, job: dict[str, Any], type_: str, data: Any, id: str = "p-1") -> None:
        """As the Job would."""
        variables = environment(job)
        variable = "HEED_PROGRESS_SUBJECT" if type_ == names.TASK_PROGRESS else "HEED_RESULT_SUBJECT"
        subject, prefix = variables[variable], variables["HEED_INBOX_PREFIX"]
        self.broker.send(self.credentials(job), subject, type_, id, data, prefix)


def publishing(*, suspend: bool = False) -> dict[str, Any]:
    """The researcher, whose Job may publish."""
    manifest = copy.deepcopy(RESEARCHER)
    task = manifest["spec"]["tasks"]["research"]
    task["publish"] = True
    if suspend:
        task["job"]["suspend"] = True
    manifest["spec"]["handlers"].insert(
        1,
        {
            "name": "note",
            "type": names.TASK_PROGRESS,
            "state": {"percent": "${event.data.percent}", "of": "${task.name}"},
        },
    )
    return manifest


def environment(job: dict[str, Any]) -> dict[str, str]:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return {item["name"]: item["value"] for item in container["env"]}


def empty(plane: ControlPlane) -> None:
    """The Secret as the chart makes it."""
    path = f"/api/v1/namespaces/{NAMESPACE}/secrets"
    plane.kubectl("delete", "secret", "-n", NAMESPACE, SECRET, "--ignore-not-found")
    plane.admin.post(path, {"metadata": {"name": SECRET}})


@pytest.fixture
def keyed(control_plane: ControlPlane, kubeconfig: Path, namespace: str, tmp_path: Path) -> Iterator[Keyed]:
    empty(control_plane)
    broker = KeyedBroker(control_plane, tmp_path / "broker", free_port())
    operator = KeyedOperator(kubeconfig, broker.url, tmp_path, free_port())
    operator.launch()
    try:
        eventually(lambda: broker.keys, PATIENCE, what=f"keys; log: {operator.log}")
        broker.start()
        operator.until("active")
        stage = Stage(control_plane, namespace, operator, None)  # type: ignore[arg-type]
        yield Keyed(stage, operator, broker, control_plane)
    finally:
        operator.kill()
        broker.stop()


def test_two_replicas_that_start_at_once_fill_the_secret_once_and_find_the_broker(
    control_plane: ControlPlane, kubeconfig: Path, tmp_path: Path
) -> None:
    # Given an empty Secret, and no broker, which cannot start without it
    empty(control_plane)
    broker = KeyedBroker(control_plane, tmp_path / "broker", free_port())
    replicas = [
        KeyedOperator(kubeconfig, broker.url, tmp_path, free_port(), identity=name)
        for name in ("a", "b", "c")
    ]

    # When
    for replica in replicas:
        replica.launch()
    try:
        keys = eventually(lambda: broker.keys, PATIENCE, what="keys")
        broker.start()

        # Then
        def roles() -> list[Any]:
            return sorted(str(replica.probe("readyz")) for replica in replicas)

        wanted = sorted(["(200, 'active')", "(200, 'standby')", "(200, 'standby')"])
        eventually(lambda: roles() == wanted, PATIENCE, what="one active and two standbys")
        assert broker.keys == keys
        logs = "".join(replica.log.read_text() for replica in replicas)
        assert logs.count("keys for the broker made") == 1
        assert not [seed for seed in broker.seeds() if seed in logs]
    finally:
        for replica in replicas:
            replica.kill()
        broker.stop()


def test_without_the_secret_the_probe_says_what_is_missing(
    control_plane: ControlPlane, kubeconfig: Path, tmp_path: Path
) -> None:
    empty(control_plane)
    control_plane.admin.delete(f"/api/v1/namespaces/{NAMESPACE}/secrets/{SECRET}")
    broker = KeyedBroker(control_plane, tmp_path / "broker", free_port())
    operator = KeyedOperator(kubeconfig, broker.url, tmp_path, free_port())
    operator.launch()
    try:

        def told() -> str:
            return str(operator.probe("readyz"))

        eventually(lambda: f"Secret {NAMESPACE}/{SECRET}: 404" in told(), PATIENCE, what="the reason")

        # When
        empty(control_plane)

        # Then
        eventually(lambda: broker.keys, PATIENCE, what="keys")
        broker.start()
        operator.until("active")
    finally:
        operator.kill()
        broker.stop()


def test_a_job_says_how_far_it_is_and_publishes_a_result_that_no_termination_message_could_hold(
    keyed: Keyed, pods: PodPhases
) -> None:
    # Given
    keyed.apply()
    keyed.broker.ask(keyed.stage.namespace)
    job = keyed.job()

    # When
    keyed.say(job, names.TASK_PROGRESS, {"percent": 40})
    keyed.say(job, names.TASK_RESULT, {"answer": "the moon " * 5_000}, id="r-1")
    pods.succeed(keyed.stage.namespace, job["metadata"]["name"], "too little")

    # Then
    status = keyed.stage.until(lambda s: totals(s).get("tasksCompleted"))
    state = status["sessions"]["c-1"]["state"]
    assert state["answer"] == "the moon " * 5_000
    assert (state["percent"], state["of"]) == (40, "research")
    assert totals(status)["handled"] == 3
    assert "deadLettered" not in totals(status)


def test_a_job_has_all_it_needs_to_talk_and_its_secret_goes_with_it(keyed: Keyed, pods: PodPhases) -> None:
    keyed.apply()
    keyed.broker.ask(keyed.stage.namespace)
    job = keyed.job()
    name, namespace = job["metadata"]["name"], keyed.stage.namespace
    task_id = job["metadata"]["labels"][names.LABEL_TASK_ID]

    # Then it knows where to talk, and who it is
    variables = environment(job)
    assert variables["HEED_NATS_URL"] == variables["NATS_URL"] == keyed.broker.url
    assert variables["HEED_NATS_CREDENTIALS"] == variables["NATS_CREDS"] == "/heed-nats/nats.creds"
    assert variables["HEED_PROGRESS_SUBJECT"] == names.task_subject(
        namespace, "researcher", task_id, names.TASK_PROGRESS
    )
    pod = job["spec"]["template"]["spec"]
    assert {"name": "heed-nats", "secret": {"secretName": f"{name}-nats", "defaultMode": 420}} in pod[
        "volumes"
    ]
    (container,) = pod["containers"]
    assert {"name": "heed-nats", "mountPath": "/heed-nats", "readOnly": True} in container["volumeMounts"]

    # And nobody needs to clean up: the Secret is the Job's
    secret = keyed.secret(job)
    assert secret is not None
    assert secret["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    keyed.plane.kubectl("delete", "job", "-n", namespace, name)
    eventually(lambda: keyed.secret(job) is None, PATIENCE, what="the Secret to go")


@pytest.mark.parametrize("point", ["before-secret", "after-secret", "after-release"])
def test_whatever_it_dies_of_between_job_and_credentials_the_job_gets_them(keyed: Keyed, point: str) -> None:
    # Given an operator that dies between creating a Job and letting it run
    keyed.apply()
    keyed.stage.until(lambda s: s.get("conditions"))
    keyed.operator.stop()
    keyed.operator.start_dying(point, keyed.stage.namespace)
    keyed.broker.ask(keyed.stage.namespace)
    keyed.operator.wait_dead()
    (left,) = keyed.stage.jobs()
    assert (keyed.secret(left) is None) == (point == "before-secret")
    assert left["spec"].get("suspend", False) == (point != "after-release")

    # When
    keyed.operator.start()

    # Then it is the same Job, it runs, and its credentials are good
    job = keyed.job()
    assert job["metadata"]["uid"] == left["metadata"]["uid"]
    keyed.say(job, names.TASK_PROGRESS, {"percent": 1})
    status = keyed.stage.until(lambda s: totals(s).get("handled") == 2)
    assert totals(status) == {"handled": 2, "tasksStarted": 1}
    assert next(iter(status["pendingTasks"].values())).get("phase", "Started") == "Started"


def test_a_secret_that_a_quota_refuses_leaves_a_job_that_runs_once_there_is_room(
    keyed: Keyed, pods: PodPhases
) -> None:
    # Given room for one Job, and none for a Secret
    path = f"/api/v1/namespaces/{keyed.stage.namespace}/resourcequotas"
    hard = {"count/jobs.batch": "1", "count/secrets": str(len(keyed.secrets()))}
    keyed.plane.admin.post(path, {"metadata": {"name": "tight"}, "spec": {"hard": hard}})
    eventually(
        lambda: keyed.plane.admin.get(f"{path}/tight").get("status", {}).get("used"),
        PATIENCE,
        what="a quota that is kept",
    )

    # When a task is to be started, again and again
    keyed.apply()
    keyed.broker.ask(keyed.stage.namespace)
    keyed.stage.until(lambda s: any("exceeded quota: tight" in item["message"] for item in s["conditions"]))

    # Then the Job of the first try waits, in the one place there is
    (left,) = keyed.stage.jobs()
    assert left["spec"]["suspend"] is True
    assert keyed.secret(left) is None

    # And runs with its credentials as soon as there is room
    room = {"spec": {"hard": {"count/secrets": str(len(keyed.secrets()) + 1)}}}
    keyed.plane.admin.patch(f"{path}/tight", room)
    job = keyed.job()
    assert job["metadata"]["uid"] == left["metadata"]["uid"]
    keyed.say(job, names.TASK_PROGRESS, {"percent": 1})
    pods.succeed(keyed.stage.namespace, job["metadata"]["name"], '{"answer": "the moon"}')
    status = keyed.stage.until(lambda s: totals(s).get("tasksCompleted"))
    assert totals(status)["tasksStarted"] == 1


def test_a_job_that_its_author_wants_suspended_stays_suspended(keyed: Keyed) -> None:
    keyed.apply(suspend=True)
    keyed.broker.ask(keyed.stage.namespace)

    status = keyed.stage.until(
        lambda s: [task for task in s.get("pendingTasks", {}).values() if "owed" not in task]
    )

    (job,) = keyed.stage.jobs()
    assert job["spec"]["suspend"] is True
    assert names.ANNOTATION_SUSPENDED not in job["metadata"]["annotations"]
    assert keyed.secret(job) is not None
    assert totals(status) == {"handled": 1, "tasksStarted": 1}


def test_a_job_that_waits_in_a_queue_gets_its_credentials_and_stays_suspended(
    keyed: Keyed, pods: PodPhases
) -> None:
    # Given a Job that Heed and a queue suspend, each for its own reason
    manifest = publishing()
    manifest["spec"]["tasks"]["research"]["job"]["metadata"] = {"labels": {QUEUE_LABEL: QUEUE}}
    keyed.stage.apply(manifest)
    keyed.broker.ask(keyed.stage.namespace)

    # When Heed has no reason any more
    started = keyed.stage.until(
        lambda s: [task for task in s.get("pendingTasks", {}).values() if "owed" not in task]
    )

    # Then the queue still has
    (job,) = keyed.stage.jobs()
    assert job["spec"]["suspend"] is True
    assert names.ANNOTATION_SUSPENDED not in job["metadata"]["annotations"]
    assert keyed.secret(job) is not None
    assert totals(started) == {"handled": 1, "tasksStarted": 1}

    # And once it admits the Job, that runs and says how far it is
    admit(keyed.plane, job)
    keyed.say(job, names.TASK_PROGRESS, {"percent": 40})
    pods.succeed(keyed.stage.namespace, job["metadata"]["name"], '{"answer": "the moon"}')
    keyed.stage.until(lambda s: totals(s).get("tasksCompleted"))


def test_no_secret_is_ever_shown(keyed: Keyed, pods: PodPhases) -> None:
    # Given a whole story, and a broker that was away
    keyed.apply()
    keyed.broker.ask(keyed.stage.namespace)
    job = keyed.job()
    lines = keyed.credentials(job).splitlines()
    secrets = [
        *keyed.broker.seeds(),
        *(lines[at + 1] for at, line in enumerate(lines) if line.startswith("-----BEGIN")),
        keyed.broker.keys[OPERATOR_CREDS].splitlines()[1],
    ]
    keyed.broker.stop()
    keyed.broker.start()
    keyed.say(job, names.TASK_PROGRESS, {"percent": 1})
    pods.succeed(keyed.stage.namespace, job["metadata"]["name"], '{"answer": "the moon"}')
    keyed.stage.until(lambda s: totals(s).get("tasksCompleted"))
    keyed.operator.stop()

    # Then
    told = {
        "the log": keyed.operator.log.read_text(),
        "the Agent": json.dumps(keyed.stage.agent()),
        "the Jobs": json.dumps(keyed.stage.jobs()),
        "the Events": keyed.plane.kubectl("get", "events", "-A", "-o", "json"),
    }
    assert len(secrets) >= 6
    assert not [where for where, text in told.items() if any(secret in text for secret in secrets)]
