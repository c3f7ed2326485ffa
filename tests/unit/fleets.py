"""A fleet on an API server and a broker in this process. It sees only what a test shows it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from heed import names
from heed.api.conditions import find_condition
from heed.engine.observer import LogObserver
from heed.engine.rate_limit import CommitRate
from heed.kube.client.client import KubeApi
from heed.kube.controller.agents import AgentController
from heed.kube.status.loop_health import HealthThresholds
from heed.settings import GatewaySettings
from tests.builders.agents import manifest
from tests.integration.waiting import until
from tests.unit.apiserver import ApiServer, Object
from tests.unit.memorybus import MemoryBus

QUICK = CommitRate(rate=10**9, burst=10**9)
NOTE = {"name": "note", "state": {"seen": "${event.id}"}}
START = {"name": "begin", "start": [{"task": "work"}]}
FOREVER = HealthThresholds(loop=1000, effects=1000, between=0, pods=1000)


def path(name: str = "researcher", namespace: str = "demo") -> str:
    return f"/apis/{names.API_VERSION}/namespaces/{namespace}/agents/{name}"


def rule_path(kind: str, name: str, namespace: str = "demo") -> str:
    return f"/apis/{names.API_VERSION}/namespaces/{namespace}/{names.PLURALS[kind]}/{name}"


LASTING = {"idleTimeout": "3650d"}  # the events are of another year than the clock


class World:
    """A fleet and what is around it."""

    def __init__(
        self,
        server: ApiServer,
        patience: HealthThresholds,
        watched: str | None,
        gateway: GatewaySettings | None = None,
    ) -> None:
        self.server, self.bus = server, MemoryBus()
        self.fleet = AgentController(
            server.connect(KubeApi),
            self.bus,
            LogObserver(),
            QUICK,
            patience=patience,
            watched=watched,
            gateway=gateway,
        )

    def add(self, *handlers: Object, name: str = "researcher", **spec: Any) -> Object:
        """An Agent that nobody has seen yet."""
        given = manifest(*(handlers or (NOTE,)), **{"session": LASTING, **spec})
        return self.server.add(path(name), **{key: given[key] for key in ("apiVersion", "kind", "spec")})

    def create(self, *handlers: Object, name: str = "researcher", **spec: Any) -> Object:
        body = self.add(*handlers, name=name, **spec)
        self.fleet.observe(body)
        return body

    def edit(self, *handlers: Object, name: str = "researcher", **patch: Any) -> Object:
        """Another generation is seen, with these handlers and fields; or another version with a patch."""
        if handlers:
            generation = self.server.at(path(name))["metadata"]["generation"]
            spec = manifest(*handlers, session=LASTING, **patch)["spec"]
            patch = {"spec": spec, "metadata": {"generation": generation + 1}}
        body = self.server.edit(path(name), **patch)
        self.fleet.observe(body)
        return body

    def rule(self, kind: str, name: str, namespace: str = "demo", **spec: Any) -> Object:
        """A policy, a grant or an event type that nobody has seen yet."""
        return self.server.add(
            rule_path(kind, name, namespace), apiVersion=names.API_VERSION, kind=kind, spec=spec
        )

    def status(self, name: str = "researcher") -> Object:
        return self.server.at(path(name)).get("status") or {}

    def condition(self, name: str = "researcher", type_: str = "Ready") -> Object:
        return dict(find_condition(self.status(name).get("conditions") or [], type_) or {})

    async def says(self, status: str, reason: str, name: str = "researcher", type_: str = "Ready") -> Object:
        """A condition, once it says this."""
        wanted = (status, reason)
        await until(
            lambda: tuple(self.condition(name, type_).get(key) for key in ("status", "reason")) == wanted
        )
        return self.condition(name, type_)

    async def running(self, name: str = "researcher", generation: int = 1) -> Any:
        """The loop of an Agent's generation, once it has its ledger."""

        def there() -> bool:
            found = self.fleet._running.get(("demo", name))
            return (
                found is not None
                and found.program.generation == generation
                and (found.loop.lag is not None or found.program.suspended)
                and found.loop.ledger is not None
                and not self.fleet._queue._working
            )

        await until(there)
        return self.fleet._running["demo", name]

    async def replaced(self, before: Any, name: str = "researcher") -> None:
        """Until an Agent runs again: for a moment it does not run at all."""
        await until(lambda: self.fleet._running.get(("demo", name)) not in (before, None))

    async def until(self, holds: Callable[[], bool]) -> None:
        await until(holds)

    async def settled(self) -> None:
        """Until nothing of what was seen is to be done."""
        await until(lambda: not self.fleet._queue._working)

    async def heard(self, count: int, name: str = "researcher") -> None:
        """Until so many events are in the ledger of an Agent."""
        await until(lambda: (self.status(name).get("totals") or {}).get("handled") == count)


@asynccontextmanager
async def fleet_on(
    server: ApiServer,
    patience: HealthThresholds = FOREVER,
    watched: str | None = None,
    gateway: GatewaySettings | None = None,
) -> AsyncIterator[World]:
    """A world, and the end of its fleet."""
    world = World(server, patience, watched, gateway)
    try:
        yield world
    finally:
        await world.fleet.close()
