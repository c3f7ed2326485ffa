"""The TaskRunner for child processes: `job` tasks with the contract, limits and ends of a cluster's Jobs.

Kubernetes' rules (batch/v1 JobSpec) hold: failed attempts are made again up to backoffLimit, the smaller one of
activeDeadlineSeconds and the task's timeout ends the whole of it. Both count from the first attempt's start here, since
waiting for a free slot is a laptop's matter. Delays between attempts are shorter, since somebody is waiting.
"""

import asyncio
import itertools
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from heed import names
from heed.api.task import job_containers
from heed.core.effects import AgentRef, TaskEnd, TaskWork
from heed.core.tasks.job_contract import (
    CAUSE_ERROR,
    MAX_RESULT_BYTES,
    REASON_BACKOFF_LIMIT,
    REASON_DEADLINE,
    broker_environment,
    clean_text,
    cut_result,
    parse_result,
    task_environment,
)
from heed.core.tasks.losses import JOB_LOST
from heed.errors import TaskRefused, TaskUnavailable
from heed.local.process.attempt import AttemptOutcome, AttemptPlan, plan_attempt, run_attempt
from heed.local.process.task_dir import TaskDir, translate_disk_errors
from heed.settings import DEFAULT_NATS_URL
from heed.util.backoff import Backoff
from heed.util.clock import loop_time

log = logging.getLogger("heed.local")

ATTEMPT_BACKOFF: Final = Backoff(first_s=0.1, last_s=5.0)
END_SWEEP_INTERVAL_S: Final = 60.0  # seconds
MIN_END_RETENTION_S: Final = (
    600  # seconds that an end is kept at least: its Agent may not have it in its ledger yet
)

Output = Callable[[str, str], None]


def default_slots() -> asyncio.Semaphore:
    """The default limit of concurrent child processes: a fan-out of hundreds must not take a laptop down."""
    return asyncio.Semaphore((os.cpu_count() or 1) * 2)


def inherited_environment() -> dict[str, str]:
    """This process's environment, with the interpreter's folder last on PATH, as in an activated venv."""
    path = os.pathsep.join(filter(None, (os.environ.get("PATH"), str(Path(sys.executable).parent))))
    return {**os.environ, "PATH": path}


class ProcessRunner:
    """The TaskRunner of one Agent: its tasks are child processes.

    `folder` is the root of all state; `base` is where the manifest lies. Children that may publish are told `nats_url`.
    `report` is told each end, again after a restart; `output` is told (task id, line). `now` gives RFC 3339.
    """

    def __init__(
        self,
        agent: AgentRef,
        folder: Path,
        *,
        base: Path,
        report: Callable[[TaskEnd], object],
        output: Output,
        now: Callable[[], str],
        slots: asyncio.Semaphore | None = None,
        nats_url: str = DEFAULT_NATS_URL,
    ) -> None:
        self._agent, self._base, self._now = agent, base.resolve(), now
        self._root = folder.resolve() / "tasks" / agent.namespace / agent.name
        self._report, self._output = report, output
        self._slots, self._nats_url = slots or default_slots(), nats_url
        self._running: dict[str, asyncio.Task[None]] = {}
        self._next_sweep = 0.0

    async def start(self, work: TaskWork, *, look_first: bool = False) -> None:
        """Start a task, or report its end where it has ended. Idempotent. Raises TaskUnavailable."""
        if work.attempt_id in self._running:
            return
        folder = self._folder(work.attempt_id)
        earlier = folder.work()
        if earlier is not None and earlier.agent.uid != work.agent.uid:
            folder.remove()  # a namesake's, whose ledger is gone
        elif (end := folder.end()) is not None:
            self._report(end)
            return
        self._begin(work, folder)
        self._sweep(keep=())

    async def cancel(self, attempt_id: str) -> None:
        """Stop a task and remove it. Raises TaskUnavailable."""
        running = self._running.get(attempt_id)
        if running is not None:
            running.cancel()
            await asyncio.wait({running})
        self._folder(attempt_id).remove()

    async def resume(self, attempt_ids: Sequence[str]) -> None:
        """Report the ends of finished tasks, and run again those that the end of an earlier process interrupted."""
        for attempt_id in attempt_ids:
            if attempt_id not in self._running:
                self._resume(attempt_id)
        self._sweep(keep=attempt_ids)

    async def close(self) -> None:
        """Stop every child. Their tasks have not ended: they run again when their Agent comes back."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _folder(self, attempt_id: str) -> TaskDir:
        return TaskDir(self._root / attempt_id)

    def _resume(self, attempt_id: str) -> None:
        folder = self._folder(attempt_id)
        work, end = folder.work(), folder.end()
        if work is None or work.agent.uid != self._agent.uid:
            message = f"{folder.path} is gone; the task was started and nobody knows how it went"
            end = self._failed(attempt_id, JOB_LOST, message)
        elif end is None:
            try:
                self._begin(work, folder)
                return
            except TaskRefused as error:
                end = self._failed(attempt_id, error.reason, error.message)
        self._report(end)

    def _begin(self, work: TaskWork, folder: TaskDir) -> None:
        contract = task_environment(
            work, task_file=str(folder.task_file), result_file=str(folder.result_file)
        )
        if work.publish is not None:
            contract |= broker_environment(work, self._nats_url, None)
        planned = plan_attempt(work, self._base, contract, inherited_environment())
        folder.end_leftovers()
        folder.prepare(work)
        task = asyncio.create_task(self._run(work, planned, folder), name=f"task {work.attempt_id}")
        self._running[work.attempt_id] = task
        task.add_done_callback(lambda _: self._running.pop(work.attempt_id, None))

    async def _run(self, work: TaskWork, planned: AttemptPlan, folder: TaskDir) -> None:
        async with self._slots:
            end = await self._until_it_ends(work, planned, folder)
        try:
            folder.finish(end)
        except TaskUnavailable as error:
            log.warning("end not kept", extra={"task": work.attempt_id, "error": str(error)})
        self._running.pop(work.attempt_id, None)
        self._report(end)

    async def _until_it_ends(self, work: TaskWork, planned: AttemptPlan, folder: TaskDir) -> TaskEnd:
        try:
            async with asyncio.timeout(planned.deadline):
                return await self._attempts(work, planned, folder)
        except TimeoutError:
            message = f"ran longer than {planned.deadline} s, after which the task or its job is given up"
            return self._failed(work.attempt_id, REASON_DEADLINE, message)
        except OSError as error:
            return self._failed(work.attempt_id, type(error).__name__, f"{folder.path}: {error.strerror}")

    async def _attempts(self, work: TaskWork, planned: AttemptPlan, folder: TaskDir) -> TaskEnd:
        with folder.log() as keep:

            def line(text: str) -> None:
                keep(text)
                self._output(work.attempt_id, text)

            if planned.ignored:
                line(f"heed: not honoured outside a cluster: {', '.join(planned.ignored)}")
            for tried in itertools.count():
                folder.result_file.write_bytes(b"")
                outcome = await run_attempt(planned, folder.begin, line)
                text = self._answer(work.attempt_id, folder, line)
                if outcome.exit_code == 0:
                    return TaskEnd(
                        work.id,
                        self._end_id(work.attempt_id),
                        self._now(),
                        True,
                        result=parse_result(text),
                        published=work.publish is not None,
                        attempt=work.attempt,
                    )
                if tried == planned.backoff_limit:
                    return self._exhausted(work, outcome, text)
                delay = ATTEMPT_BACKOFF.delay(tried + 1)
                line(f"heed: exit code {outcome.exit_code}, next attempt in {delay:g} s")
                await asyncio.sleep(delay)
        raise AssertionError("there is always an attempt more or an end")

    def _answer(self, attempt_id: str, folder: TaskDir, line: Callable[[str], None]) -> str:
        content = folder.result()
        if len(content) > MAX_RESULT_BYTES:
            extra = {"task": attempt_id, "bytes": len(content), "limit": MAX_RESULT_BYTES}
            log.warning("result cut; return a reference (dataref) to a large one", extra=extra)
            line(
                f"heed: the result is {len(content)} bytes, of which Kubernetes keeps the last {MAX_RESULT_BYTES}; "
                "store large results elsewhere and return a reference (dataref)"
            )
        return cut_result(content)

    def _exhausted(self, work: TaskWork, outcome: AttemptOutcome, text: str) -> TaskEnd:
        message = text if text.strip() else clean_text(outcome.errors)
        container = str(next(iter(job_containers(work.spec)), {}).get("name") or "") or None
        end = self._failed(work.attempt_id, REASON_BACKOFF_LIMIT, message or None)
        return replace(end, exit_code=outcome.exit_code, cause=CAUSE_ERROR, container=container)

    def _failed(self, attempt_id: str, reason: str, message: str | None) -> TaskEnd:
        task_id, attempt = names.split_attempt(attempt_id)
        facts: dict[str, Any] = {"reason": reason, "message": message, "attempt": attempt}
        return TaskEnd(task_id, self._end_id(attempt_id), self._now(), False, **facts)

    def _end_id(self, attempt_id: str) -> str:
        return names.digest("local-run", self._agent.uid, attempt_id)

    def _sweep(self, keep: Sequence[str]) -> None:
        """Remove finished tasks past their retention, at most once in END_SWEEP_INTERVAL_S."""
        clock = loop_time()
        if clock < self._next_sweep:
            return
        self._next_sweep = clock + END_SWEEP_INTERVAL_S
        now, kept = self._now(), {*keep, *self._running}
        with translate_disk_errors(str(self._root)):
            folders = [TaskDir(path) for path in self._root.iterdir()] if self._root.is_dir() else []
        for folder in folders:
            if folder.path.name not in kept and folder.expired(now, MIN_END_RETENTION_S):
                folder.remove()
