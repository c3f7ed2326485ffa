"""Kinds as the API server serves them, the objects that are made of them, and what is made of refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.core.tasks.resource import ObjectKind
from heed.errors import TaskRefused, TaskUnavailable
from heed.kube.client.client import ApiError, KubeApi
from heed.kube.resources import kinds, manifest
from heed.kube.resources.kinds import KindCache, ServedKind
from heed.kube.resources.refusals import refuse_object
from tests.builders.tasks import OWNER, task_work
from tests.unit.apiserver import ApiServer

WIDGET = ObjectKind("example.com", "v1", "Widget")
SERVED = ServedKind(WIDGET, "widgets")
ALL = ["create", "delete", "get", "list", "watch"]
TASK = "work-0123456789abcdef"


def resource(name: str = "widgets", kind: str = "Widget", **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "namespaced": True, "verbs": ALL, **more}


class Discovery:
    """Answers for the kinds of one group, or with a status."""

    def __init__(self, server: ApiServer, path: str = "/apis/example.com/v1") -> None:
        self.path, self.answer, self.status = path, [resource()], 200
        server.refuse = self._refuse

    def _refuse(self, method: str, path: str) -> Any:
        if path != self.path:
            return None
        return self.status, {"resources": self.answer, "message": "no"}


async def test_a_kind_is_asked_for_once_a_minute(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    Discovery(server)
    cache = KindCache(server.connect(KubeApi))
    clock = [1000.0]
    monkeypatch.setattr(kinds, "loop_time", lambda: clock[0])

    for later in (0.0, kinds.KIND_VALID_S, 0.001):
        clock[0] += later
        assert await cache.find(WIDGET) == SERVED

    assert server.asked == [("GET", "/apis/example.com/v1")] * 2


async def test_subresources_and_other_kinds_are_no_answer(server: ApiServer) -> None:
    discovery = Discovery(server)
    discovery.answer = [resource("widgets/status"), resource("gadgets", "Gadget"), resource("ws")]

    assert (await KindCache(server.connect(KubeApi)).find(WIDGET)).plural == "ws"


@pytest.mark.parametrize(
    ("answer", "status"), [([], 200), ([resource(verbs=["delete", "get", "list", "watch"])], 200), ([], 404)]
)
async def test_a_kind_that_is_not_served_or_is_being_removed_is_unknown(
    server: ApiServer, answer: list[dict[str, Any]], status: int
) -> None:
    discovery = Discovery(server)
    cache = KindCache(server.connect(KubeApi))
    assert await cache.is_served(WIDGET)

    discovery.answer, discovery.status = answer, status

    assert await cache.find(WIDGET) == SERVED  # for a minute
    assert not await cache.is_served(WIDGET)
    with pytest.raises(
        TaskRefused, match=r"does not serve Widget of example\.com/v1; install its"
    ) as refused:
        await cache.find(WIDGET)
    assert refused.value.reason == "KindUnknown"


async def test_kinds_of_the_whole_cluster_are_refused(server: ApiServer) -> None:
    Discovery(server).answer = [resource(namespaced=False)]

    with pytest.raises(TaskRefused, match="is a kind of the whole cluster") as refused:
        await KindCache(server.connect(KubeApi)).find(WIDGET)
    assert refused.value.reason == "ClusterScoped"


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_an_answer_that_is_none_says_nothing_about_a_kind(server: ApiServer, status: int) -> None:
    Discovery(server).status = status
    cache = KindCache(server.connect(KubeApi))

    with pytest.raises(TaskUnavailable, match=r"cannot ask for the kinds of example\.com/v1"):
        await cache.is_served(WIDGET)


async def test_the_right_to_watch_is_asked_for_once_a_minute_and_namespace(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, clock = KindCache(server.connect(KubeApi)), [1000.0]
    monkeypatch.setattr(kinds, "loop_time", lambda: clock[0])
    answers: list[Any] = [(201, {"status": {"allowed": True}})]
    server.refuse = lambda method, path: answers[0]

    for later in (0.0, kinds.KIND_VALID_S, 0.001):
        clock[0] += later
        assert await cache.may_watch(SERVED, "demo")
    assert await cache.may_watch(SERVED, "other")

    kind = ("authorization.k8s.io/v1", "SelfSubjectAccessReview")
    assert {(body["apiVersion"], body["kind"]) for body in server.bodies} == {kind}
    asked = [body["spec"]["resourceAttributes"] for body in server.bodies]
    wanted = {"verb": "watch", "group": "example.com", "resource": "widgets"}
    assert asked == [{**wanted, "namespace": name} for name in ("demo", "demo", "other")]
    assert {path for _, path in server.asked} == {f"{kinds.ACCESS_REVIEWS}?fieldValidation=Strict"}

    clock[0] += 1000
    refusals: list[dict[str, Any]] = [{"status": {"allowed": False}}, {"status": {}}, {}]
    for answer in refusals:
        answers[0] = (201, answer)
        assert not await cache.may_watch(SERVED, "demo")
    answers[0] = 500
    with pytest.raises(TaskUnavailable, match=r"right to watch widgets\.example\.com"):
        await cache.may_watch(SERVED, "demo")


@pytest.mark.parametrize("api_version", ["../v1", "a/b/v1", "example.com/..", "V1", "/v1/x", ""])
async def test_what_can_be_no_api_is_not_asked_for(server: ApiServer, api_version: str) -> None:
    kind = ObjectKind.of({"apiVersion": api_version, "kind": "Widget"})

    with pytest.raises(TaskRefused, match="is no apiVersion"):
        await KindCache(server.connect(KubeApi)).find(kind)
    assert server.asked == []


@pytest.mark.parametrize(
    ("served", "paths", "shown"),
    [
        (
            SERVED,
            ("/apis/example.com/v1/widgets", "/apis/example.com/v1/namespaces/demo/widgets/w"),
            "widgets.example.com",
        ),
        (
            ServedKind(ObjectKind("", "v1", "Pod"), "pods"),
            ("/api/v1/pods", "/api/v1/namespaces/demo/pods/w"),
            "pods",
        ),
    ],
)
def test_paths(served: ServedKind, paths: tuple[str, str], shown: str) -> None:
    assert (served.path(None), served.path("demo", "w"), served.resource) == (*paths, shown)


# --- objects ------------------------------------------------------------------------------------------------------


def created(deletion: str = "AfterRetention", attempt: int = 1, **metadata: Any) -> dict[str, Any]:
    """The object of a task."""
    template = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": metadata, "spec": {"size": 1}}
    work = task_work({"template": template}, id=TASK, kind="resource", retention=90)
    return manifest.object_manifest(replace(work, attempt=attempt), deletion)


def test_an_object_is_named_labelled_and_owned_by_heed_alone() -> None:
    mine = {"team": "a", "heed.dev/task-id": "forged"}

    made = created(labels=mine, annotations={"note": "b", "heed.dev/retention": "keep"}, attempt=2)

    name = f"{OWNER.name}-{TASK}-2"
    assert made == {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "spec": {"size": 1},
        "metadata": {
            "name": name,
            "namespace": OWNER.namespace,
            "labels": {
                "team": "a",
                names.LABEL_RESOURCE_OF: OWNER.name,
                names.LABEL_TASK: "work",
                names.LABEL_TASK_ID: TASK,
                names.LABEL_ATTEMPT: "2",
                names.LABEL_SESSION: names.session_hash("s"),
            },
            "annotations": {"note": "b", names.ANNOTATION_RETENTION: "90"},
            "ownerReferences": [
                {
                    "apiVersion": names.API_VERSION,
                    "kind": "Agent",
                    "name": OWNER.name,
                    "uid": OWNER.uid,
                    "controller": True,
                }
            ],
        },
    }
    assert manifest.attempt_of(made, OWNER) == f"{TASK}-2"
    assert manifest.is_of(made, OWNER, f"{TASK}-2")
    assert not manifest.is_of(made, OWNER, TASK)


@pytest.mark.parametrize(
    "labels",
    [
        None,
        {},
        {names.LABEL_TASK_ID: TASK},
        {names.LABEL_TASK_ID: TASK, names.LABEL_ATTEMPT: "0"},
        {names.LABEL_TASK_ID: TASK, names.LABEL_ATTEMPT: "2"},
        {names.LABEL_TASK_ID: "other-0123456789abcdef", names.LABEL_ATTEMPT: "1"},
    ],
)
def test_labels_that_do_not_fit_the_name_say_nothing(labels: dict[str, str] | None) -> None:
    made = created()
    assert manifest.attempt_of(made, OWNER) == TASK
    made["metadata"]["labels"] = labels

    assert manifest.attempt_of(made, OWNER) is None
    assert manifest.is_of(made, OWNER, TASK)
    assert not manifest.is_watched(made)


def test_an_object_of_another_owner_is_of_no_task() -> None:
    made = created()
    made["metadata"]["ownerReferences"][0]["uid"] = "another"

    assert manifest.attempt_of(made, OWNER) is None
    assert manifest.owner_uid(made) == "another"
    del made["metadata"]["ownerReferences"]
    assert manifest.owner_uid(made) == ""


@pytest.mark.parametrize(
    ("deletion", "seconds"), [("AfterRetention", 90), ("Immediately", 0), ("Keep", None)]
)
def test_retention_counts_from_the_last_write(deletion: str, seconds: int | None) -> None:
    made = created(deletion)
    made["metadata"]["creationTimestamp"] = "1970-01-01T00:01:00Z"
    assert manifest.delete_after(made) == (None if seconds is None else 60 + seconds)

    made["metadata"]["managedFields"] = [
        {"time": "1970-01-01T00:03:00Z"},
        {"time": "1970-01-01T00:02:00Z"},
        {},
    ]
    assert manifest.delete_after(made) == (None if seconds is None else 180 + seconds)

    made["metadata"]["annotations"] = {names.ANNOTATION_RETENTION: "soon"}
    assert manifest.delete_after(made) == 180 + 3600


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "message", "reason", "said"),
    [
        (
            403,
            "widgets is forbidden",
            "Forbidden",
            "spec.tasks.work.resource: widgets is forbidden; to let the operator work with widgets.example.com, add "
            '{group: "example.com", resources: [widgets]} to tasks.resources of the chart',
        ),
        (422, "size is wrong", "InvalidResource", "spec.tasks.work.resource: size is wrong"),
        (400, "strict decoding", "InvalidResource", "spec.tasks.work.resource: strict decoding"),
        (
            403,
            'admission webhook "w" denied the request: no',
            "InvalidResource",
            'spec.tasks.work.resource: refused by admission webhook "w": no',
        ),
        (
            422,
            "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: ",
            "InvalidResource",
            'spec.tasks.work.resource: refused by ValidatingAdmissionPolicy "p" (binding "b"): without a reason',
        ),
    ],
)
def test_final_refusals_say_what_helps(status: int, message: str, reason: str, said: str) -> None:
    refused = refuse_object("work", SERVED, ApiError(status, message))

    assert refused is not None
    assert (refused.reason, refused.message) == (reason, said)


@pytest.mark.parametrize(
    ("status", "message"), [(0, "away"), (401, "who"), (409, "conflict"), (429, "later"), (500, "oops")]
)
def test_what_may_pass_is_not_final(status: int, message: str) -> None:
    assert refuse_object("work", SERVED, ApiError(status, message)) is None
    assert refuse_object("work", SERVED, ApiError(403, "exceeded quota: q")) is None
