"""What a part of the gateway is: routes, and work beside them. And what all parts share."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from heed.api.agent import AgentMetadata
from heed.bus.client.connection import Connection
from heed.bus.jetstream import JetStreamBus
from heed.gateway.bodies import BodyReader
from heed.gateway.metrics import GatewayMetrics
from heed.gateway.publisher import StreamPublisher
from heed.gateway.rate_limiter import RateLimiter
from heed.kube.client.client import KubeApi
from heed.settings import Settings


@dataclass(frozen=True, slots=True)
class GatewayContext:
    """What the parts of a gateway share. Without an API server (`heed dev`) resources are in the files `manifests`."""

    settings: Settings
    connection: Connection
    bus: JetStreamBus
    publisher: StreamPublisher
    bodies: BodyReader
    limiter: RateLimiter  # of events, by sender
    metrics: GatewayMetrics
    api: KubeApi | None = None
    manifests: Sequence[Path] = ()
    local_agents: Callable[[], Iterable[AgentMetadata]] = tuple  # those that run in `heed dev`


class GatewayPart:
    """A part of the gateway; each overrides the hooks that it needs. Handlers raise RequestRefused."""

    def routes(self) -> Iterable[web.RouteDef]:
        """Its routes."""
        return ()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do its work beside the routes, while the context lasts: entered before any request, left after the last."""
        yield

    def missing(self) -> str | None:
        """Why the gateway cannot take requests yet for this part, or None: what /readyz says."""
        return None
