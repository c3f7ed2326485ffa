"""An operator in this process: the whole of it but kopf, whose watch is what a test shows."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

from aiohttp import ClientError, ClientSession

from heed import names
from heed.core.decision.decide import Decision
from heed.core.effects import AgentRef
from heed.core.ledger.ledger import Ledger
from heed.engine.observer import LogObserver, Observer
from heed.kube.leader.election import end_task
from heed.kube.manager import run_operator
from heed.kube.watch import ClusterWatch
from heed.settings import Settings
from tests.builders.agents import manifest
from tests.integration.waiting import SOON, until
from tests.ports import free_port
from tests.unit.apiserver import ApiServer


class Watch(ClusterWatch):
    """Shows nothing by itself."""

    made: Watch

    def __init__(self, settings: Settings, proxy: str | None = None) -> None:
        super().__init__(settings, proxy)
        self.given = settings, proxy
        self.fleet: Any = None
        self.waited: list[float | None] = []
        Watch.made = self

    async def run(self, watcher: Any) -> None:
        self.fleet = watcher
        try:
            await asyncio.Event().wait()
        finally:
            self.fleet = None

    async def wait_until_ended(self, patience: float | None = None) -> None:
        self.waited.append(patience)

    def missing(self) -> str | None:
        return None if self.fleet else "not watching the cluster yet"


class Listening(LogObserver):
    """Counts events."""

    def __init__(self) -> None:
        self.heard = 0

    def committed(self, agent: AgentRef, decisions: Sequence[Decision], ledger: Ledger) -> None:
        self.heard += len(decisions)


class Rig:
    """An operator and what is around it; the way to the API server is through a proxy, which it is itself."""

    def __init__(self, server: ApiServer, nats_url: str, **more: Any) -> None:
        self.server, self.namespace = server, f"test-{uuid4().hex[:12]}"
        self.health, self.metrics, self.webhook = free_port(), free_port(), free_port()
        common: dict[str, Any] = {"nats_url": nats_url, "task_nats_url": "nats://jobs.example:4222"}
        common |= {"lease": "heed", "lease_namespace": "system", "identity": "one"}
        common |= {"health_port": self.health, "metrics_port": self.metrics, "namespace": self.namespace}
        self.settings = Settings(**{**common, **more})
        self.operating: asyncio.Task[None] | None = None
        self._others: set[asyncio.Task[Any]] = set()

    def start(self, observer: Observer | None = None) -> None:
        self._others = asyncio.all_tasks()
        self.operating = asyncio.create_task(run_operator(self.settings, observer))

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """As whoever runs it does. Raises what it raises."""
        assert self.operating is not None
        if not self.operating.done():
            os.kill(os.getpid(), number)
        await asyncio.wait_for(self.operating, SOON)

    async def end(self) -> None:
        """For a test that fails: by itself nothing that it leaves would end."""
        if self.operating is None or self.operating.done():
            return
        with suppress(Exception):
            await self.stop()
        left = asyncio.all_tasks() - self._others - {asyncio.current_task()}
        await asyncio.gather(*map(end_task, left))

    async def get(self, port: int, path: str) -> tuple[int, str]:
        """Status and text; 0 where nobody serves."""
        try:
            async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
                return answer.status, await answer.text()
        except ClientError:
            return 0, ""

    async def says(self, status: int, text: str) -> None:
        """Until its probe does."""

        async def does() -> bool:
            assert self.operating is not None
            if self.operating.done():
                self.operating.result()
            return await self.get(self.health, "/readyz") == (status, f"{text}\n")

        await until(does)

    async def agent(self, *handlers: Mapping[str, Any], **spec: Any) -> str:
        """Make an Agent and show it, once; returns its path."""
        path = f"/apis/{names.API_VERSION}/namespaces/{self.namespace}/agents/researcher"
        given = manifest(*map(dict, handlers), **spec)
        body = self.server.add(path, **{key: given[key] for key in ("apiVersion", "kind", "spec")})
        await until(lambda: Watch.made.fleet is not None)
        Watch.made.fleet.observe(body)
        await until(lambda: ready(self.server.at(path)))
        return path


def ready(body: Mapping[str, Any]) -> bool:
    conditions = (body.get("status") or {}).get("conditions") or []
    return any((item["type"], item["status"]) == ("Ready", "True") for item in conditions)
