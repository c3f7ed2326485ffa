"""The cluster's adapters of the ports against an API server that refuses, stalls and lies."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio import client

from heed import names
from heed.bus.auth.jwt import NatsKey, UserSigner
from heed.bus.task_credentials import TaskCredentials
from heed.core.effects import AgentRef
from heed.core.ledger.ledger import Ledger
from heed.engine.ports import StoredLedger
from heed.errors import LedgerConflict, LedgerGone, LedgerUnavailable, TaskRefused, TaskUnavailable
from heed.kube.client import client as kube_client
from heed.kube.client.client import KubeApi
from heed.kube.jobs.manifest import awaits_credentials, job_manifest
from heed.kube.jobs.runner import JobRunner
from heed.kube.status.ledger_store import StatusLedgerStore
from tests.builders.tasks import task_work
from tests.integration.waiting import until
from tests.unit.owners import Owner

AGENT = AgentRef("demo", "researcher", "uid-1")
research = partial(task_work, agent=AGENT, id="research-1", task="research")
BASE = StoredLedger(Ledger(), "7", 100)
Answers = Callable[[web.Request], Any]


class Server:
    """Answers every request as told; a status alone, or a status and a body."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.answers: Answers = lambda request: 500
        self.hanging = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        self.requests.append((request.method, request.path_qs))
        answer = self.answers(request)
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer == "hang":
            await self.hanging.wait()
        if answer in ("hang", "cut"):
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if answer == "garbage":
            return web.Response(text="<html>not for you</html>", status=502)
        status, body = answer if isinstance(answer, tuple) else (answer, {"message": f"refused: {answer}"})
        return web.json_response(body, status=status)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def api(server: Server) -> AsyncIterator[KubeApi]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    api = KubeApi(client.ApiClient(configuration))
    yield api
    server.hanging.set()
    await api.close()
    await runner.cleanup()


def stored_job(uid: str = "uid-1", task: str | None = "research-1", **status: Any) -> dict[str, Any]:
    """A Job as the API server has it."""
    manifest = job_manifest(research())
    manifest["metadata"]["ownerReferences"][0]["uid"] = uid
    for labelled in (manifest["metadata"], manifest["spec"]["template"]["metadata"]):
        labelled["labels"][names.LABEL_TASK_ID] = task
    manifest["metadata"] |= {"uid": "job-uid", "creationTimestamp": "2026-11-01T00:00:00Z"}
    return {**manifest, "status": status}


@pytest.mark.parametrize("answer", [401, 403, 404, 409, 413, 429, 500, 503, 504, "cut", "garbage", "hang"])
async def test_writing_a_ledger(
    api: KubeApi, server: Server, monkeypatch: pytest.MonkeyPatch, answer: int | str
) -> None:
    if answer == "hang":
        monkeypatch.setattr(kube_client, "REQUEST_TIMEOUT_S", 0.2)
    server.answers = lambda request: answer

    expected: dict[int | str, type[Exception]] = {404: LedgerGone, 409: LedgerConflict}
    with pytest.raises(expected.get(answer, LedgerUnavailable)):
        await StatusLedgerStore(api, AGENT).commit(BASE, Ledger())


REFUSALS = [400, 401, 403, 404, 409, 422, 429, 500, 503, "cut", "garbage"]


def refusing(answer: Any, found: Any = 404) -> Answers:
    """An API server that takes no Job, and says what it has under the name."""
    return lambda request: answer if request.method == "POST" else found


@pytest.mark.parametrize("answer", [*REFUSALS, "hang"])
async def test_a_task_that_cannot_be_started(
    api: KubeApi, server: Server, monkeypatch: pytest.MonkeyPatch, answer: int | str
) -> None:
    if answer == "hang":
        monkeypatch.setattr(kube_client, "REQUEST_TIMEOUT_S", 0.2)
    server.answers = refusing(answer)

    with pytest.raises(TaskRefused if answer in (400, 422) else TaskUnavailable):
        await JobRunner(api, AGENT, Owner()).start(research())


@pytest.mark.parametrize("answer", REFUSALS)
async def test_no_refusal_says_that_the_job_is_not_there(
    api: KubeApi, server: Server, answer: int | str
) -> None:
    server.answers = refusing(answer, (200, stored_job()))

    await JobRunner(api, AGENT, Owner()).start(research())

    assert [method for method, _ in server.requests] == ["POST", "GET"]


@pytest.mark.parametrize("answer", [400, 403, 422])
async def test_a_refused_task_has_not_failed_while_nobody_can_say_whether_its_job_is_there(
    api: KubeApi, server: Server, answer: int
) -> None:
    server.answers = refusing(answer, 500)

    with pytest.raises(TaskUnavailable, match=f"refused: {answer}; whether there is a Job already: 500"):
        await JobRunner(api, AGENT, Owner()).start(research())


@pytest.mark.parametrize("answer", [400, 403, 409, 422])
@pytest.mark.parametrize("theirs", [stored_job(uid="uid-of-another"), stored_job(task="other")])
async def test_a_job_of_others_under_the_name_fails_the_task(
    api: KubeApi, server: Server, answer: int, theirs: dict[str, Any]
) -> None:
    server.answers = refusing(answer, (200, theirs))

    with pytest.raises(TaskRefused) as refused:
        await JobRunner(api, AGENT, Owner()).start(research())

    assert refused.value.reason == "NameTaken"


async def test_what_an_earlier_try_may_have_made_is_looked_for_first(api: KubeApi, server: Server) -> None:
    server.answers = lambda request: (200, stored_job())
    runner = JobRunner(api, AGENT, Owner())

    await runner.start(research(), look_first=True)
    assert [method for method, _ in server.requests] == ["GET"]

    server.answers = lambda request: 404 if request.method == "GET" else (201, stored_job())
    await runner.start(research(), look_first=True)
    assert [method for method, _ in server.requests] == ["GET", "GET", "POST"]


LONG = AgentRef("demo", "customer-support-escalation-coordinator", "uid-1")
LONG_TASK = "summarise-conversation-0123456789abcdef"
NEW_NAME, OLD_NAME = names.job_names(LONG.name, LONG_TASK)


def under(name: str) -> Answers:
    """An API server that has the Job of the long names, under one of them."""
    made = stored_job(task=LONG_TASK)
    made["metadata"]["name"] = name

    def answers(request: web.Request) -> Any:
        there = request.path.endswith(f"/{name}")
        return (200, made) if there and request.method in ("GET", "DELETE") else 404

    return answers


@pytest.mark.parametrize("name", [NEW_NAME, OLD_NAME])
async def test_a_job_that_an_earlier_release_named_is_found_and_cancelled(
    api: KubeApi, server: Server, name: str
) -> None:
    server.answers = under(name)
    owner = Owner()
    runner = JobRunner(api, LONG, owner)

    await runner.start(research(agent=LONG, id=LONG_TASK), look_first=True)
    await runner.find([LONG_TASK])
    await runner.cancel(LONG_TASK)

    assert owner.ends == []
    assert "POST" not in [method for method, _ in server.requests]
    deleted = [
        path.rpartition("/")[2].partition("?")[0] for method, path in server.requests if method == "DELETE"
    ]
    assert name in deleted


async def test_a_job_whose_task_is_over_is_not_made(api: KubeApi, server: Server) -> None:
    server.answers = lambda request: 404
    runner = JobRunner(api, AGENT, Owner(lambda task_id: False))

    await runner.start(research(), look_first=True)

    assert [method for method, _ in server.requests] == ["GET"]


async def test_a_job_is_not_deleted_before_a_try_to_make_it_is_over(api: KubeApi, server: Server) -> None:
    # Given a try whose answer takes long
    asked, answered = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> Any:
        if request.method == "POST":
            asked.set()
            await answered.wait()
            return 201, stored_job()
        return 200, stored_job()

    server.answers = slow
    runner = JobRunner(api, AGENT, Owner())
    starting = asyncio.create_task(runner.start(research()))
    await asked.wait()

    # When the Job is to be deleted
    cancelling = asyncio.create_task(runner.cancel("research-1"))
    await asyncio.wait({cancelling}, timeout=0.05)
    assert [method for method, _ in server.requests] == ["POST"]
    answered.set()
    await asyncio.gather(starting, cancelling)

    # Then
    assert [method for method, _ in server.requests] == ["POST", "GET", "DELETE"]


@pytest.mark.parametrize(
    "other", [stored_job(uid="uid-2"), stored_job(task="research-2"), stored_job(task=None)]
)
async def test_a_job_that_only_has_the_name_is_not_deleted(
    api: KubeApi, server: Server, other: dict[str, Any]
) -> None:
    server.answers = lambda request: (200, other)

    await JobRunner(api, AGENT, Owner()).cancel("research-1")

    assert [method for method, _ in server.requests] == ["GET"]


async def test_a_job_that_another_one_replaces_meanwhile_stays(api: KubeApi, server: Server) -> None:
    # Given a Job that is gone before its deletion arrives, whose name somebody has taken
    found = stored_job()
    server.answers = lambda request: (200, found) if request.method == "GET" else 409
    runner = JobRunner(api, AGENT, Owner())
    with pytest.raises(TaskUnavailable):
        await runner.cancel("research-1")

    # When it is tried again
    found = stored_job(uid="uid-2")
    await runner.cancel("research-1")

    assert [method for method, _ in server.requests] == ["GET", "DELETE", "GET"]


SIGNING = TaskCredentials(signer=UserSigner(NatsKey.new("account")))


def suspended() -> dict[str, Any]:
    """A Job that waits for its credentials."""
    made = stored_job()
    made["metadata"]["annotations"][names.ANNOTATION_SUSPENDED] = "credentials"
    made["spec"]["suspend"] = True
    return made


EXISTS = (409, {"message": "already exists", "reason": "AlreadyExists"})
QUOTA_BUSY = (409, {"message": 'cannot be fulfilled on resourcequotas "q"', "reason": "Conflict"})
FULL = (403, {"message": "exceeded quota: q, used: count/secrets=1", "reason": "Forbidden"})


@pytest.mark.parametrize("answer", [400, 422, 401, 403, 404, 429, 500, "cut", QUOTA_BUSY])
async def test_a_job_whose_credentials_cannot_be_stored_is_not_let_run_and_they_are_not_shown(
    api: KubeApi, server: Server, answer: Any
) -> None:
    secrets: list[str] = []

    async def answers(request: web.Request) -> Any:
        if request.path.endswith("/secrets"):
            text = (await request.json())["stringData"]["nats.creds"]
            secrets.append(text.splitlines()[1])
            return (answer, {"message": text}) if answer in (400, 422) else answer
        return 201, suspended()

    server.answers = answers

    with pytest.raises(TaskUnavailable) as refused:
        await JobRunner(api, AGENT, Owner(), access=SIGNING).start(research(publish=(">",)))

    assert secrets[0] not in str(refused.value)
    assert "PATCH" not in [method for method, _ in server.requests]


async def test_credentials_that_an_earlier_try_stored_are_good(api: KubeApi, server: Server) -> None:
    def answers(request: web.Request) -> Any:
        return (
            200 if request.method == "PATCH" else EXISTS if request.method == "POST" else (200, suspended())
        )

    server.answers = answers

    await JobRunner(api, AGENT, Owner(), access=SIGNING).start(research(publish=(">",)))

    assert [method for method, _ in server.requests] == ["POST", "GET", "POST", "PATCH"]


class Store:
    """Plays the API server for one Job and its Secret: `refusal` answers creates of Secrets before any look."""

    def __init__(self, *, full: bool, ready: int = 0) -> None:
        self.refusal: Any = None
        self.job: dict[str, Any] | None = None
        self.secret, self.patches = False, list[Any]()
        self._full, self._ready = full, ready

    async def answers(self, request: web.Request) -> Any:
        if request.path.endswith("/secrets"):
            if self.refusal is not None or self.secret:
                return self.refusal or EXISTS
            self.secret = True
            return 201
        if request.method == "POST":
            if self.job is not None:
                return FULL if self._full else EXISTS
            self.job = suspended()
            return 201, self.job
        if request.method == "GET":
            return 404 if self.job is None else (200, self.job)
        patch = await request.json()
        assert self.job is not None
        self.patches.append(patch)
        self.job["spec"] |= patch.get("spec", {})
        if not self.job["spec"].get("suspend"):
            self.job["status"] = {"ready": self._ready}
        for name in patch.get("metadata", {}).get("annotations", {}):
            self.job["metadata"]["annotations"].pop(name, None)
        return 200


PUBLISHING = research(publish=(">",))


async def test_a_job_whose_secret_was_refused_once_gets_it_though_its_own_place_fills_the_quota(
    api: KubeApi, server: Server
) -> None:
    # Given a quota that the Job fills, and one on Secrets that has no room
    store = Store(full=True)
    store.refusal, server.answers = FULL, store.answers
    runner = JobRunner(api, AGENT, Owner(), access=SIGNING)
    for again in (False, True):
        with pytest.raises(TaskUnavailable, match="exceeded quota"):
            await runner.start(PUBLISHING, look_first=again)
    assert store.job is not None and store.job["spec"]["suspend"] and store.patches == []

    # When there is room
    store.refusal = None
    await runner.start(PUBLISHING, look_first=True)

    # Then
    assert store.secret and not store.job["spec"]["suspend"]
    assert not awaits_credentials(store.job)


async def test_a_secret_that_fills_the_quota_itself_is_found_by_the_pods_that_need_it(
    api: KubeApi, server: Server
) -> None:
    # Given a Secret that an earlier process stored, which nobody may read, in a quota that it fills
    store = Store(full=True, ready=1)
    store.job, store.secret, store.refusal = suspended(), True, FULL
    server.answers = store.answers
    runner = JobRunner(api, AGENT, Owner(), access=SIGNING)

    # When
    with pytest.raises(TaskUnavailable, match="exceeded quota"):
        await runner.start(PUBLISHING, look_first=True)
    assert not store.job["spec"]["suspend"] and awaits_credentials(store.job)
    await runner.start(PUBLISHING, look_first=True)

    # Then
    assert not awaits_credentials(store.job)


async def test_pods_that_wait_for_a_secret_get_it_when_there_is_room(api: KubeApi, server: Server) -> None:
    # Given a Job of an earlier process without a Secret, which the new one cannot know
    store = Store(full=True)
    store.job, store.refusal, server.answers = suspended(), FULL, store.answers
    runner = JobRunner(api, AGENT, Owner(), access=SIGNING)
    for _ in range(2):
        with pytest.raises(TaskUnavailable, match="exceeded quota"):
            await runner.start(PUBLISHING, look_first=True)
    assert awaits_credentials(store.job) and store.patches == [{"spec": {"suspend": False}}]

    # When
    store.refusal = None
    await runner.start(PUBLISHING, look_first=True)

    # Then
    assert store.secret and not awaits_credentials(store.job)


async def test_a_job_that_nobody_can_make_credentials_for_any_more_is_not_let_run(
    api: KubeApi, server: Server
) -> None:
    server.answers = lambda request: 409 if request.method == "POST" else (200, suspended())

    with pytest.raises(TaskUnavailable, match="no key is set"):
        await JobRunner(api, AGENT, Owner()).start(research(publish=(">",)))


@pytest.mark.parametrize("answer", [403, 409, 429, 500, "cut"])
async def test_cancelling_a_task(api: KubeApi, server: Server, answer: int | str) -> None:
    server.answers = lambda request: answer

    with pytest.raises(TaskUnavailable):
        await JobRunner(api, AGENT, Owner()).cancel("research-1")

    server.answers = lambda request: 404
    await JobRunner(api, AGENT, Owner()).cancel("research-1")


@pytest.mark.parametrize("answer", [403, 410, 429, 500, "cut", "garbage"])
async def test_a_list_that_fails_loses_no_job(api: KubeApi, server: Server, answer: int | str) -> None:
    # Given a list whose second page does not come
    first = (200, {"items": [stored_job()], "metadata": {"continue": "more"}})
    server.answers = lambda request: answer if "continue" in request.query else first
    owner = Owner()
    runner = JobRunner(api, AGENT, owner)

    with pytest.raises(TaskUnavailable):
        await runner.resume(["research-1", "research-2"])

    assert owner.ends == []


async def test_a_job_on_a_later_page_is_found(api: KubeApi, server: Server) -> None:
    pages = {None: ([], "1"), "1": ([stored_job(task="research-1")], "2"), "2": (None, "")}

    def page(request: web.Request) -> Any:
        items, more = pages[request.query.get("continue")]
        return 200, {"items": items, "metadata": {"continue": more}}

    server.answers = page
    owner = Owner()
    runner = JobRunner(api, AGENT, owner)

    await runner.resume(["research-1", "research-2"])

    assert [(end.task_id, end.reason) for end in owner.ends] == [("research-2", "JobLost")]


async def test_a_finished_job_is_seen_again_by_a_later_look_where_its_end_was_not_heard(
    api: KubeApi, server: Server
) -> None:
    done = stored_job(
        conditions=[{"type": "Complete", "status": "True", "lastTransitionTime": "2099-01-01T00:00:00Z"}]
    )
    server.answers = lambda request: (
        200,
        {"items": [done] if "jobs" in request.path else [], "metadata": {}},
    )
    owner = Owner()
    runner = JobRunner(api, AGENT, owner)
    for count in (1, 2):
        await runner.resume(["research-1"])
        await until(lambda: len(owner.ends) == count)  # noqa: B023
        await asyncio.sleep(0)
    assert [end.id for end in owner.ends] == ["job-uid"] * 2
    runner.close()


async def test_a_job_is_deleted_when_its_retention_is_over_and_its_end_is_known(
    api: KubeApi, server: Server
) -> None:
    # Given Jobs that are over: one just now, one whose end is not in the ledger, and some of which all is known
    there: dict[str, Any] = {}
    deleted: list[str] = []

    def ended(task: str, at: str) -> dict[str, Any]:
        made = stored_job(
            task=task, conditions=[{"type": "Complete", "status": "True", "lastTransitionTime": at}]
        )
        name = made["metadata"]["name"] = names.job_name(AGENT.name, task)
        there[name] = made
        return made

    def answers(request: web.Request) -> Any:
        name = request.path.rpartition("/")[2]
        if request.method == "DELETE":
            deleted.append(name)
        return 200, there.get(name, {"items": [], "metadata": {}})

    server.answers = answers
    runner = JobRunner(api, AGENT, Owner(lambda task_id: task_id == "unheard"))

    # When they are seen
    runner.observe(ended("young", "2099-01-01T00:00:00Z"))
    runner.observe(ended("unheard", "2026-01-01T00:00:00Z"))
    await until(lambda: len(runner._deletions) == 2)
    old = [names.job_name(AGENT.name, f"old-{number}") for number in range(5)]
    for number, name in enumerate(old):  # one after the other, which leaves time for the others' deletion
        runner.observe(ended(f"old-{number}", "2026-01-01T00:00:00Z"))
        await until(lambda: name in deleted)  # noqa: B023
    runner.close()

    # Then
    assert deleted == old


async def test_nothing_is_created_whose_fields_the_api_server_would_drop(
    api: KubeApi, server: Server
) -> None:
    server.answers = lambda request: (201, stored_job())

    await JobRunner(api, AGENT, Owner()).start(research())

    assert server.requests == [("POST", "/apis/batch/v1/namespaces/demo/jobs?fieldValidation=Strict")]
