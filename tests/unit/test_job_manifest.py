"""The Job of a task and the Secret of a Job as a whole, and the patches that let a Job run."""

from __future__ import annotations

import copy
import json
from functools import partial
from typing import Any

import pytest

from heed import names
from heed.bus.auth.jwt import NatsKey, UserSigner
from heed.bus.task_credentials import TaskCredentials
from heed.core.effects import TaskWork
from heed.core.tasks.job_contract import task_document_json, task_environment
from heed.kube.jobs import manifest
from heed.kube.jobs.manifest import job_manifest
from tests.builders.tasks import task_work

SESSION = "$(HOME)"
looking = partial(
    task_work, id="look-1", task="look", session=SESSION, document={"input": "$(HOME)"}, retention=60
)
SIGNING = TaskCredentials("nats://jobs.example:4222", UserSigner(NatsKey.new("account")))
FILE = {
    "name": "heed-task",
    "downwardAPI": {
        "items": [
            {
                "path": "task.json",
                "fieldRef": {"fieldPath": f"metadata.annotations['{names.ANNOTATION_TASK}']"},
            }
        ]
    },
}
MOUNT = {"name": "heed-task", "mountPath": "/heed", "readOnly": True}
KEYS_MOUNT = {"name": "heed-nats", "mountPath": "/heed-nats", "readOnly": True}
OWN = {
    names.LABEL_AGENT: "researcher",
    names.LABEL_TASK: "look",
    names.LABEL_TASK_ID: "look-1",
    names.LABEL_ATTEMPT: "1",
    names.LABEL_SESSION: names.session_hash(SESSION),
}
NAME = names.job_name("researcher", "look-1")


def variables(task: TaskWork, result_file: str = "/dev/termination-log") -> list[dict[str, str]]:
    """What every container gets; Kubernetes expands $(…), so a dollar is two of them."""
    found = task_environment(task, result_file=result_file)
    return [{"name": name, "value": value.replace("$", "$$")} for name, value in found.items()]


def test_the_least_that_an_author_writes() -> None:
    task = looking({"template": {"spec": {"containers": [{"name": "main", "image": "example"}]}}})
    before = copy.deepcopy(task.spec)

    assert job_manifest(task) == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": NAME,
            "namespace": "demo",
            "labels": OWN,
            "annotations": {names.ANNOTATION_RETENTION: "60"},
            "ownerReferences": [
                {
                    "apiVersion": "heed.dev/v1alpha1",
                    "kind": "Agent",
                    "name": "researcher",
                    "uid": "uid-1",
                    "controller": True,
                }
            ],
        },
        "spec": {
            "template": {
                "metadata": {"labels": OWN, "annotations": {names.ANNOTATION_TASK: task_document_json(task)}},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "volumes": [FILE],
                    "containers": [
                        {
                            "name": "main",
                            "image": "example",
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "volumeMounts": [MOUNT],
                            "env": variables(task),
                        }
                    ],
                },
            }
        },
    }
    assert task.spec == before
    (container,) = job_manifest(task)["spec"]["template"]["spec"]["containers"]
    assert {"name": "HEED_SESSION", "value": "$$(HOME)"} in container["env"]
    assert json.loads(task_document_json(task))["input"] == "$(HOME)"


def test_what_an_author_writes_stays_and_what_is_heeds_comes_to_it() -> None:
    pod = {
        "restartPolicy": "OnFailure",
        "automountServiceAccountToken": True,
        "volumes": [{"name": "mine"}],
        "initContainers": [{"name": "first", "env": [{"name": "A", "value": "$(B)"}]}],
        "containers": [
            {
                "name": "main",
                "terminationMessagePath": "/out",
                "terminationMessagePolicy": "File",
                "volumeMounts": [{"name": "mine", "mountPath": "/mine"}],
                "env": None,
            }
        ],
    }
    own = {
        "labels": {"a": "b", names.LABEL_AGENT: "forged"},
        "annotations": {"c": "d", names.ANNOTATION_TASK: "x"},
    }
    task = looking(
        {
            "metadata": own,
            "backoffLimit": 2,
            "ttlSecondsAfterFinished": 5,
            "template": {"metadata": copy.deepcopy(own), "spec": pod},
        },
        publish=("com.example.*",),
        timeout=90,
    )

    made = job_manifest(task, SIGNING)

    assert made["metadata"]["labels"] == {"a": "b", **OWN}
    assert made["metadata"]["annotations"] == {
        "c": "d",
        names.ANNOTATION_RETENTION: "60",
        names.ANNOTATION_PUBLISHES: "true",
        names.ANNOTATION_SUSPENDED: "credentials",
    }
    assert made["spec"].keys() == {"backoffLimit", "template", "suspend", "activeDeadlineSeconds"}
    assert (made["spec"]["suspend"], made["spec"]["activeDeadlineSeconds"]) == (True, 90)
    template = made["spec"]["template"]
    assert template["metadata"] == {
        "labels": {"a": "b", **OWN},
        "annotations": {"c": "d", names.ANNOTATION_TASK: task_document_json(task)},
    }
    broker = [
        {"name": "HEED_NATS_URL", "value": "nats://jobs.example:4222"},
        {"name": "NATS_URL", "value": "nats://jobs.example:4222"},
        {"name": "HEED_PROGRESS_SUBJECT", "value": _subject(names.TASK_PROGRESS)},
        {"name": "HEED_RESULT_SUBJECT", "value": _subject(names.TASK_RESULT)},
        {
            "name": "HEED_EVENTS_SUBJECT",
            "value": names.event_subject("demo", "x").removesuffix(".x").replace("$", "$$"),
        },
        {
            "name": "HEED_INBOX_PREFIX",
            "value": names.task_inbox("demo", "researcher", "look-1").replace("$", "$$"),
        },
        {"name": "HEED_NATS_CREDENTIALS", "value": "/heed-nats/nats.creds"},
        {"name": "NATS_CREDS", "value": "/heed-nats/nats.creds"},
    ]
    assert template["spec"] == {
        "restartPolicy": "OnFailure",
        "automountServiceAccountToken": True,
        "volumes": [
            {"name": "mine"},
            FILE,
            {"name": "heed-nats", "secret": {"secretName": f"{NAME}-nats"}},
        ],
        "initContainers": [
            {
                "name": "first",
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [MOUNT, KEYS_MOUNT],
                "env": [*variables(task), *broker, {"name": "A", "value": "$(B)"}],
            }
        ],
        "containers": [
            {
                "name": "main",
                "terminationMessagePath": "/out",
                "terminationMessagePolicy": "File",
                "volumeMounts": [{"name": "mine", "mountPath": "/mine"}, MOUNT, KEYS_MOUNT],
                "env": [*variables(task, "/out"), *broker],
            }
        ],
    }


def _subject(type_: str) -> str:
    return names.task_subject("demo", "researcher", "look-1", type_).replace("$", "$$")


def test_without_anything_to_sign_with_a_job_that_publishes_is_not_suspended() -> None:
    spec = {"template": {"spec": {"containers": [{"name": "main"}]}}}

    made = job_manifest(looking(spec, publish=()), TaskCredentials("nats://open.example"))

    assert "suspend" not in made["spec"]
    assert made["metadata"]["annotations"] == {
        names.ANNOTATION_RETENTION: "60",
        names.ANNOTATION_PUBLISHES: "true",
    }
    pod = made["spec"]["template"]["spec"]
    assert pod["volumes"] == [FILE]
    (container,) = pod["containers"]
    assert container["volumeMounts"] == [MOUNT]
    given = {item["name"]: item["value"] for item in container["env"]}
    assert given["HEED_NATS_URL"] == given["NATS_URL"] == "nats://open.example"
    assert not {"HEED_NATS_CREDENTIALS", "NATS_CREDS"} & given.keys()


def test_a_template_that_is_none_is_made_one() -> None:
    made = job_manifest(looking({"template": None}))

    assert made["spec"]["template"]["metadata"]["labels"] == OWN
    assert made["spec"]["template"]["spec"]["restartPolicy"] == "Never"


# ── credentials ─────────────────────────────────────────────────────────────────────────────────────────────────────


def made_job(**metadata: Any) -> dict[str, Any]:
    given = {"name": "r-1", "namespace": "demo", "uid": "u-1", "labels": {names.LABEL_TASK_ID: "look-1"}}
    return {"metadata": {**given, **metadata}}


def test_the_secret_of_a_job_goes_with_it() -> None:
    assert manifest.secret_manifest(made_job(), "SECRET") == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "r-1-nats",
            "namespace": "demo",
            "labels": {names.LABEL_TASK_ID: "look-1"},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "r-1", "uid": "u-1"}],
        },
        "immutable": True,
        "stringData": {"nats.creds": "SECRET"},
    }


@pytest.mark.parametrize(
    ("annotations", "awaits"),
    [({names.ANNOTATION_SUSPENDED: "credentials"}, True), ({"a": "b"}, False), (None, False)],
)
def test_a_job_that_waits_for_its_credentials_is_marked(annotations: Any, awaits: bool) -> None:
    assert manifest.awaits_credentials(made_job(annotations=annotations)) is awaits
    assert manifest.awaits_credentials(made_job()) is False


@pytest.mark.parametrize(
    ("labels", "suspend", "resumed"),
    [
        (None, None, {"spec": {"suspend": False}}),
        ({"kueue.x-k8s.io/queue-name": ""}, False, {"spec": {"suspend": False}}),
        ({"kueue.x-k8s.io/queue-name": "q"}, False, {}),
        (None, True, {}),
    ],
)
def test_a_job_is_let_run_unless_its_author_or_a_queue_holds_it(
    labels: Any, suspend: Any, resumed: Any
) -> None:
    job, task = made_job(labels=labels), looking({} if suspend is None else {"suspend": suspend})

    assert manifest.resume_patch(task, job) == resumed
    assert manifest.release_patch(task, job) == {
        "metadata": {"annotations": {names.ANNOTATION_SUSPENDED: None}},
        **resumed,
    }
    assert manifest.is_queued(job) is bool(labels and all(labels.values()))


@pytest.mark.parametrize(
    ("status", "started"),
    [
        (None, False),
        ({"active": 1, "failed": 1}, False),
        ({"ready": 0, "succeeded": 0}, False),
        ({"ready": 1}, True),
        ({"succeeded": 1}, True),
    ],
)
def test_a_job_has_started_where_a_pod_of_it_was_ready(status: Any, started: bool) -> None:
    assert manifest.has_started({**made_job(), "status": status}) is started
