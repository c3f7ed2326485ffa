"""Pending tasks and Jobs of all Agents compared in one list: what is missing is lost, what is over is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest

from heed import names
from heed.core.effects import AgentRef, TaskEnd
from heed.kube.client.client import KubeApi
from heed.kube.controller.job_resync import resync_jobs
from heed.kube.jobs.lister import label_selector
from heed.kube.jobs.manifest import job_manifest, owner_name, owner_uid
from heed.kube.jobs.runner import JobRunner
from tests.builders.tasks import job_spec, task_work
from tests.integration.waiting import until
from tests.unit.apiserver import ApiServer, Object

ONE, TWO = AgentRef("demo", "one", "uid-one"), AgentRef("shop", "two", "uid-two")
SPEC = job_spec()


class Runner(JobRunner):
    """Waits for some tasks, and notes what it is told."""

    def __init__(self, server: ApiServer, agent: AgentRef, **phases: str) -> None:
        super().__init__(server.connect(KubeApi), agent, self)
        self.ends: list[tuple[str, str | None]] = []
        self.pending_tasks: Any = {
            task: SimpleNamespace(phase=phase, kind="job", attempt=1) for task, phase in phases.items()
        }

    def waits(self, task_id: str) -> bool:
        return task_id in self.pending_tasks

    def report(self, end: TaskEnd) -> bool:
        self.ends.append((end.task_id, end.reason))
        return True


def add(server: ApiServer, agent: AgentRef, task: str, namespace: str | None = None, **status: Any) -> Object:
    """A Job of a task."""
    manifest = job_manifest(task_work(SPEC, agent=agent, id=task))
    name = manifest["metadata"]["name"]
    path = f"/apis/batch/v1/namespaces/{namespace or agent.namespace}/jobs/{name}"
    metadata = {**manifest["metadata"], "namespace": namespace or agent.namespace}
    return server.add(path, metadata=metadata, spec=manifest["spec"], status=status)


@pytest.fixture
async def runners(server: ApiServer) -> AsyncIterator[dict[AgentRef, Runner]]:
    found = {
        ONE: Runner(server, ONE, a="Started", b="Started", c="Owed"),
        TWO: Runner(server, TWO, d="Started"),
    }
    yield found
    for runner in found.values():
        runner.close()


async def test_started_tasks_without_a_job_are_lost_and_those_with_one_are_not(
    server: ApiServer, runners: dict[AgentRef, Runner]
) -> None:
    there = [add(server, ONE, "a"), add(server, TWO, "d")]

    seen = await resync_jobs(server.connect(KubeApi), None, runners)

    assert seen == {item["metadata"]["uid"] for item in there}
    assert runners[ONE].ends == [("b", "JobLost")]
    assert runners[TWO].ends == []
    listed = [unquote(asked) for _, asked in server.asked if "limit=" in asked]
    assert listed == [f"/apis/batch/v1/jobs?labelSelector={names.LABEL_AGENT}&limit=500"]


async def test_a_task_of_another_kind_has_no_job_to_be_missed(
    server: ApiServer, runners: dict[AgentRef, Runner]
) -> None:
    runners[TWO].pending_tasks["d"] = SimpleNamespace(phase="Started", kind="wait", attempt=1)

    await resync_jobs(server.connect(KubeApi), None, runners)

    assert runners[TWO].ends == []


async def test_one_namespace_is_listed_where_one_is_watched(
    server: ApiServer, runners: dict[AgentRef, Runner]
) -> None:
    add(server, ONE, "a")
    elsewhere = add(server, TWO, "d")

    seen = await resync_jobs(server.connect(KubeApi), "demo", runners)

    assert elsewhere["metadata"]["uid"] not in seen
    assert runners[TWO].ends == []  # it is found by its name


async def test_a_job_that_is_over_is_told(server: ApiServer, runners: dict[AgentRef, Runner]) -> None:
    over = [
        {"type": "Failed", "status": "True", "reason": "Late", "lastTransitionTime": "2099-01-01T00:00:00Z"}
    ]
    add(server, ONE, "a", conditions=over)

    await resync_jobs(server.connect(KubeApi), None, runners)
    await until(lambda: len(runners[ONE].ends) == 2)

    assert sorted(runners[ONE].ends) == [("a", "Late"), ("b", "JobLost")]


async def test_a_job_of_another_namespace_is_not_an_agents_whoever_owns_it(
    server: ApiServer, runners: dict[AgentRef, Runner]
) -> None:
    add(server, ONE, "a", namespace="shop")

    await resync_jobs(server.connect(KubeApi), None, runners)

    assert sorted(runners[ONE].ends) == [("a", "JobLost"), ("b", "JobLost")]


async def test_where_nobody_runs_nobody_is_asked(server: ApiServer) -> None:
    assert await resync_jobs(server.connect(KubeApi), None, {}) == set()
    assert server.asked == []


async def test_one_agent_whose_jobs_cannot_be_looked_for_keeps_nobody_else_from_it(
    server: ApiServer, runners: dict[AgentRef, Runner], caplog: pytest.LogCaptureFixture
) -> None:
    server.refuse = lambda method, path: 403 if "/demo/jobs/" in path else None

    await resync_jobs(server.connect(KubeApi), None, runners)

    assert (runners[ONE].ends, runners[TWO].ends) == ([], [("d", "JobLost")])
    (record,) = caplog.records
    assert (record.getMessage(), record.agent, record.error) == (  # type: ignore[attr-defined]
        "cannot list jobs",
        str(ONE),
        "403: no 403",
    )


def test_of_many_agents_the_selector_names_none() -> None:
    some = [AgentRef("demo", f"a-{number:03}", "uid") for number in range(101)]

    assert label_selector([TWO, ONE, ONE]) == f"{names.LABEL_AGENT} in (one,two)"
    assert label_selector(some[:100]).endswith("a-099)")
    assert label_selector(some) == names.LABEL_AGENT


def test_the_owner_of_a_job_is_the_agent_that_controls_it() -> None:
    made: Object = {"metadata": {}}
    assert (owner_uid(made), owner_name(made)) == (None, "")

    made["metadata"]["ownerReferences"] = [
        {"kind": "Agent", "name": "wrong", "uid": "1"},
        {"kind": "Other", "name": "other", "uid": "2", "controller": True},
        {"kind": "Agent", "name": "right", "uid": "3", "controller": True},
    ]
    assert (owner_uid(made), owner_name(made)) == ("3", "right")
