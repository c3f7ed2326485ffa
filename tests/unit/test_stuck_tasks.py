"""Tasks that do not get to run: looked into together, rarely, and forgotten when they run."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from heed import names
from heed.core.effects import AgentRef
from heed.kube.client.client import ApiError, KubeApi
from heed.kube.controller.stuck_tasks import MAX_NAMESPACES_PER_ROUND, StuckTaskDetector, awaits_pods
from heed.kube.status.loop_health import UNDECIDED
from heed.kube.status.reasons import Trouble
from tests.integration.waiting import SOON

PATIENCE = 0.05
FOREVER = 1000.0
AGENT = AgentRef("demo", "researcher", "uid-1")
OTHER = AgentRef("demo", "writer", "uid-2")
Object = dict[str, Any]


class Cluster(KubeApi):
    """What is there, by namespace: pending pods and warnings; and what was asked for."""

    def __init__(self) -> None:
        self.pods: list[Object] = []
        self.warnings: list[Object] = []
        self.asked = Counter[str]()
        self.selectors = set[str]()
        self.refusal: Exception | None = None
        self.no_events = False

    async def pages(
        self, path: str, query: Mapping[str, str] | None = None, *, accept: str = ""
    ) -> AsyncIterator[Sequence[Object]]:
        self.asked[path] += 1
        self.selectors.add((query or {}).get("labelSelector", ""))
        if self.refusal is not None:
            raise self.refusal
        if path.endswith("/events") and self.no_events:
            raise ApiError(403, "events is forbidden")
        yield self.pods if path.endswith("/pods") else self.warnings


class World:
    """An Overdue over a cluster."""

    def __init__(self, patience: float) -> None:
        self.cluster = Cluster()
        self.gone = set[str]()
        self.changes = 0
        self.overdue = StuckTaskDetector(
            self.cluster, lambda agent, task: task not in self.gone, self._changed, patience
        )

    def _changed(self, agent: AgentRef) -> None:
        self.changes += 1

    async def until(self, holds: Callable[[], Any]) -> None:
        async with asyncio.timeout(SOON):
            while not holds():  # noqa: ASYNC110, it waits for a condition
                await asyncio.sleep(0.01)

    async def looked(self, times: int = 1) -> None:
        """Until there were so many more looks at pods."""
        before = self.looks
        await self.until(lambda: self.looks >= before + times)

    @property
    def looks(self) -> int:
        return sum(count for path, count in self.cluster.asked.items() if path.endswith("/pods"))

    def reason(self, agent: AgentRef = AGENT) -> str | None:
        verdict = self.overdue.verdict(agent)
        return verdict.reason if isinstance(verdict, Trouble) else None


@contextmanager
def world(patience: float = PATIENCE) -> Any:
    made = World(patience)
    try:
        yield made
    finally:
        made.overdue.close()


def active_job(number: int = 1, *, began: float = 0.0, **status: Any) -> Object:
    start = datetime.fromtimestamp(began, UTC) if began else datetime.now(UTC)
    labels = {names.LABEL_TASK_ID: f"task-{number}"}
    return {
        "metadata": {"name": f"job-{number}", "uid": f"uid-{number}", "creationTimestamp": start.isoformat()},
        "spec": {"template": {"metadata": {"labels": labels}}},
        "status": {"startTime": start.isoformat(), "active": 1, "ready": 0, **status},
    }


def pulling(number: int = 1) -> Object:
    state = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
    return {
        "metadata": {
            "name": f"pod-{number}",
            "uid": f"pod-{number}",
            "labels": {"batch.kubernetes.io/controller-uid": f"uid-{number}"},
        },
        "status": {
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [{"name": "main", "state": state}],
        },
    }


async def test_a_task_whose_pod_runs_costs_no_request() -> None:
    with world() as w:
        w.overdue.note_job(AGENT, active_job())
        w.overdue.note_job(AGENT, active_job(ready=1))

        await w.until(lambda: w.overdue._looker is None)

        assert not w.cluster.asked
        assert w.overdue.verdict(AGENT) is None


async def test_what_keeps_a_task_is_said_and_over_when_it_runs() -> None:
    with world() as w:
        w.cluster.pods = [pulling()]
        w.overdue.note_job(AGENT, active_job())
        await w.until(lambda: w.reason() == "ImagePullBackOff")

        verdict = w.overdue.verdict(AGENT)
        assert isinstance(verdict, Trouble)
        assert verdict.message.startswith(
            'Job job-1 has no pod that runs: pod pod-1: container "main": not found; '
        )
        assert w.overdue.counts()[AGENT] == 1
        changes = w.changes

        left = w.overdue.note_job(AGENT, active_job(ready=1))

        assert left is not None
        assert left.reason == "ImagePullBackOff"
        assert w.overdue.verdict(AGENT) is None
        assert w.overdue.counts()[AGENT] == 0
        assert w.changes == changes + 1


async def test_a_task_that_has_waited_since_before_we_came_is_looked_into_at_once() -> None:
    with world(FOREVER) as w:
        w.cluster.pods = [pulling()]

        w.overdue.note_job(AGENT, active_job(began=1.0))

        await w.until(lambda: w.reason() == "ImagePullBackOff")


async def test_many_tasks_of_a_namespace_are_one_look() -> None:
    with world() as w:
        w.cluster.pods = [pulling(number) for number in range(100)]
        for number in range(100):
            w.overdue.note_job(AGENT if number % 2 else OTHER, active_job(number, began=1.0))
        await w.until(lambda: w.overdue.counts()[AGENT] + w.overdue.counts()[OTHER] == 100)

        assert w.cluster.asked == {"/api/v1/namespaces/demo/pods": 1}
        assert w.cluster.selectors == {f"{names.LABEL_AGENT} in (researcher,writer)"}


async def test_few_namespaces_are_looked_into_at_a_time() -> None:
    with world(1.0) as w:
        agents = [
            AgentRef(f"ns-{number}", "a", f"agent-{number}") for number in range(2 * MAX_NAMESPACES_PER_ROUND)
        ]
        for number, agent in enumerate(agents):
            w.overdue.note_job(agent, active_job(number, began=1.0))

        await w.until(lambda: w.looks == MAX_NAMESPACES_PER_ROUND)
        await w.until(lambda: w.looks == 2 * MAX_NAMESPACES_PER_ROUND)

        assert set(w.cluster.asked.values()) == {1}


async def test_warnings_are_asked_for_only_where_pods_do_not_explain_it() -> None:
    with world() as w:
        w.cluster.warnings = [
            {
                "involvedObject": {"kind": "Job", "name": "job-1", "uid": "uid-1"},
                "reason": "FailedCreate",
                "message": "exceeded quota: small",
                "lastTimestamp": datetime.now(UTC).isoformat(),
            }
        ]
        w.overdue.note_job(AGENT, active_job(began=1.0, active=0))

        await w.until(lambda: w.reason() == "FailedCreate")

        verdict = w.overdue.verdict(AGENT)
        assert "raise the quota on pods" in verdict.message
        assert set(w.cluster.asked) == {"/api/v1/namespaces/demo/pods", "/api/v1/namespaces/demo/events"}


async def test_without_the_right_to_list_events_pods_still_tell() -> None:
    with world() as w:
        w.cluster.no_events = True
        w.cluster.pods = [pulling(1)]
        w.overdue.note_job(AGENT, active_job(1, began=1.0))
        w.overdue.note_job(AGENT, active_job(2, began=1.0))

        await w.until(lambda: w.reason() == "ImagePullBackOff")

        assert w.overdue.counts()[AGENT] == 1


async def test_a_job_without_a_pod_or_a_word_is_said_after_long() -> None:
    with world(0.01) as w:
        w.overdue.note_job(AGENT, active_job(1, active=0))
        w.overdue.note_job(OTHER, active_job(2, active=1))
        w.overdue.note_job(OTHER, active_job(3, active=0, failed=1))

        await w.until(lambda: w.reason() == "NoPod")
        await w.looked(3)

        assert w.overdue.verdict(OTHER) is None


async def test_a_refused_look_leaves_what_was_said_and_is_made_again() -> None:
    with world() as w:
        w.cluster.pods = [pulling()]
        w.overdue.note_job(AGENT, active_job(began=1.0))
        await w.until(lambda: w.reason() is not None)

        w.cluster.refusal = ApiError(500, "etcd is slow")
        await w.looked()
        assert w.reason() == "ImagePullBackOff"

        w.cluster.refusal, w.cluster.pods = None, []
        await w.until(lambda: w.reason() is None)


async def test_a_mistake_in_a_look_is_logged_and_ends_no_later_one(caplog: pytest.LogCaptureFixture) -> None:
    with world() as w:
        w.cluster.refusal, w.cluster.pods = RuntimeError("a mistake of ours"), [pulling()]
        w.overdue.note_job(AGENT, active_job(began=1.0))
        await w.looked(2)
        assert w.reason() is None

        w.cluster.refusal = None
        await w.until(lambda: w.reason() is not None)

    assert "cannot read why tasks are stuck" in caplog.text
    assert "RuntimeError: a mistake of ours" in caplog.text


async def test_what_kept_a_task_is_known_after_its_pod_is_gone() -> None:
    with world() as w:
        w.cluster.pods = [pulling()]
        w.overdue.note_job(AGENT, active_job(began=1.0))
        await w.until(lambda: w.reason() is not None)

        w.cluster.pods = []
        await w.until(lambda: w.reason() is None)
        failed = active_job(conditions=[{"type": "Failed", "status": "True"}])
        left = w.overdue.note_job(AGENT, failed)

        assert left is not None
        assert left.reason == "ImagePullBackOff"


async def test_a_task_that_is_not_waited_for_any_more_is_not_overdue() -> None:
    with world() as w:
        w.cluster.pods = [pulling()]
        w.overdue.note_job(AGENT, active_job(began=1.0))
        await w.until(lambda: w.reason() is not None)

        w.gone.add("task-1")

        await w.until(lambda: w.reason() is None)
        w.overdue.note_job(AGENT, active_job())
        assert not w.overdue._waiting


async def test_what_the_status_said_stands_until_there_was_time_to_look() -> None:
    with world() as w:
        w.overdue.begin(AGENT, said=True)
        w.overdue.begin(OTHER, said=False)
        assert w.overdue.verdict(AGENT) is UNDECIDED
        assert w.overdue.verdict(OTHER) is None

        await w.until(lambda: w.overdue.verdict(AGENT) is None)

        assert w.changes == 1


async def test_an_agent_that_is_gone_is_forgotten() -> None:
    with world() as w:
        w.cluster.pods = [pulling(1), pulling(2)]
        w.overdue.note_job(AGENT, active_job(1, began=1.0))
        w.overdue.note_job(OTHER, active_job(2, began=1.0))
        await w.until(lambda: w.reason() and w.reason(OTHER))

        w.overdue.forget(AGENT)

        assert w.overdue.verdict(AGENT) is None
        assert w.reason(OTHER) == "ImagePullBackOff"


def test_only_a_job_that_should_have_a_pod_awaits_one() -> None:
    failed: dict[str, Any] = {"conditions": [{"type": "Failed", "status": "True"}]}
    suspended = active_job() | {"spec": {"suspend": True}}
    deleted = active_job()
    deleted["metadata"]["deletionTimestamp"] = "2026-11-01T12:00:00Z"

    assert awaits_pods(active_job())
    assert not any(map(awaits_pods, (active_job(ready=1), active_job(**failed), suspended, deleted)))
