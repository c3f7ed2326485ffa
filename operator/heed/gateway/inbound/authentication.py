"""Authentication: who sends a request, by its bearer token; or anybody, on the loopback of one's own machine."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from aiohttp import web

from heed.api.policy import AgentPolicy
from heed.gateway.browsers import refuse_foreign_host, refuse_foreign_page
from heed.gateway.inbound.senders import AnonymousSender, ClusterSender, Sender
from heed.gateway.inbound.static_tokens import StaticTokens
from heed.gateway.inbound.token_review import TokenReviewer
from heed.gateway.rate_limiter import RateLimiter
from heed.gateway.refusals import RequestRefused, busy
from heed.kube.client.client import ApiError
from heed.util.aio import stop

log = logging.getLogger("heed.gateway")
TOKEN_PARAMETER: Final = "access_token"
MAX_REVIEWS_PER_S: Final = 20  # of tokens that are not known, from one address
MAX_REVIEWS_BURST: Final = 200
Policies = Callable[[str], Iterable[AgentPolicy]]


class BearerAuthenticator:
    """Takes tokens of files, and those that the API server knows."""

    def __init__(
        self, tokens: StaticTokens | None, reviewer: TokenReviewer | None, policies: Policies
    ) -> None:
        self._tokens, self._reviewer, self._policies = tokens, reviewer, policies
        self._unknown = RateLimiter(MAX_REVIEWS_PER_S, MAX_REVIEWS_BURST)

    async def authenticate(self, request: web.Request) -> Sender:
        """The sender. Raises RequestRefused: 400, 401, 429, 503."""
        token = bearer_token(request)
        if self._tokens is not None and (sender := self._tokens.find(token)) is not None:
            return sender
        if self._reviewer is None or not self._reviewer.is_candidate(token):
            raise _unauthorized("the token is not known here, or has expired", "invalid_token")
        # Behind a proxy all come from one address: who floods it keeps nobody out whose token was good a minute ago.
        if self._reviewer.remembered(token) is None and not self._reviewer.was_good(token):
            self._unknown.take(request.remote or "")
        try:
            publisher = await self._reviewer.review(token)
        except ApiError as error:
            log.warning("cannot review a token", extra={"error": str(error)})
            raise busy(
                503, "AuthenticationUnavailable", "the API server cannot be asked about tokens"
            ) from None
        if publisher is None:
            raise _unauthorized("the API server does not accept the token", "invalid_token")
        return ClusterSender(publisher, self._policies)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow changes of the token files, while the context lasts. Raises OSError where they cannot be read."""
        async with AsyncExitStack() as closing:
            if self._tokens is not None:
                self._tokens.load()
                keeping = asyncio.create_task(self._tokens.keep())
                closing.push_async_callback(stop, keeping)
            yield


class LoopbackAuthenticator:
    """Lets everybody in who asks for a loopback address by its name: so a page in a browser cannot, from elsewhere."""

    async def authenticate(self, request: web.Request) -> Sender:
        """The sender. Raises RequestRefused, 403."""
        refuse_foreign_page(request)
        refuse_foreign_host(request)
        return AnonymousSender()


def bearer_token(request: web.Request) -> str:
    """The token of a request: in its header Authorization or, as web hooks may, in its query. Raises RequestRefused."""
    headers = request.headers.getall("Authorization", [])
    parameters = request.query.getall(TOKEN_PARAMETER, [])
    if len(headers) + len(parameters) > 1:
        message = f"there is more than one token; send one, in Authorization or in {TOKEN_PARAMETER}"
        raise RequestRefused(400, "SeveralTokens", message)
    if parameters:
        return parameters[0]
    if not headers:
        raise _unauthorized("there is no token; send Authorization: Bearer TOKEN")
    scheme, _, token = headers[0].partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _unauthorized(
            "the header Authorization holds no bearer token; send Authorization: Bearer TOKEN"
        )
    return token.strip()


def _unauthorized(detail: str, error: str | None = None) -> RequestRefused:
    challenge = 'Bearer realm="heed"' + (f', error="{error}"' if error else "")
    return RequestRefused(401, "Unauthorized", detail, headers={"WWW-Authenticate": challenge})
