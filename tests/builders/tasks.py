"""Tasks: their JobSpecs, what a runner is given of them, and what a ledger keeps of them."""

from __future__ import annotations

from typing import Any

from heed.api.status import PendingTask, Phase, TaskCause
from heed.core.effects import AgentRef, TaskWork
from tests.builders.agents import AGENT, NAMESPACE
from tests.builders.events import at

OWNER = AgentRef(NAMESPACE, AGENT, "uid-1")


def job_spec(**fields: Any) -> dict[str, Any]:
    """A JobSpec with one container, and these fields beside `template`."""
    return {"template": {"spec": {"containers": [{"name": "main", "image": "example/work:1"}]}}, **fields}


def spec_with_pod(**fields: Any) -> dict[str, Any]:
    """A JobSpec whose pod has these fields."""
    spec = job_spec()
    spec["template"]["spec"] |= fields
    return spec


def spec_with_container(**fields: Any) -> dict[str, Any]:
    """A JobSpec whose container has these fields."""
    return spec_with_pod(containers=[{"name": "main", "image": "example/work:1", **fields}])


def task_work(
    spec: dict[str, Any] | None = None,
    *,
    agent: AgentRef = OWNER,
    id: str = "work-1",
    task: str = "work",
    kind: str = "job",
    session: str = "s",
    document: dict[str, Any] | None = None,
    timeout: int | None = None,
    retention: int = 3600,
    publish: tuple[str, ...] | None = None,
) -> TaskWork:
    """What a runner is given to start a task: a Job of one container that may run and publish as long as it likes."""
    return TaskWork(
        agent,
        id,
        task,
        kind,
        session,
        job_spec() if spec is None else spec,
        {"input": None} if document is None else document,
        timeout,
        retention,
        publish,
    )


def pending_task(
    task: str = "work", *, session: str = "s", phase: Phase = "Started", sequence: int = 1, **more: Any
) -> PendingTask:
    """A task that the event at `sequence` started, and that runs; `more` are its other fields."""
    cause = TaskCause(f"e{sequence}", sequence, f"c{sequence}")
    return PendingTask(task, session, "job", at(sequence), cause, phase=phase, **more)


def session_task(session: str, phase: Phase = "Started") -> PendingTask:
    """A task of a session, with an input and an owed start, which it keeps until it is abandoned."""
    return pending_task(session=session, phase=phase, input=7, owed="{}")
