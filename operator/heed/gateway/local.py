"""The composition root of the gateway in `heed dev`: on a loopback address, for the processes of this machine."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from heed.api.agent import AgentMetadata
from heed.bus.client.connection import Connection
from heed.gateway.manager import make_context, open_gateway
from heed.gateway.metrics import GatewayMetrics
from heed.gateway.probes import GatewayHealth
from heed.settings import Settings


@asynccontextmanager
async def serve_local_gateway(
    settings: Settings,
    connection: Connection,
    listen: tuple[str, int],
    manifests: Sequence[Path],
    agents: Callable[[], Iterable[AgentMetadata]],
) -> AsyncIterator[tuple[str, int]]:
    """Serve the gateway's paths on host and port, and give those that it listens on. Raises InvalidSettings."""
    host, port = listen
    local = replace(settings, gateway=replace(settings.gateway, port=port, certificate=None, sender_rate=0))
    async with AsyncExitStack() as closing:
        context = make_context(local, connection, GatewayMetrics(), manifests=manifests, local_agents=agents)
        server = await open_gateway(context, GatewayHealth(), closing, host=host)
        yield server.address
