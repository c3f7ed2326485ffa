"""The routes for CloudEvents: broadcast to a namespace, and to one Agent. 202 once JetStream has all of a request."""

import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from aiohttp import web

from heed import names
from heed.core.events import Event
from heed.errors import MalformedEvent
from heed.gateway.http_binding import read_events
from heed.gateway.inbound.abuse_protection import AbuseProtection
from heed.gateway.inbound.agents import AgentDirectory, ClusterAgents, LocalAgents
from heed.gateway.inbound.authentication import (
    TOKEN_PARAMETER,
    BearerAuthenticator,
    LoopbackAuthenticator,
)
from heed.gateway.inbound.senders import Authenticator, EventAddress, Sender
from heed.gateway.inbound.static_tokens import StaticTokens
from heed.gateway.inbound.token_review import TokenReviewer
from heed.gateway.part import GatewayContext, GatewayPart
from heed.gateway.policies import GatewayPolicies
from heed.gateway.publisher import EncodedEvent, encode_event
from heed.gateway.refusals import SENDER, RequestRefused
from heed.kube.metrics.families import tally

log = logging.getLogger("heed.gateway")
NAMESPACE_PATH: Final = "/v1/events/{namespace}"
AGENT_PATH: Final = "/v1/agents/{namespace}/{agent}"
DUPLICATES: Final = "Heed-Duplicates"
RESERVED: Final = "dev.heed"
ALLOW: Final = {"Allow": "OPTIONS, POST"}


class InboundEvents(GatewayPart):
    """Takes CloudEvents. `authenticator` tells who sends a request, here and elsewhere."""

    def __init__(self, context: GatewayContext, authenticator: Authenticator, agents: AgentDirectory) -> None:
        self._context, self.authenticator, self._agents = context, authenticator, agents
        settings = context.settings.gateway
        self._abuse = AbuseProtection(settings.allowed_origins, settings.sender_rate)

    def routes(self) -> Iterable[web.RouteDef]:
        """POST events, and OPTIONS of the web hook handshake."""
        paths = (NAMESPACE_PATH, AGENT_PATH)
        return [
            route for path in paths for route in (web.post(path, self.publish), web.options(path, self.allow))
        ]

    async def allow(self, request: web.Request) -> web.Response:
        """The handshake of abuse protection."""
        return web.Response(headers={**ALLOW, **self._abuse.permission(request.headers)})

    async def publish(self, request: web.Request) -> web.Response:
        """Publish the event or the batch of a request."""
        address = self._address(request)
        self._abuse.check_delivery(request.headers)
        sender = await self.authenticator.authenticate(request)
        request[SENDER] = sender.name
        self._context.limiter.take(sender.name)
        address = await self._found(address, sender)
        context = self._context
        async with context.bodies.read(request, context.connection.max_payload) as body:
            duplicates = await context.publisher.publish(self._encoded(request, body, address, sender))
        headers = {"Cache-Control": "private"} if TOKEN_PARAMETER in request.query else {}
        if duplicates:
            headers[DUPLICATES] = str(duplicates)
        return web.Response(status=202, headers=headers)

    def _address(self, request: web.Request) -> EventAddress:
        """The address in the path. Raises RequestRefused, 404."""
        namespace, agent = request.match_info["namespace"], request.match_info.get("agent")
        served = self._context.settings.namespace
        if not names.is_name(namespace) or served not in (None, namespace):
            raise RequestRefused(
                404, "NoSuchNamespace", "there is no such namespace, or it is not served here"
            )
        if agent is not None and not names.is_name(agent):
            raise _no_such_agent(namespace)
        return EventAddress(namespace, agent)

    async def _found(self, address: EventAddress, sender: Sender) -> EventAddress:
        """The address with what is known of the Agent. Raises RequestRefused: 403, and 404 to who may know."""
        if address.agent is not None:
            labels = await self._agents.labels(address.namespace, address.agent)
            address = replace(address, labels=labels)
        if (why := sender.refusal(address)) is not None:
            raise RequestRefused(403, "NotAllowed", why)
        if address.agent is not None and address.labels is None:
            raise _no_such_agent(address.namespace)
        return address

    def _encoded(
        self, request: web.Request, body: bytes, address: EventAddress, sender: Sender
    ) -> Sequence[EncodedEvent]:
        """The messages of a request, all of which may be published. Raises RequestRefused."""
        events = read_events(request.headers.items(), body)
        self._context.limiter.take(sender.name, len(events) - 1, taken=1)
        return [_encode(event, index, len(events), address, sender) for index, event in enumerate(events)]


def _encode(event: Event, index: int, count: int, address: EventAddress, sender: Sender) -> EncodedEvent:
    try:
        _check_reserved(event, address)
        if (why := sender.type_refusal(address, event.type)) is not None:
            raise RequestRefused(403, "TypeNotAllowed", why, members={"attribute": "type"})
        return encode_event(_subject(address, event.type), event)
    except MalformedEvent as error:
        refused = RequestRefused(400, "BadData", str(error))
    except RequestRefused as error:
        refused = error
    if count > 1:
        refused.members["index"] = index
    raise refused


def _check_reserved(event: Event, address: EventAddress) -> None:
    """Raise RequestRefused, 403, for an event that only Heed itself may publish.

    To an Agent's inbox come the ends of its tasks, by their types, and what is due by its own ledger, by its source.
    """
    if event.type == RESERVED or event.type.startswith(f"{RESERVED}."):
        message = f"types {RESERVED}.* are Heed's own; choose a type of your own"
        raise RequestRefused(403, "ReservedType", message, members={"attribute": "type"})
    if address.agent is not None and event.source == names.agent_source(address.namespace, address.agent):
        message = "this source is the Agent's own; choose a source of your own"
        raise RequestRefused(403, "ReservedSource", message, members={"attribute": "source"})


def _subject(address: EventAddress, type_: str) -> str:
    if address.agent is not None:
        return names.inbox_subject(address.namespace, address.agent, type_)
    return names.event_subject(address.namespace, type_)


def _no_such_agent(namespace: str) -> RequestRefused:
    return RequestRefused(404, "NoSuchAgent", f"there is no such Agent in namespace {namespace}")


class ClusterInbound(InboundEvents):
    """CloudEvents for a cluster: senders show bearer tokens, and policies say what they may send."""

    def __init__(self, context: GatewayContext, policies: GatewayPolicies) -> None:
        assert context.api is not None
        settings = context.settings.gateway
        tokens = StaticTokens(Path(settings.tokens)) if settings.tokens is not None else None
        self._reviewer = TokenReviewer(context.api, settings.audience) if settings.audience else None
        self._bearers = BearerAuthenticator(tokens, self._reviewer, policies.of)
        super().__init__(context, self._bearers, ClusterAgents(context.api))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch token files."""
        async with AsyncExitStack() as closing:
            await closing.enter_async_context(self._bearers.running())
            if (reviewer := self._reviewer) is not None:
                help = "Tokens that the API server was asked about"
                self._context.metrics.add(
                    lambda: [tally("heed_gateway_token_reviews_total", help, reviewer.reviews)]
                )
            yield


class LocalInbound(InboundEvents):
    """CloudEvents for `heed dev`: every process of this machine may send."""

    def __init__(self, context: GatewayContext) -> None:
        super().__init__(context, LoopbackAuthenticator(), LocalAgents(context.local_agents))
