"""What a runner makes of a task, and how it looks for Jobs by their names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from heed import names
from heed.bus.auth.jwt import NatsKey, UserSigner
from heed.bus.task_credentials import TaskCredentials
from heed.core.effects import TaskEnd
from heed.errors import TaskUnavailable
from heed.kube.client.client import KubeApi
from heed.kube.jobs import manifest, search
from heed.kube.jobs.runner import MAX_CONCURRENT_LOOKUPS, JobRunner
from heed.util.backoff import Backoff
from tests.builders.tasks import OWNER, task_work
from tests.integration.waiting import until
from tests.unit.apiserver import ApiServer

AGENT = OWNER
JOBS, SECRETS = "/apis/batch/v1/namespaces/demo/jobs", "/api/v1/namespaces/demo/secrets"
SIGNING = TaskCredentials("nats://jobs.example:4222", UserSigner(NatsKey.new("account")))
LATE = {"type": "Failed", "status": "True", "reason": "Late", "lastTransitionTime": "2099-01-01T00:00:00Z"}


def add(server: ApiServer, id_: str, *, watched: bool = True, **status: Any) -> str:
    """A Job of the Agent's; one that nobody watches has lost its labels. Returns its path."""
    made = manifest.job_manifest(task_work(id=id_))
    path = f"{JOBS}/{made['metadata']['name']}"
    metadata = {**made["metadata"], **({} if watched else {"labels": None})}
    server.add(path, metadata=metadata, spec=made["spec"], status=status)
    return path


class Runner(JobRunner):
    """Waits for every task whose end it was not told of."""

    def __init__(self, server: ApiServer, access: TaskCredentials | None = None) -> None:
        self.ends: dict[str, TaskEnd] = {}
        self.seen_jobs: list[tuple[str, bool]] = []
        super().__init__(server.connect(KubeApi), AGENT, self, seen=self._note, access=access)

    pending_tasks = None

    def waits(self, task_id: str) -> bool:
        return task_id not in self.ends

    def report(self, end: TaskEnd) -> bool:
        self.ends[end.task_id] = end
        return True

    def _note(self, job: Any, deleted: bool) -> None:
        self.seen_jobs.append((job["metadata"]["name"], deleted))


@pytest.fixture
async def runner(server: ApiServer) -> AsyncIterator[Runner]:
    found = Runner(server)
    yield found
    found.close()


# --- starts -------------------------------------------------------------------------------------------------------


async def test_a_job_that_may_publish_gets_its_credentials_and_may_run_then(server: ApiServer) -> None:
    runner = Runner(server, SIGNING)

    await runner.start(task_work(publish=("com.example.*",)))

    (job,), (secret,) = server.of("jobs"), server.of("secrets")
    assert server.asked == [
        ("POST", f"{JOBS}?fieldValidation=Strict"),
        ("POST", f"{SECRETS}?fieldValidation=Strict"),
        ("PATCH", f"{JOBS}/{job['metadata']['name']}"),
    ]
    made = server.bodies[0]
    assert made["spec"]["suspend"] is True
    assert made["metadata"]["annotations"][names.ANNOTATION_SUSPENDED] == "credentials"
    assert job["spec"]["suspend"] is False
    assert names.ANNOTATION_SUSPENDED not in job["metadata"]["annotations"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert {"name": "HEED_NATS_URL", "value": "nats://jobs.example:4222"} in container["env"]
    assert {"name": "HEED_NATS_CREDENTIALS", "value": "/heed-nats/nats.creds"} in container["env"]
    assert secret["metadata"]["name"] == f"{job['metadata']['name']}-nats"
    assert secret["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": job["metadata"]["name"],
            "uid": job["metadata"]["uid"],
        }
    ]
    assert secret["stringData"]["nats.creds"].startswith("-----BEGIN NATS USER JWT-----")
    runner.close()


@pytest.mark.parametrize("access", [None, TaskCredentials(), SIGNING])
async def test_a_job_that_may_not_publish_runs_at_once(
    server: ApiServer, access: TaskCredentials | None
) -> None:
    runner = Runner(server, access)

    await runner.start(task_work())

    assert server.asked == [("POST", f"{JOBS}?fieldValidation=Strict")]
    assert server.bodies == [manifest.job_manifest(task_work())]
    assert "suspend" not in server.bodies[0]["spec"]
    runner.close()


async def test_a_secret_that_is_refused_is_told_of_without_its_content(server: ApiServer) -> None:
    runner = Runner(server, SIGNING)
    why = 'admission webhook "vault.example" denied the request: SECRET'
    said: Any = {"message": why}
    job: dict[str, Any] = {}
    for status, message in (
        (422, 'the Secret of Job {} was refused with status 422 by admission webhook "vault.example"'),
        (400, 'the Secret of Job {} was refused with status 400 by admission webhook "vault.example"'),
        (403, f"403: {why}"),
    ):
        server.refuse = lambda method, path, status=status: (status, said) if path == SECRETS else None  # type: ignore[misc]

        with pytest.raises(TaskUnavailable) as refused:
            await runner.start(task_work(publish=(">",)))

        (job,) = server.of("jobs")
        assert str(refused.value) == message.format(job["metadata"]["name"])
    said = {"message": "SECRET"}
    server.refuse = lambda method, path: (422, said) if path == SECRETS else None
    with pytest.raises(TaskUnavailable) as refused:
        await runner.start(task_work(publish=(">",)))
    assert str(refused.value) == f"the Secret of Job {job['metadata']['name']} was refused with status 422"
    runner.close()


# --- looks --------------------------------------------------------------------------------------------------------


async def test_what_is_not_there_is_lost_however_many_there_are(server: ApiServer, runner: Runner) -> None:
    there, gone = (
        [f"t-{number}" for number in range(3)],
        [f"g-{number}" for number in range(MAX_CONCURRENT_LOOKUPS + 3)],
    )
    for id_ in there:
        add(server, id_)

    await runner.find([*gone, *there])

    assert sorted(runner.ends) == sorted(gone)
    for id_, end in runner.ends.items():
        assert (end.task_id, end.completed, end.reason) == (id_, False, "JobLost")
        assert end.message == "the Job is gone; it was deleted by someone else than Heed"
        assert end.id == names.digest("lost", id_)
    assert sorted(runner.seen_jobs) == sorted((names.job_name(AGENT.name, id_), False) for id_ in there)
    assert runner._searches._searches == {}  # the watch shows them


async def test_a_job_that_no_watch_shows_is_looked_for_until_it_is_over(
    server: ApiServer, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SEARCH_BACKOFF", Backoff(0.001, 60.0))
    path = add(server, "t-1", watched=False)
    add(server, "t-2")

    await runner.find(["t-1", "t-2"])
    await until(lambda: len(runner.seen_jobs) > 3)
    assert runner.ends == {}
    server.edit(path, status={"conditions": [LATE]})

    await until(lambda: "t-1" in runner.ends)
    assert runner.ends["t-1"].reason == "Late"
    assert list(runner.ends) == ["t-1"]
    await until(lambda: not runner._searches._searches)


async def test_what_cannot_be_looked_for_is_not_lost(server: ApiServer, runner: Runner) -> None:
    server.refuse = lambda method, path: 500

    with pytest.raises(TaskUnavailable, match=r"^500: no 500$"):
        await runner.find(["t-1"])

    assert runner.ends == {}
