"""The supervisor of a sandboxed worker process: starts it, has it answer one request at a time, ends and replaces it.

A process that was given a request is used for another one only after it has answered: one that died, hung, or whose
request was given up is ended, and the next request gets a new one. One that died may have been killed by somebody: only
a second one that dies of the same request is the request's fault. CPU time, though, is the request's own. It is limited
rather than time on the wall, so that a verdict does not depend on what else the machine does.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import heed
from heed.errors import HeedError
from heed.sandbox.worker import FRAME_LENGTH, LAST, encode_frame

T = TypeVar("T")
FATAL_DEATHS: Final = 2  # of a request: one worker may have been killed by somebody


class WorkerDied(Exception):
    """A worker is gone, with a return code as a process has it. None: it hung, or made no sense, and was ended."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"the worker ended with {code}")
        self.code = code

    @property
    def of_cpu_time(self) -> bool:
        """Whether the request took more CPU time than it may."""
        return self.code == -signal.SIGPROF

    @property
    def named(self) -> str:
        """How it ended, in words."""
        if self.code is None:
            return "it hung"
        return signal.Signals(-self.code).name if self.code < 0 else f"exit code {self.code}"


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What is started, and its limits. `unavailable` is raised where there can be no worker now."""

    module: str
    memory: int  # bytes of address space beyond the worker's own
    cpu: float  # seconds of CPU time for a request
    start_s: float  # until it is ready
    answer_s: float  # on the wall, for what takes no CPU time
    unavailable: type[HeedError]
    idle_s: float | None = None  # without a request until it is ended; None: never


class WorkerProcess:
    """A running worker. It is used by one conversation at a time, and never again after it failed one."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.usable = True

    @classmethod
    async def started(cls, spec: WorkerSpec) -> "WorkerProcess":
        """A worker that is ready, with nothing of our environment. Raises `unavailable`."""
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", spec.module, str(spec.memory), str(spec.cpu)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={
                    "PATH": os.defpath,
                    "PYTHONPATH": str(Path(heed.__file__).parent.parent),
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                process_group=0,
            )
        except OSError as error:
            raise spec.unavailable(f"cannot start a worker: {error}") from None
        worker = cls(process)
        try:
            async with asyncio.timeout(spec.start_s):
                await worker.receive()
        except (WorkerDied, TimeoutError) as error:
            await worker.end()
            raise spec.unavailable(f"a worker was not ready: {str(error) or 'it took too long'}") from None
        except BaseException:
            await worker.end()
            raise
        return worker

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    async def send(self, request: bytes) -> None:
        """Give it a request. Never raises for a worker that is gone: `receive` says how it ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(encode_frame(request))
        with suppress(ConnectionError):
            await self._process.stdin.drain()

    async def receive(self) -> tuple[bytes, bytes]:
        """What it says next: kind and data. Raises WorkerDied."""
        assert self._process.stdout is not None
        try:
            head = await self._process.stdout.readexactly(FRAME_LENGTH.size)
            data = await self._process.stdout.readexactly(FRAME_LENGTH.unpack(head)[0])
        except asyncio.IncompleteReadError:
            raise WorkerDied(await self._process.wait()) from None
        if data[:1] == LAST:
            self.usable = False
        return data[:1], data[1:]

    async def end(self) -> None:
        """It is gone after this."""
        self.usable = False
        with suppress(ProcessLookupError):
            self._process.kill()
        await asyncio.shield(asyncio.create_task(self._gone()))

    async def _gone(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        with suppress(RuntimeError):  # an answer is being waited for: that reads to the end
            await self._process.stdout.read()
        await self._process.wait()


class Supervisor:
    """One worker at a time, and who waits for it. It is started for the first request, and not before."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._free = asyncio.Lock()
        self._worker: WorkerProcess | None = None
        self._retirement: asyncio.TimerHandle | None = None
        self._retiring: asyncio.Task[None] | None = None
        self._closed: str | None = None  # why

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self._worker.pid if self._worker is not None and self._worker.usable else None

    async def ask(
        self,
        conversation: Callable[[WorkerProcess], Awaitable[T]],
        died: Callable[[WorkerDied], None],
        *,
        retry_hung: bool = True,
    ) -> T:
        """What a conversation with the worker comes to, when it is its turn; `died` is told of each death.

        It starts over with another worker where the first one dies in it. Without `retry_hung` not where that
        one hung. Raises WorkerDied where that is the request's fault, `unavailable` where there can be no worker now.
        """
        async with self._free:
            deaths = 0
            while True:
                worker = await self._ready()
                try:
                    return await self._converse(worker, conversation)
                except WorkerDied as death:
                    deaths += 1
                    died(death)
                    hung = death.code is None
                    if deaths == FATAL_DEATHS or death.of_cpu_time or (hung and not retry_hung):
                        raise

    async def close(self, reason: str) -> None:
        """End the process. Who still waits for it, or comes later, is told the reason."""
        self._closed = reason
        await self._end()
        if self._retiring is not None:
            await self._retiring

    async def _converse(
        self, worker: WorkerProcess, conversation: Callable[[WorkerProcess], Awaitable[T]]
    ) -> T:
        try:
            async with asyncio.timeout(self._spec.answer_s):
                result = await conversation(worker)
        except BaseException as error:  # also a cancellation: the next request would get the answer
            await worker.end()
            if isinstance(error, TimeoutError):
                raise WorkerDied(None) from None
            raise
        if not worker.usable:
            await worker.end()
        elif self._spec.idle_s is not None:
            loop = asyncio.get_running_loop()
            self._retirement = loop.call_later(self._spec.idle_s, self._retire)
        return result

    async def _ready(self) -> WorkerProcess:
        self._check_open()
        if self._retirement is not None:
            self._retirement.cancel()
        if self._worker is None or not self._worker.usable:
            self._worker = None
            self._worker = await WorkerProcess.started(self._spec)
            try:
                self._check_open()
            except HeedError:
                await self._end()
                raise
        return self._worker

    def _check_open(self) -> None:
        if self._closed is not None:
            raise self._spec.unavailable(self._closed)

    def _retire(self) -> None:
        self._retiring = asyncio.create_task(self._end_when_free())

    async def _end_when_free(self) -> None:
        async with self._free:
            await self._end()

    async def _end(self) -> None:
        if self._retirement is not None:
            self._retirement.cancel()
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.end()
