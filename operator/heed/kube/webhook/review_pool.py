"""Has manifests judged in a process of their own, one at a time, and makes a verdict of what that process dies of.

Whoever may create objects, and whoever reaches the port, chooses what is judged here. The process is started when there
is something to judge and ended when there was nothing for a while.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import heed
from heed.core.compiler.admission import AdmissionRequest, AdmissionVerdict, ClusterContext
from heed.errors import HeedError, Problem
from heed.kube.webhook.review_worker import frame
from heed.sandbox.decision_worker import LENGTH

log = logging.getLogger("heed.webhook")
MEMORY: Final = 256 * 1024**2  # bytes
CPU: Final = 2.0  # seconds for one request; whoever asks waits for five or so
HUNG: Final = 8.0  # seconds on the wall
IDLE: Final = 60.0  # seconds after which the process is ended


class CheckUnavailable(HeedError):
    """It could not be judged now; nothing is known of it."""


class _Died(Exception):
    """The process is gone, with this return code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Checks:
    """Judges requests. `memory` is bytes, `cpu` and `idle` seconds."""

    def __init__(self, memory: int = MEMORY, cpu: float = CPU, idle: float = IDLE) -> None:
        self._memory, self._cpu, self._idle = memory, cpu, idle
        self._free = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return self._process.pid if self._process is not None else None

    async def judge(self, request: AdmissionRequest, around: ClusterContext) -> AdmissionVerdict:
        """See `core.admission.judge`; what ends the process is a problem too. Raises CheckUnavailable."""
        question = frame({"request": _fields(request), "around": _fields(around)})
        async with self._free:
            for last in (False, True):
                try:
                    return await self._ask(question)
                except _Died as death:
                    log.warning("the checking process ended", extra={"end": _named(death.code)})
                    # It may have been killed by somebody. CPU time is its own.
                    if last or death.code == -signal.SIGPROF:
                        return _condemned(death, self._cpu)
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """End the process. Raises nothing; requests that wait get CheckUnavailable."""
        self._closed = True
        await self._end()

    async def _ask(self, question: bytes) -> AdmissionVerdict:
        process = await self._started()
        try:
            async with asyncio.timeout(HUNG):
                said = await _answer(process, question)
        except BaseException as error:  # also where nobody waits any more: the next one would get the answer
            await asyncio.shield(asyncio.ensure_future(self._end()))
            if isinstance(error, TimeoutError):
                raise CheckUnavailable(f"no verdict within {HUNG:g} s") from None
            raise
        if said["last"]:
            await self._end()
        else:
            self._ending = asyncio.get_running_loop().call_later(self._idle, self._retire)
        if "mistake" in said:
            raise CheckUnavailable(f"checking it failed: {said['mistake']}")
        problems = tuple(Problem(**item) for item in said["problems"])
        return AdmissionVerdict(problems, tuple(said["warnings"]))

    async def _started(self) -> asyncio.subprocess.Process:
        if self._closed:
            raise CheckUnavailable("no more manifests are checked here")
        if self._ending is not None:
            self._ending.cancel()
        if self._process is None:
            argv = [
                sys.executable,
                "-P",
                "-m",
                "heed.kube.webhook.review_worker",
                str(self._memory),
                str(self._cpu),
            ]
            path = str(Path(heed.__file__).parent.parent)
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *argv,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    env={"PATH": os.defpath, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
                    process_group=0,
                )
            except OSError as error:
                raise CheckUnavailable(f"cannot start a process: {error}") from None
        return self._process

    def _retire(self) -> None:
        async def retire() -> None:
            async with self._free:
                await self._end()

        self._retiring = asyncio.ensure_future(retire())

    async def _end(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        with suppress(ProcessLookupError):
            process.kill()
        process.stdin.close()
        with suppress(RuntimeError):  # an answer is being waited for: that reads to the end
            await process.stdout.read()
        await process.wait()


async def _answer(process: asyncio.subprocess.Process, question: bytes) -> dict[str, Any]:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(question)
    with suppress(ConnectionError):  # how it ended says the reading
        await process.stdin.drain()
    try:
        head = await process.stdout.readexactly(LENGTH.size)
        data = await process.stdout.readexactly(LENGTH.unpack(head)[0])
    except asyncio.IncompleteReadError:
        raise _Died(await process.wait()) from None
    said: dict[str, Any] = json.loads(data)
    return said


def _fields(value: AdmissionRequest | ClusterContext) -> dict[str, Any]:
    """The members of a record, not copied."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _condemned(death: _Died, cpu: float) -> AdmissionVerdict:
    if death.code == -signal.SIGPROF:
        what = f"checking it takes more than {cpu:g} s of CPU time"
    else:
        what = f"checking it ended two processes ({_named(death.code)})"
    return AdmissionVerdict((Problem("spec", what, "make it smaller, or several of it"),))


def _named(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
