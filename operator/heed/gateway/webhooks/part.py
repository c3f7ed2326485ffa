"""The webhooks of a gateway: EventSources served at /v1/hooks/<namespace>/<path>."""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client.metrics_core import Metric

from heed import names
from heed.gateway.objects import ObjectSource, open_source
from heed.gateway.part import GatewayContext, GatewayPart, LastingWork
from heed.gateway.policies import GatewayPolicies
from heed.gateway.secrets import open_secrets
from heed.gateway.webhooks.receiver import DeliveryReceiver
from heed.gateway.webhooks.registry import WebhookRegistry
from heed.gateway.webhooks.standing import HOOKS_PATH, StandingWriter
from heed.kube.metrics.families import gauge, tally
from heed.util.aio import stop


class WebhooksPart(GatewayPart):
    """Serves EventSources, as they are made, edited and deleted."""

    def __init__(self, context: GatewayContext, policies: GatewayPolicies) -> None:
        secrets = open_secrets(context)
        self._standing = StandingWriter(secrets, context.settings.gateway.url, context.api)
        self._policies = policies
        self._registry = WebhookRegistry(
            lambda key: self._standing.schedule(self._registry, key), policies.rules
        )
        policies.tell_changes(self._registry.recompile)
        self._source: ObjectSource = open_source(context, names.EVENT_SOURCE, self._registry.observe)
        self._receiver = DeliveryReceiver(
            context,
            self._registry,
            secrets,
            self._source.missing,
            lambda key: self._standing.doubt(self._registry, key),
        )
        self._work = LastingWork("event sources")
        context.metrics.add(self._collect)

    def routes(self) -> Iterable[web.RouteDef]:
        """The addresses of all webhooks."""
        place = f"{HOOKS_PATH}/{{namespace}}/{{path:.+}}"
        yield web.post(place, self._receiver.deliver)
        yield web.get(place, self._receiver.ask, allow_head=False)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the EventSources."""
        following = self._work.begin(self._follow())
        try:
            yield
        finally:
            await stop(following)
            await self._standing.close()

    async def _follow(self) -> None:
        """Follow them once it is known what they may publish."""
        await self._policies.wait_known()
        await self._source.run()

    def missing(self) -> str | None:
        """Why webhooks cannot be served yet, or None."""
        return self._source.missing()

    def broken(self) -> str | None:
        """Why EventSources are not followed any more, or None."""
        return self._work.error

    def _collect(self) -> Iterator[Metric]:
        yield gauge("heed_gateway_event_sources", "EventSources there are", (), [((), len(self._registry))])
        labels, accepted = ("namespace", "event_source"), self._standing.accepted
        help = "Whether an EventSource is served"
        yield gauge("heed_gateway_event_source_ready", help, labels, accepted.items())
        help = "Deliveries by EventSource, and what became of them"
        yield tally("heed_gateway_webhook_deliveries_total", help, self._receiver.outcomes)
