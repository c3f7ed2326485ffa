"""Whoever was there all the time: etcd's own history says what was ever made, and how deleted Agents ended.

An API server that is killed forgets what its watches have not sent yet; etcd, which is left alone, forgets nothing.
Keys: `/registry/jobs/<namespace>/<name>`, and with their groups Widgets and Agents, such as
`/registry/heed.dev/agents/<namespace>/<name>`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from tests.cluster.resources.kinds import GROUP
from tests.faults.gate import NAME, NAMESPACE, Commit

JOBS = "/registry/jobs/"
WIDGETS = f"/registry/{GROUP}/widgets/"
AGENTS = "/registry/heed.dev/agents/"
GATE = f"{AGENTS}{NAMESPACE}/{NAME}"
Name = tuple[str, str]  # namespace, name


class Witness:
    """Use as an async context manager, before anything happens."""

    def __init__(self, socket: Path) -> None:
        self.made: Counter[Name] = Counter()
        """How often a Job of this name was created."""
        self.widgets_made: Counter[Name] = Counter()
        self.commits: list[Commit] = []
        """What was written to the status of the gate."""
        self.gone: list[dict[str, Any]] = []
        """Agents that were deleted, as they were at the end."""
        self._socket = socket
        self._watching: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Witness:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(self._socket)), timeout=aiohttp.ClientTimeout(total=None)
        )
        self._watching = [
            asyncio.create_task(self._watch(JOBS, filters=["NODELETE"])),
            asyncio.create_task(self._watch(WIDGETS, filters=["NODELETE"])),
            asyncio.create_task(self._watch(GATE, GATE + "\0", filters=["NODELETE"])),
            asyncio.create_task(self._watch(AGENTS, filters=["NOPUT"], prev_kv=True)),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        await self._session.close()

    def check(self) -> None:
        """Raise what kept it from seeing everything."""
        for task in self._watching:
            if task.done():
                task.result()
                raise AssertionError("a watch of etcd ended: what was made is not known")

    async def _watch(self, prefix: str, end: str | None = None, **options: Any) -> None:
        """All changes since the beginning; an error where etcd does not hold them all any more."""
        range_end = prefix[:-1] + "0" if end is None else end
        wanted = {"key": _encoded(prefix), "range_end": _encoded(range_end), "start_revision": 1}
        request = {"create_request": wanted | options}
        async with self._session.post("http://etcd/v3/watch", json=request) as answer:
            async for line in _lines(answer):
                result = json.loads(line)["result"]
                if result.get("canceled"):
                    raise AssertionError(f"etcd does not show all of {prefix}: {result}")
                for event in result.get("events", ()):
                    self._see(event)

    def _see(self, event: dict[str, Any]) -> None:
        key = base64.b64decode(event["kv"]["key"]).decode()
        namespace, name = key.split("/")[-2:]
        if event.get("type") == "DELETE":
            self.gone.append(json.loads(base64.b64decode(event["prev_kv"]["value"])))
        elif key == GATE:
            status = json.loads(base64.b64decode(event["kv"]["value"])).get("status") or {}
            self.commits.append(Commit(time.time(), (status.get("cursor") or {}).get("sequence", 0)))
        elif event["kv"]["version"] == "1":
            made = self.widgets_made if key.startswith(WIDGETS) else self.made
            made[namespace, name] += 1


def _encoded(key: str) -> str:
    return base64.b64encode(key.encode()).decode()


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Lines of any length."""
    rest = b""
    async for chunk in answer.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
