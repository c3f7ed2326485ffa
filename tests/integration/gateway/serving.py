"""A gateway in this process, on a real broker: its parts as given, its port free, plain HTTP on loopback."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from unittest.mock import patch

import aiohttp

from heed.bus.client.connection import Connection
from heed.gateway import manager
from heed.gateway.manager import make_context, open_gateway
from heed.gateway.metrics import GatewayMetrics
from heed.gateway.part import GatewayContext, GatewayPart
from heed.gateway.probes import GatewayHealth
from heed.settings import GatewaySettings, Settings

SETTINGS = GatewaySettings(port=0)


class RunningGateway:
    """What a test asks: `http` is a client of it."""

    def __init__(
        self, url: str, http: aiohttp.ClientSession, context: GatewayContext, health: GatewayHealth
    ) -> None:
        self.url, self.http, self.context, self.health = url, http, context, health


@asynccontextmanager
async def serving(
    connection: Connection, parts: Sequence[GatewayPart] | None = None, **settings: int | str
) -> AsyncIterator[RunningGateway]:
    """A gateway with these parts; None: those that it has."""
    chosen = Settings(gateway=replace(SETTINGS, **settings))  # type: ignore[arg-type]
    health = GatewayHealth()
    async with AsyncExitStack() as closing:
        context = make_context(chosen, connection, GatewayMetrics())
        if parts is not None:
            closing.enter_context(patch.object(manager, "make_parts", lambda _: parts))
        host, port = await open_gateway(context, health, closing, host="127.0.0.1")
        url = f"http://{host}:{port}"
        http = await closing.enter_async_context(aiohttp.ClientSession(url))
        yield RunningGateway(url, http, context, health)
