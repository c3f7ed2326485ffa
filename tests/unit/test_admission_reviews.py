"""What the webhook reads in a request and says in its answer, word by word: the API server and people read it."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, web

from heed import names
from heed.core.compiler.admission import AdmissionVerdict
from heed.errors import Problem
from heed.kube.client.client import KubeApi
from heed.kube.webhook import review_pool
from heed.kube.webhook import server as webhook_server
from heed.kube.webhook.review_pool import ReviewPool
from heed.kube.webhook.server import (
    MAX_REVIEW_BYTES,
    REVIEW_API_VERSION,
    AdmissionServer,
    _asked,
    _ParsedReview,
    _review,
)
from tests.integration.waiting import SOON
from tests.unit.apiserver import ApiServer, Object

AGENT: Object = {
    "apiVersion": names.API_VERSION,
    "kind": "Agent",
    "metadata": {"name": "it", "namespace": "demo"},
    "spec": {"subscribe": [{"type": ">"}], "handlers": [{"name": "h", "type": ">", "when": "true"}]},
}
WRONG: Object = {
    **AGENT,
    "spec": {**AGENT["spec"], "handlers": [{"name": "h", "type": ">", "when": "nothing"}]},
}
KIND = {"group": "heed.dev", "version": "v1alpha1", "kind": "Agent"}


def review(new: Any = AGENT, **request: Any) -> Object:
    given = {
        "uid": "u-1",
        "kind": KIND,
        "operation": "CREATE",
        "namespace": "demo",
        "name": "it",
        "object": new,
    }
    return {"apiVersion": REVIEW_API_VERSION, "kind": "AdmissionReview", "request": {**given, **request}}


def asked(new: Any = AGENT, **request: Any) -> _ParsedReview:
    return _asked(json.dumps(review(new, **request)).encode())


# --- what is asked --------------------------------------------------------------------------------------------


def test_a_request_is_read() -> None:
    found = asked()

    assert (found.uid, found.namespace, found.name, found.cut) == ("u-1", "demo", "it", False)
    assert found.request is not None
    assert (found.request.kind, found.request.new, found.request.old) == ("Agent", AGENT, None)


def test_an_update_comes_with_what_was_there() -> None:
    found = asked(WRONG, operation="UPDATE", oldObject=AGENT)

    assert found.request is not None
    assert (found.request.new, found.request.old) == (WRONG, AGENT)


@pytest.mark.parametrize(
    "other",
    [
        {"kind": {**KIND, "group": "batch"}},
        {"kind": {**KIND, "kind": "Other"}},
        {"kind": {}},
        {"subResource": "status"},
        {"operation": "DELETE", "object": None},
        {"operation": "CONNECT"},
    ],
)
def test_what_is_not_ours_to_judge_is_not_judged(other: Object) -> None:
    found = asked(**other)

    assert (found.uid, found.namespace, found.name, found.request) == ("u-1", "demo", "it", None)


@pytest.mark.parametrize(
    ("new", "request_name", "name"),
    [
        (AGENT, "", "it"),
        ({**AGENT, "metadata": {"namespace": "demo"}}, "of-the-request", "of-the-request"),
        ({**AGENT, "metadata": {"generateName": "it-"}}, "", "it-x"),
        ({**AGENT, "metadata": {}}, "", "xx"),
    ],
)
def test_an_object_without_a_name_or_namespace_has_those_of_the_request(
    new: Object, request_name: str, name: str
) -> None:
    found = asked(new, name=request_name)

    assert found.name == name
    assert found.request is not None
    assert (found.request.new["metadata"]["name"], found.request.new["metadata"]["namespace"]) == (
        name,
        "demo",
    )


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"{", "this is no JSON"),
        (b"\xff", "this is no JSON"),
        (b"[]", f"this is no AdmissionReview of {REVIEW_API_VERSION}"),
        (
            json.dumps({**review(), "apiVersion": "v1"}).encode(),
            f"this is no AdmissionReview of {REVIEW_API_VERSION}",
        ),
        (json.dumps({"apiVersion": REVIEW_API_VERSION}).encode(), "request is null"),
        (json.dumps(review(kind=[])).encode(), "kind is a list"),
        (json.dumps(review(uid=1)).encode(), "uid is a number"),
        (json.dumps(review(operation=None)).encode(), "operation is null"),
        (json.dumps(review(namespace=1)).encode(), "request.namespace and request.name are strings"),
        (json.dumps(review(name=["a"])).encode(), "request.namespace and request.name are strings"),
        (json.dumps(review(namespace="")).encode(), "request.namespace is no namespace"),
        (json.dumps(review(namespace="a/b")).encode(), "request.namespace is no namespace"),
        (json.dumps(review("x")).encode(), "object is a string"),
        (json.dumps(review(operation="UPDATE")).encode(), "oldObject is null"),
        (json.dumps(review({**AGENT, "metadata": None})).encode(), "metadata is null"),
    ],
)
def test_what_is_no_review_is_refused_with_the_reason(data: bytes, complaint: str) -> None:
    with pytest.raises(webhook_server._MalformedReview) as malformed:
        _asked(data)

    assert str(malformed.value) == complaint


# --- what is answered -----------------------------------------------------------------------------------------


def answered(*problems: Problem, warnings: tuple[str, ...] = ()) -> Object:
    found: Object = _review(asked(), AdmissionVerdict(problems, warnings))
    assert (found["apiVersion"], found["kind"]) == (REVIEW_API_VERSION, "AdmissionReview")
    return found["response"]  # type: ignore[no-any-return]


def test_what_is_fine_is_let_in_without_a_word() -> None:
    assert answered() == {"uid": "u-1", "allowed": True}


def test_problems_are_said_as_the_api_server_says_its_own() -> None:
    first, second = Problem("spec.a", "is wrong", "make it right"), Problem("spec.b", "is worse", "")

    assert answered(first, second) == {
        "uid": "u-1",
        "allowed": False,
        "status": {
            "status": "Failure",
            "code": 422,
            "reason": "Invalid",
            "message": f"\n  {first}\n  {second}",
            "details": {
                "group": "heed.dev",
                "kind": "Agent",
                "name": "it",
                "causes": [
                    {"reason": "FieldValueInvalid", "field": "spec.a", "message": "is wrong; make it right"},
                    {"reason": "FieldValueInvalid", "field": "spec.b", "message": "is worse"},
                ],
            },
        },
    }


@pytest.mark.parametrize(("length", "cut"), [(1000, False), (1001, True)])
def test_a_cause_is_cut_where_it_is_too_long(length: int, cut: bool) -> None:
    (cause,) = answered(Problem("spec", "x" * length, ""))["status"]["details"]["causes"]

    assert cause["message"] == ("x" * 999 + "…" if cut else "x" * 1000)


def test_of_many_problems_the_first_are_causes_and_the_message_is_cut() -> None:
    status = answered(*(Problem(f"spec.{number:03}", "x" * 80, "") for number in range(200)))["status"]

    assert [item["field"] for item in status["details"]["causes"]] == [f"spec.{n:03}" for n in range(32)]
    assert len(status["message"]) == 8192
    assert status["message"].endswith("…")


def test_what_nobody_could_see_is_shown() -> None:
    status = answered(Problem("spec", "a\x1b[31mb", ""))["status"]

    assert "\x1b" not in json.dumps(status, ensure_ascii=False)
    assert "\n  " in status["message"]


def test_warnings_are_said_as_far_as_there_is_room() -> None:
    assert answered(warnings=("a", "b")) == {"uid": "u-1", "allowed": True, "warnings": ["a", "b"]}
    twelve = tuple(map(str, range(12)))
    assert answered(warnings=twelve)["warnings"] == list(twelve)
    assert answered(warnings=(*twelve, "more"))["warnings"] == [*twelve, "and 1 warning more"]
    assert answered(warnings=twelve * 2)["warnings"][-1] == "and 12 warnings more"
    assert answered(warnings=("x" * 250, "y" * 251))["warnings"] == ["x" * 250, "y" * 249 + "…"]


# --- over HTTP ------------------------------------------------------------------------------------------------


class Webhook:
    """The webhook before an API server."""

    def __init__(self, server: ApiServer, url: str, checks: ReviewPool, watched: str | None) -> None:
        self.url, self.admission = url, AdmissionServer(server.connect(KubeApi), checks, watched)

    async def ask(self, data: Any = None) -> tuple[int, Any]:
        async with (
            ClientSession() as session,
            session.post(self.url, data=data or json.dumps(review())) as answer,
        ):
            text = await answer.text()
            return answer.status, json.loads(text)["response"] if answer.status == 200 else text


@pytest.fixture
async def checks(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ReviewPool]:
    for module, limit in ((review_pool, "REVIEW_HUNG_TIMEOUT_S"), (webhook_server, "REVIEW_TIMEOUT_S")):
        monkeypatch.setattr(module, limit, SOON)  # on a busy machine a process takes long to start
    checks = ReviewPool()
    yield checks
    await checks.close()


async def over(server: ApiServer, checks: ReviewPool, watched: str | None = None) -> AsyncIterator[Webhook]:
    application = web.Application(client_max_size=MAX_REVIEW_BYTES)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    hook = Webhook(server, "", checks, watched)
    application.router.add_post("/validate", hook.admission.validate)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/validate"
    yield hook
    await runner.cleanup()


@pytest.fixture
async def hook(server: ApiServer, checks: ReviewPool) -> AsyncIterator[Webhook]:
    async for found in over(server, checks):
        yield found


@pytest.fixture
async def narrow(server: ApiServer, checks: ReviewPool) -> AsyncIterator[Webhook]:
    async for found in over(server, checks, "demo"):
        yield found


async def test_an_agent_is_let_in_or_refused_by_its_manifest(
    hook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "heed.webhook")
    assert (await hook.ask())[1]["allowed"]

    status, response = await hook.ask(json.dumps(review(WRONG)))

    assert (status, response["allowed"]) == (200, False)
    (cause,) = response["status"]["details"]["causes"]
    assert cause["field"] == "spec.handlers[0].when"
    (record,) = [item for item in caplog.records if item.getMessage() == "manifest refused"]
    assert (record.object, record.problems) == ("demo/it", 1)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("backofflimit", 0, "spec.tasks.work.job.backofflimit"),
        ("activeDeadlineSeconds", "300", "spec.tasks.work.job.activeDeadlineSeconds"),
    ],
)
async def test_a_job_that_no_cluster_takes_is_refused_at_its_field(
    hook: Webhook, field: str, value: Any, where: str
) -> None:
    job = {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}
    spec: Object = {**AGENT["spec"], "tasks": {"work": {"job": job}}}
    assert (await hook.ask(json.dumps(review({**AGENT, "spec": spec}))))[1]["allowed"]

    spec = {**spec, "tasks": {"work": {"job": {**job, field: value}}}}
    _, response = await hook.ask(json.dumps(review({**AGENT, "spec": spec})))

    assert not response["allowed"]
    assert [cause["field"] for cause in response["status"]["details"]["causes"]] == [where]


async def test_policies_around_it_count(server: ApiServer, hook: Webhook) -> None:
    spec: Object = {"agentSelector": {}, "subscriptions": []}
    server.add(f"/apis/{names.API_VERSION}/namespaces/demo/agentpolicies/strict", spec=spec)

    assert not (await hook.ask())[1]["allowed"]


async def test_agents_of_namespaces_that_are_not_watched_are_not_judged(
    server: ApiServer, narrow: Webhook
) -> None:
    elsewhere = {**WRONG, "metadata": {"name": "it", "namespace": "other"}}

    assert (await narrow.ask(json.dumps(review(elsewhere, namespace="other"))))[1]["allowed"]
    assert server.asked == []
    assert not (await narrow.ask(json.dumps(review(WRONG))))[1]["allowed"]


async def test_what_nests_too_deep_is_refused(server: ApiServer, hook: Webhook) -> None:
    deep = "[" * 5000 + "]" * 5000
    text = json.dumps(review({**AGENT, "spec": {"x": "HERE"}})).replace('"HERE"', deep)

    status, response = await hook.ask(text)

    assert status == 200
    assert response["status"]["message"] == "\n  spec: nests too deep; flatten it"
    assert server.asked == []


async def test_what_is_malformed_is_a_bad_request(hook: Webhook) -> None:
    assert await hook.ask("{") == (400, "this is no JSON\n")


async def test_what_is_too_large_is_refused(hook: Webhook) -> None:
    assert (await hook.ask(io.BytesIO(b"x" * (MAX_REVIEW_BYTES + 1))))[0] == 413


async def test_where_the_surroundings_cannot_be_read_nothing_is_judged(
    server: ApiServer, hook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    server.refuse = lambda method, path: 403

    assert await hook.ask() == (503, "403: no 403\n")
    (record,) = [item for item in caplog.records if item.getMessage() == "cannot review a manifest"]
    assert (record.levelname, record.error, record.exc_info) == ("WARNING", "403: no 403", None)  # type: ignore[attr-defined]


async def test_what_takes_too_long_is_not_judged(
    server: ApiServer, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_server, "REVIEW_TIMEOUT_S", 0.05)
    server.open.clear()

    assert await hook.ask() == (503, "not judged within 0.05 s\n")


async def test_a_mistake_of_ours_is_not_shown(
    hook: Webhook, checks: ReviewPool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks(*_: Any) -> AdmissionVerdict:
        raise ValueError("a secret")

    monkeypatch.setattr(checks, "judge", breaks)

    assert await hook.ask() == (500, "a mistake of Heed's; its log says more\n")
    (record,) = [item for item in caplog.records if item.levelname == "ERROR"]
    assert (record.getMessage(), record.error) == ("cannot review a manifest", "a secret")  # type: ignore[attr-defined]
    assert record.exc_info


async def test_after_an_error_there_is_room_again(server: ApiServer, hook: Webhook) -> None:
    server.refuse = lambda method, path: 500
    answers = [await hook.ask() for _ in range(webhook_server.MAX_CONCURRENT_REVIEWS + 1)]
    assert {status for status, _ in answers} == {503}
    server.refuse = lambda method, path: None

    assert (await hook.ask())[0] == 200


async def test_only_so_many_are_judged_at_once(server: ApiServer, hook: Webhook) -> None:
    server.open.clear()
    asking = [asyncio.create_task(hook.ask()) for _ in range(webhook_server.MAX_CONCURRENT_REVIEWS)]
    while len(server.asked) < webhook_server.MAX_CONCURRENT_REVIEWS:  # noqa: ASYNC110
        await asyncio.sleep(0.001)

    assert await hook.ask() == (503, "too many requests at once\n")
    server.open.set()
    assert [status for status, _ in await asyncio.gather(*asking)] == [
        200
    ] * webhook_server.MAX_CONCURRENT_REVIEWS
