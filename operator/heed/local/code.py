"""Agents in Python under `heed dev`: their files are imported in child processes only, which are their workers.

This process imports no user's code, so that a reload needs no more than another child, and a file that hangs or breaks
does so elsewhere.
"""

import asyncio
import json
import logging
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from heed.api.manifest.document import Manifest
from heed.api.manifest.yaml import YamlTree
from heed.errors import Problem
from heed.local.process.child import Process, end_group, spawn
from heed.local.process.runner import inherited_environment
from heed.util.aio import stop
from heed.util.backoff import Backoff

log = logging.getLogger("heed.local")

DESCRIBE_TIMEOUT_S: Final = 60.0
DRAIN_GRACE_S: Final = 5.0
RESTART_BACKOFF: Final = Backoff(first_s=0.5, last_s=10.0)

Key = tuple[str, str]
Say = Callable[[Key, str], None]


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of a manifest's fields, by the paths of those that have lines of their own."""

    known: Mapping[str, int]

    def line_of(self, path: str) -> int:
        """The line of a field, or of the field that it is in."""
        within = [item for item in self.known if path == item or path.startswith((f"{item}.", f"{item}["))]
        return self.known[max(within, key=len, default="")]

    def owner_of(self, path: str) -> str:
        """Nothing: the line says it."""
        return ""

    def member(self, name: str) -> YamlTree | None:
        """None: there is no text of the manifest."""
        return None


class BrokenModule(Exception):
    """A file that cannot be imported, or defines no Agent."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


async def describe(file: Path) -> list[Manifest]:
    """The manifests of a file's Agents and of their event types. Raises BrokenModule."""
    process = await spawn(_command(file, "--describe"), file.parent, inherited_environment(), PIPE, STDOUT)
    try:
        async with asyncio.timeout(DESCRIBE_TIMEOUT_S):
            out, _ = await process.communicate()
    except TimeoutError:
        message = f"the import takes more than {DESCRIBE_TIMEOUT_S:g} s"
        raise BrokenModule(
            Problem(f"{file}:1", message, "let it do its work in tasks or resources")
        ) from None
    finally:
        await end_group(process, 0)
    return _read(file, out.decode(errors="replace"), process.returncode)


def _read(file: Path, out: str, code: int | None) -> list[Manifest]:
    last = out.strip().rsplit("\n", 1)[-1]
    try:
        found = json.loads(last)
    except ValueError:
        raise BrokenModule(Problem(f"{file}:1", f"the import ended with {code}: {last[:500]}")) from None
    if code == 0:
        return [
            Manifest(item["document"], str(file), item["lines"][""], _Lines(item["lines"])) for item in found
        ]
    place = str(file.parent / found["path"])  # told by a child that works in the file's folder
    raise BrokenModule(Problem(**{**found, "path": place}))


class CodeWorker:
    """The worker of one Agent: a child process that is started again where it ends by itself."""

    def __init__(self, key: Key, file: Path, url: str, say: Say) -> None:
        self._key, self._file, self._url, self._say = key, file, url, say
        self.pid: int | None = None
        self._task = asyncio.create_task(self._keep(), name=f"worker {'/'.join(key)}")

    async def close(self) -> None:
        """End it; what it has begun is finished, for DRAIN_GRACE_S at most."""
        await stop(self._task)

    async def _keep(self) -> None:
        tries = 0
        while True:
            process = await self._spawn()
            self.pid = process.pid
            try:
                await self._follow(process)
            finally:
                await end_group(process, DRAIN_GRACE_S)
            tries += 1
            self._say(self._key, f"the worker ended with {process.returncode}; it is started again")
            await asyncio.sleep(RESTART_BACKOFF.delay(tries))

    async def _spawn(self) -> Process:
        namespace, name = self._key
        command = _command(self._file, "--namespace", namespace, agent=name)
        environment = {**inherited_environment(), "HEED_NATS_URL": self._url, "PYTHONUNBUFFERED": "1"}
        environment.setdefault("HEED_CHECK_PURITY", "1")
        return await spawn(command, self._file.parent, environment, PIPE, STDOUT)

    async def _follow(self, process: Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            self._say(self._key, line.decode(errors="replace").rstrip())
        await process.wait()


def _command(file: Path, *more: str, agent: str = "") -> list[str]:
    module = f"{file.resolve()}:{agent}" if agent else str(file.resolve())
    return [sys.executable, "-m", "heed.worker", module, *more]
