"""The sandboxed worker for admission reviews: one at a time; a worker's death becomes a verdict.

Users who may create objects, and clients that reach the port, choose what is reviewed here. The process is started
for the first review, and ended once it has been idle for a while.
"""

import json
import logging
from dataclasses import fields
from typing import Any, Final

from heed.core.compiler.admission import AdmissionRequest, AdmissionVerdict, ClusterContext
from heed.errors import HeedError, Problem
from heed.sandbox.supervisor import Supervisor, WorkerDied, WorkerProcess, WorkerSpec

log = logging.getLogger("heed.webhook")
REVIEW_MEMORY_BYTES: Final = 256 * 1024**2  # bytes
REVIEW_CPU_LIMIT_S: Final = 2.0  # seconds for one request; the API server waits for five or so
REVIEW_HUNG_TIMEOUT_S: Final = 8.0  # seconds on the wall
REVIEW_IDLE_TIMEOUT_S: Final = 60.0  # seconds after which the process is ended


class CheckUnavailable(HeedError):
    """The review could not be made now."""


class ReviewPool:
    """Judges requests. `memory` is bytes, `cpu` and `idle` seconds."""

    def __init__(
        self,
        memory: int = REVIEW_MEMORY_BYTES,
        cpu: float = REVIEW_CPU_LIMIT_S,
        idle: float = REVIEW_IDLE_TIMEOUT_S,
    ) -> None:
        self._cpu = cpu
        self._supervisor = Supervisor(
            WorkerSpec(
                module="heed.kube.webhook.review_worker",
                memory=memory,
                cpu=cpu,
                start_s=REVIEW_HUNG_TIMEOUT_S,
                answer_s=REVIEW_HUNG_TIMEOUT_S,
                unavailable=CheckUnavailable,
                idle_s=idle,
            )
        )

    @property
    def pid(self) -> int | None:
        """The worker's pid, while there is one."""
        return self._supervisor.pid

    async def judge(self, request: AdmissionRequest, around: ClusterContext) -> AdmissionVerdict:
        """See `core.compiler.admission.judge`; what ends the process is a problem too. Raises CheckUnavailable."""
        question = json.dumps({"request": _fields(request), "around": _fields(around)}).encode()

        async def conversation(worker: WorkerProcess) -> dict[str, Any]:
            await worker.send(question)
            _, data = await worker.receive()
            said: dict[str, Any] = json.loads(data)
            return said

        try:
            said = await self._supervisor.ask(conversation, _warn, retry_hung=False)
        except WorkerDied as death:
            return _condemned(death, self._cpu)
        if "mistake" in said:
            raise CheckUnavailable(f"checking it failed: {said['mistake']}")
        problems = tuple(Problem(**item) for item in said["problems"])
        return AdmissionVerdict(problems, tuple(said["warnings"]))

    async def close(self) -> None:
        """End the process. Raises nothing; requests that wait get CheckUnavailable."""
        await self._supervisor.close("no more manifests are checked here")


def _fields(value: AdmissionRequest | ClusterContext) -> dict[str, Any]:
    """The members of a record, not copied."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _warn(death: WorkerDied) -> None:
    log.warning("the checking process ended", extra={"end": death.named})


def _condemned(death: WorkerDied, cpu: float) -> AdmissionVerdict:
    """Raises CheckUnavailable where a death says nothing about what was checked."""
    if death.code is None:
        raise CheckUnavailable(f"no verdict within {REVIEW_HUNG_TIMEOUT_S:g} s")
    if death.of_cpu_time:
        what = f"checking it takes more than {cpu:g} s of CPU time"
    else:
        what = f"checking it ended two processes ({death.named})"
    return AdmissionVerdict((Problem("spec", what, "make it smaller, or several of it"),))
