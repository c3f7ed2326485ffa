"""A gateway in this process, on a real broker: its parts as given, its port free, plain HTTP on loopback."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import aiohttp

from heed.api.agent import AgentMetadata
from heed.bus.client.connection import Connection
from heed.gateway import manager
from heed.gateway.manager import make_context, open_gateway
from heed.gateway.metrics import GatewayMetrics
from heed.gateway.part import GatewayContext, GatewayPart
from heed.gateway.probes import GatewayHealth
from heed.gateway.server import BoundedServer
from heed.kube.client.client import KubeApi
from heed.settings import GatewaySettings, Settings

SETTINGS = GatewaySettings(port=0)


class RunningGateway:
    """What a test asks: `http` is a client of it."""

    def __init__(
        self,
        server: BoundedServer,
        http: aiohttp.ClientSession,
        context: GatewayContext,
        health: GatewayHealth,
    ) -> None:
        self.server, self.http, self.context, self.health = server, http, context, health

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self.server.address


@asynccontextmanager
async def serving(
    connection: Connection,
    parts: Sequence[GatewayPart] | Callable[[GatewayContext], Sequence[GatewayPart]] | None = None,
    agents: Sequence[AgentMetadata] = (),
    manifests: Sequence[Path] = (),
    api: KubeApi | None = None,
    **settings: int | str,
) -> AsyncIterator[RunningGateway]:
    """A gateway with these parts; None: those of `heed dev`, with these Agents, or of a cluster with an `api`."""
    chosen = Settings(nats_url=connection.url, gateway=replace(SETTINGS, **settings))  # type: ignore[arg-type]
    health = GatewayHealth()
    async with AsyncExitStack() as closing:
        context = make_context(
            chosen, connection, GatewayMetrics(), api=api, manifests=manifests, local_agents=lambda: agents
        )
        if parts is not None:
            made = parts(context) if callable(parts) else parts
            closing.enter_context(patch.object(manager, "make_parts", lambda _: made))
        server = await open_gateway(context, health, closing, host="127.0.0.1")
        host, port = server.address
        http = await closing.enter_async_context(aiohttp.ClientSession(f"http://{host}:{port}"))
        yield RunningGateway(server, http, context, health)
