"""The fleet without a watch: it sees only what a test shows it, when it shows it. All else of the operator is real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from heed import names
from heed.bus.client.connection import connect
from heed.bus.client.streams import ensure_streams
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event
from heed.engine.observer import LogObserver
from heed.engine.rate_limit import CommitRate
from heed.kube.client.client import KubeApi, agent_path, agents_path, jobs_path
from heed.kube.controller.agents import AgentController
from heed.kube.status.loop_health import HealthThresholds
from heed.settings import Settings
from tests.cluster.stories import RESEARCHER
from tests.patience import PATIENCE

ASKED = "com.example.question.asked"
AGENT = "researcher"


class Watchless:
    """One namespace, one Agent, one fleet. `api` is the administrator's; the fleet's may have fewer rights."""

    def __init__(self, api: KubeApi, fleet: AgentController, bus: JetStreamBus, namespace: str) -> None:
        self.api, self.fleet, self.bus, self.namespace = api, fleet, bus, namespace

    async def create(self, manifest: dict[str, Any] = RESEARCHER) -> dict[str, Any]:
        """Make the Agent, and show it."""
        body = await self.add(manifest)
        self.fleet.observe(body)
        return body

    async def add(self, manifest: dict[str, Any] = RESEARCHER) -> dict[str, Any]:
        """Make the Agent, unseen."""
        return (await self.api.create(agents_path(self.namespace), manifest)).body

    async def edit(self, patch: dict[str, Any], *, show: bool = True) -> dict[str, Any]:
        """Change the Agent with a merge patch."""
        body = (await self.api.merge(agent_path(self.namespace, AGENT), patch)).body
        if show:
            self.fleet.observe(body)
        return body

    async def delete(self) -> None:
        """Delete the Agent, unseen."""
        await self.api.delete(agent_path(self.namespace, AGENT))

    async def agent(self) -> dict[str, Any]:
        return (await self.api.get(agent_path(self.namespace, AGENT))).body

    async def ask(self, id: str, correlation: str = "c-1", type_: str = ASKED) -> None:
        event = Event(
            id,
            "/test",
            type_,
            {"topic": "tides"},
            datacontenttype="application/json",
            extensions={"correlationid": correlation},
        )
        await self.bus.publish(names.event_subject(self.namespace, type_), event)

    async def jobs(self) -> list[dict[str, Any]]:
        return await self.api.list(jobs_path(self.namespace))

    async def job(self, name: str) -> dict[str, Any]:
        return (await self.api.get(jobs_path(self.namespace, name))).body

    async def until(self, look: Callable[[], Awaitable[Any]], what: str) -> Any:
        """What `look` sees, once it is something."""
        clock = asyncio.get_running_loop().time
        end = clock() + PATIENCE
        while clock() < end:
            if seen := await look():
                return seen
            await asyncio.sleep(0.05)
        raise AssertionError(f"waited in vain for {what}")

    async def status(self, holds: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The status, once a condition holds of it."""

        async def look() -> dict[str, Any] | None:
            status = (await self.agent()).get("status") or {}
            return status if "cursor" in status and holds(status) else None

        found: dict[str, Any] = await self.until(look, "the status")
        return found

    async def condition(self, status: str, reason: str, type_: str = "Ready") -> dict[str, Any]:
        """A condition, once it says this."""

        async def look() -> dict[str, Any] | None:
            conditions = ((await self.agent()).get("status") or {}).get("conditions") or []
            wanted = (type_, status, reason)
            return next((c for c in conditions if (c["type"], c["status"], c["reason"]) == wanted), None)

        found: dict[str, Any] = await self.until(look, f"{type_}={status}, {reason}")
        return found

    async def started(self) -> dict[str, Any]:
        """The one Job, once the ledger knows that it was started."""
        await self.status(lambda s: [t["phase"] for t in s["pendingTasks"].values()] == ["Started"])
        (job,) = await self.jobs()
        return job

    async def finished(self, name: str) -> dict[str, Any] | None:
        """A Job once it has completed."""
        job = await self.job(name)
        return job if job.get("status", {}).get("completionTime") else None

    async def running(self, generation: int = 1) -> None:
        """Until a generation of the Agent runs, and has its ledger."""

        async def look() -> bool:
            return any(
                item.program.generation == generation and item.loop.ledger is not None
                for item in self.fleet._running.values()
            )

        await self.until(look, f"generation {generation} to run")

    async def stopped(self) -> None:
        """Until nothing runs."""
        await self.until(lambda: true(not self.fleet._running), "no loop")

    async def no_jobs(self) -> None:
        """Until no Job is there."""

        async def look() -> bool:
            return not await self.jobs()

        await self.until(look, "no Job")


async def true(holds: bool) -> bool:
    return holds


@asynccontextmanager
async def watchless_fleet(
    admin: Path,
    broker: str,
    namespace: str,
    *,
    kubeconfig: Path | None = None,
    patience: HealthThresholds | None = None,
) -> AsyncIterator[Watchless]:
    """A fleet with an administrator's rights, or with those of a kubeconfig."""
    settings = Settings(nats_url=broker)
    api, own = await KubeApi.connect(str(admin)), await KubeApi.connect(str(kubeconfig or admin))
    connection = await connect(settings, "test", attempts=3)
    await ensure_streams(connection, settings.stream)
    bus = JetStreamBus(connection)
    fleet = AgentController(own, bus, LogObserver(), CommitRate(), patience=patience)
    try:
        yield Watchless(api, fleet, bus, namespace)
    finally:
        await fleet.close()
        await connection.close()
        await own.close()
        await api.close()
