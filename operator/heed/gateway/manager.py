"""The composition root of `heed gateway`: connect, open the parts, serve, and drain when told to stop."""

import asyncio
import logging
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

from heed import names
from heed.api.agent import AgentMetadata
from heed.bus.client.connection import Connection, connect
from heed.bus.jetstream import JetStreamBus
from heed.gateway.application import make_application
from heed.gateway.approvals.part import approval_parts
from heed.gateway.bodies import BodyReader
from heed.gateway.inbound.part import ClusterInbound, LocalInbound
from heed.gateway.metrics import GatewayMetrics
from heed.gateway.objects import open_source
from heed.gateway.part import GatewayContext, GatewayPart
from heed.gateway.policies import GatewayPolicies
from heed.gateway.probes import GatewayHealth, serve_gateway_probes
from heed.gateway.publisher import StreamPublisher
from heed.gateway.rate_limiter import RateLimiter
from heed.gateway.server import BoundedServer, serving_gateway
from heed.gateway.subscriptions.part import SubscriptionsPart
from heed.gateway.webhooks.part import WebhooksPart
from heed.kube.client.client import KubeApi
from heed.kube.metrics.families import counter, gauge
from heed.kube.webhook.certificates import CERTIFICATE_CHECK_INTERVAL_S, CertificateFolder, ServerTls
from heed.settings import Settings
from heed.util.aio import stop, unless

log = logging.getLogger("heed.gateway")
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def make_parts(context: GatewayContext) -> Sequence[GatewayPart]:
    """The parts of a gateway: everything that has routes, or works beside them."""
    policies = GatewayPolicies(partial(open_source, context, names.AGENT_POLICY))
    inbound = LocalInbound(context) if context.api is None else ClusterInbound(context, policies)
    outbound = (SubscriptionsPart(context, policies),) if context.settings.gateway.subscriptions else ()
    links = approval_parts(context, inbound.authenticator)
    return (policies, inbound, WebhooksPart(context, policies), *outbound, *links)


async def run_gateway(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then drain. Raises InvalidSettings."""
    told_to_stop = asyncio.Event()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, told_to_stop.set)
    serving = asyncio.create_task(_serve(settings, told_to_stop))
    stopping = asyncio.create_task(told_to_stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await serving


async def _serve(settings: Settings, told_to_stop: asyncio.Event) -> None:
    async with AsyncExitStack() as closing:
        metrics, health = GatewayMetrics(), GatewayHealth()
        await closing.enter_async_context(serve_gateway_probes(settings, health, metrics))
        api = await KubeApi.connect()
        closing.push_async_callback(api.close)
        connecting = asyncio.create_task(connect(settings, "heed-gateway"))
        connection = await unless(told_to_stop, connecting)
        if connection is None:
            return
        closing.push_async_callback(connection.close)
        health.connection = connection
        context = make_context(settings, connection, metrics, api=api)
        server = await open_gateway(context, health, closing)
        log.info("gateway ready", extra={"port": settings.gateway.port, "nats": connection.url})
        await told_to_stop.wait()
        health.draining = server.hang_up = True
        log.info("gateway stopping", extra={"drain_seconds": settings.gateway.drain})
        await asyncio.sleep(settings.gateway.drain)


def make_context(
    settings: Settings,
    connection: Connection,
    metrics: GatewayMetrics,
    *,
    api: KubeApi | None = None,
    manifests: Sequence[Path] = (),
    local_agents: Callable[[], Iterable[AgentMetadata]] = tuple,
) -> GatewayContext:
    """What the parts of a gateway share; see GatewayContext."""
    bus = JetStreamBus(connection)
    bodies = BodyReader(settings.gateway.body_memory, settings.gateway.body_timeout)
    limiter = RateLimiter(settings.gateway.sender_rate, settings.gateway.sender_burst)
    publisher = StreamPublisher(bus, metrics)
    metrics.connection = connection
    metrics.add(
        lambda: [gauge("heed_gateway_body_bytes", "Bytes of bodies held now", (), [((), bodies.held)])]
    )
    return GatewayContext(
        settings, connection, bus, publisher, bodies, limiter, metrics, api, manifests, local_agents
    )


async def open_gateway(
    context: GatewayContext, health: GatewayHealth, closing: AsyncExitStack, *, host: str | None = None
) -> BoundedServer:
    """Open all parts, then serve them until `closing` does. Raises InvalidSettings."""
    settings, metrics = context.settings.gateway, context.metrics
    health.parts = parts = make_parts(context)
    for part in parts:
        await closing.enter_async_context(part.running())
    tls: ServerTls | None = None
    if settings.certificate is not None:
        health.tls = tls = ServerTls()
        keeping = asyncio.create_task(
            tls.keep(CertificateFolder(Path(settings.certificate)), CERTIFICATE_CHECK_INTERVAL_S)
        )
        closing.push_async_callback(stop, keeping)
    application = make_application(parts, metrics)
    context_of_tls = None if tls is None else tls.context
    server = await closing.enter_async_context(
        serving_gateway(application, settings, host=host, tls=context_of_tls)
    )
    metrics.add(
        lambda: [
            gauge("heed_gateway_connections", "Connections there are now", (), [((), server.connections)]),
            counter(
                "heed_gateway_turned_away_total", "Connections beyond the bound", (), {(): server.turned_away}
            ),
            counter(
                "heed_gateway_malformed_total",
                "What came and was no HTTP request, by the answer",
                ("code",),
                {(str(code),): count for code, count in server.malformed.copy().items()},
            ),
        ]
    )
    return server
