"""A ProcessRunner with everything it says written down, and jobs to give it."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heed.core.effects import AgentRef, TaskEnd, TaskWork
from heed.local.process.runner import ProcessRunner
from tests.builders.tasks import spec_with_pod, task_work
from tests.patience import PATIENCE

AGENT = AgentRef("demo", "researcher", "uid-1")


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"waited in vain until {what}"
        await asyncio.sleep(0.01)


def script_job(script: str, *, limits: dict[str, Any] | None = None, **container: Any) -> dict[str, Any]:
    """A JobSpec whose container runs a shell script."""
    main = {"name": "main", "image": "example", "command": ["sh", "-c", script], **container}
    return {**spec_with_pod(containers=[main], restartPolicy="Never"), **(limits or {})}


def python(script: str, **more: Any) -> dict[str, Any]:
    """A JobSpec whose container runs a Python script."""
    return script_job("", command=[sys.executable, "-c", script], **more)


def research(spec: dict[str, Any], *, id: str = "research-1", **more: Any) -> TaskWork:
    """What the loop would hand over of a task `research`."""
    document = {
        "task": {"id": id, "name": "research"},
        "input": {"topic": "tides"},
        "event": {"id": "e-1", "type": "com.example.asked", "correlationid": "flow-7"},
        "session": {"key": "order-42", "startedAt": "2026-11-01T00:00:00Z"},
        "agent": {"name": "researcher", "namespace": "demo"},
    }
    facts = {"agent": AGENT, "task": "research", "session": "order-42", "document": document, **more}
    return task_work(spec, id=id, **facts)


class Bench:
    """One life of a heed process in `folder`. Make another one for the next life."""

    def __init__(self, folder: Path, *, now: str = "2026-11-01T12:00:00Z", slots: int = 8) -> None:
        self.ends: list[TaskEnd] = []
        self.lines: list[tuple[str, str]] = []
        self.now = now
        self.runner = ProcessRunner(
            AGENT,
            folder,
            base=folder,
            report=self.ends.append,
            output=lambda task, line: self.lines.append((task, line)),
            now=lambda: self.now,
            slots=asyncio.Semaphore(slots),
        )
        self.tasks = folder / "tasks" / AGENT.namespace / AGENT.name

    async def end(self, count: int = 1) -> TaskEnd:
        """The latest end, once there are so many."""
        await until(lambda: len(self.ends) >= count, f"{count} ends were reported")
        assert len(self.ends) == count
        return self.ends[-1]

    async def run(self, spec: dict[str, Any], **more: Any) -> TaskEnd:
        """Start a task and wait for its end."""
        count = len(self.ends) + 1
        await self.runner.start(research(spec, **more))
        return await self.end(count)
