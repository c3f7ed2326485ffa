"""The gateway's probes and metrics, on ports of their own, which senders do not reach."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from heed.bus.client.connection import Connection
from heed.gateway.metrics import GatewayMetrics
from heed.gateway.part import GatewayPart
from heed.kube.webhook.certificates import ServerTls
from heed.settings import Settings
from heed.util.http_server import serving
from heed.util.probes import probe_routes


class GatewayHealth:
    """The state behind the probes. `parts`, `connection` and `tls` are set once there are any."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.parts: Sequence[GatewayPart] = ()
        self.tls: ServerTls | None = None
        self.draining = False

    def missing(self) -> str | None:
        """Why no requests should be sent here now, as a sentence, or None."""
        connected = self.connection is not None and self.connection.is_connected
        bare = self.tls is not None and not self.tls.ready.is_set()
        wrong = (
            "stopping" if self.draining else None,
            None if connected else "not connected to NATS",
            "there is no certificate to serve with yet" if bare else None,
        )
        return "; ".join(filter(None, (*wrong, *(part.missing() for part in self.parts)))) or None

    def broken(self) -> str | None:
        """Why only a restart helps, as a sentence, or None."""
        return "; ".join(filter(None, (part.broken() for part in self.parts))) or None


@asynccontextmanager
async def serve_gateway_probes(
    settings: Settings, health: GatewayHealth, metrics: GatewayMetrics
) -> AsyncIterator[None]:
    """Serve /healthz, /readyz and /metrics on their ports (0: do not). Raises InvalidSettings."""

    async def page(request: web.Request) -> web.Response:
        body, content_type = await metrics.page(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    routes = probe_routes(health.missing, broken=health.broken)
    async with AsyncExitStack() as closing:
        probes = serving(settings.health_port, routes, variable="HEED_HEALTH_PORT", what="probes")
        await closing.enter_async_context(probes)
        scraped = serving(
            settings.metrics_port, [web.get("/metrics", page)], variable="HEED_METRICS_PORT", what="metrics"
        )
        await closing.enter_async_context(scraped)
        yield
