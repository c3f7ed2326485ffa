"""Sends a request and reads its answer, over a connection that is made for it and goes with it.

No connection is used twice: the rules of a call hold for its own connection, and a server that closed an idle one never
makes it unknown whether a request was served.
"""

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import aiohttp
from yarl import URL

from heed import __version__
from heed.bus.codec.event_requests import CONTENT_TYPE
from heed.core.policy.egress import Egress
from heed.errors import POLICY_VIOLATION, InvalidSettings
from heed.util.http_proxy import proxy_for
from heed.worker.http.failures import (
    HTTP_ANSWER_LOST,
    HTTP_INVALID_RESPONSE,
    HTTP_REFUSED_ADDRESS,
    HTTP_TIMEOUT,
    HTTP_TOO_LARGE,
    HTTP_UNREACHABLE,
    INVALID_REQUEST,
    CallFailed,
)
from heed.worker.http.requests import HttpRequest, parse_url
from heed.worker.http.sockets import AddressInfo, RefusedAddress, open_socket
from heed.worker.lease import Lease, LeaseOver

USER_AGENT: Final = f"heed-worker/{__version__}"
REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_KEEPING_METHOD: Final = frozenset((307, 308))
_CREDENTIALS: Final = frozenset(("authorization", "cookie", "proxy-authorization"))
_CHUNK_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How long the parts of a call may take, in seconds; how large its answer may be; how many redirects it follows."""

    connect: float = 10.0
    first_byte: float = 60.0
    total: float = 300.0
    max_bytes: int = 1024 * 1024
    redirects: int = 0


@dataclass(frozen=True, slots=True)
class ServiceAnswer:
    """The answer of a service. Header names are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class _Attempt:
    """One request on its way: whether it has a connection yet, and addresses that were refused to it."""

    request: HttpRequest
    egress: Egress
    proxy: str | None
    phase: asyncio.Timeout | None = None
    connected: bool = False
    refused: list[str] = field(default_factory=list)
    opened: bool = False
    lease: Lease | None = None
    lease_over: bool = False

    def open(self, info: AddressInfo) -> socket.socket:
        """A socket for an address of the service, or of the proxy. Raises RefusedAddress, or OSError after its lease.

        A process that is frozen after this, for as long as a lease lasts, finds its time to connect over.
        """
        if self.lease is not None and self.lease.is_over:
            self.lease_over = True
            raise OSError("another worker may have the call")
        try:
            made = open_socket(info, self._judge)
        except RefusedAddress as error:
            self.refused.append(str(error))
            raise
        self.opened = True
        return made

    def _judge(self, address: str) -> str | None:
        if self.proxy is not None:
            return None
        return self.egress.find_address_refusal(address, self.request.host, self.request.port)


class HttpClient:
    """Sends requests. `environment` has the variables of proxies, for the requests that may go through one."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment
        self._trust: ssl.SSLContext | None = None

    async def send(
        self,
        request: HttpRequest,
        egress: Egress,
        limits: CallLimits,
        *,
        by_proxy: bool = False,
        lease: Lease | None = None,
    ) -> ServiceAnswer:
        """The answer to a request, after the redirects that may be followed. Raises CallFailed, LeaseOver."""
        whole = asyncio.timeout(limits.total)
        try:
            async with whole:
                for left in range(limits.redirects, -1, -1):
                    attempt = self._prepare(request, egress, by_proxy)
                    attempt.lease = lease
                    answer = await self._send_one(attempt, limits)
                    if left == 0 or (following := _follow(request, answer)) is None:
                        return answer
                    request = following
        except TimeoutError:
            if whole.expired():
                message = f"{request.shown}: the answer was not there as a whole within {limits.total:g} s"
                raise CallFailed(HTTP_TIMEOUT, message, lost=True) from None
            raise
        raise AssertionError("the last redirect is not followed")

    def _prepare(self, request: HttpRequest, egress: Egress, by_proxy: bool) -> _Attempt:
        """Check the name of the host, before it is resolved. Raises CallFailed."""
        if (refused := egress.find_host_refusal(request.host, request.port)) is not None:
            raise CallFailed(POLICY_VIOLATION, refused)
        try:
            proxy = proxy_for(str(request.url), self._environment) if by_proxy else None
        except InvalidSettings as error:
            raise CallFailed(INVALID_REQUEST, str(error)) from None
        literal = _literal(request.host) if proxy is not None else None  # names are the proxy's to resolve
        if literal is not None:
            if (refused := egress.find_address_refusal(literal, request.host, request.port)) is not None:
                raise CallFailed(HTTP_REFUSED_ADDRESS, f"{request.shown}: {refused}; nothing is sent there")
        return _Attempt(request, egress, proxy)

    async def _send_one(self, attempt: _Attempt, limits: CallLimits) -> ServiceAnswer:
        request = attempt.request
        phase = asyncio.timeout(limits.connect)
        try:
            async with self._session(attempt, phase, limits) as session:
                async with phase:
                    answer = await self._begin(session, attempt)
                async with answer:
                    return await _read(request, answer, limits.max_bytes)
        except TimeoutError:
            if not phase.expired():
                raise
            if attempt.connected:
                message = f"{request.shown}: no answer within {limits.first_byte:g} s"
                raise CallFailed(HTTP_TIMEOUT, message, lost=True) from None
            message = f"{request.shown}: no connection within {limits.connect:g} s"
            raise CallFailed(HTTP_TIMEOUT, message, retryable=True) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if attempt.lease_over:
                raise LeaseOver from None
            raise _explain(attempt, error) from None

    async def _begin(self, session: aiohttp.ClientSession, attempt: _Attempt) -> aiohttp.ClientResponse:
        request = attempt.request
        return await session.request(
            request.method,
            request.url,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **dict(request.headers)},
            data=request.body,
            allow_redirects=False,
            proxy=attempt.proxy,
            skip_auto_headers=(CONTENT_TYPE,),
        )

    def _session(
        self, attempt: _Attempt, phase: asyncio.Timeout, limits: CallLimits
    ) -> aiohttp.ClientSession:
        """A session of one connection. `phase` is put off once that is there."""
        if self._trust is None:
            self._trust = ssl.create_default_context()
        tracing = aiohttp.TraceConfig()

        async def connected(*_: object) -> None:
            attempt.connected = True
            phase.reschedule(asyncio.get_running_loop().time() + limits.first_byte)

        tracing.on_connection_create_end.append(connected)
        connector = aiohttp.TCPConnector(
            ssl=self._trust, force_close=True, use_dns_cache=False, socket_factory=attempt.open
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            trace_configs=[tracing],
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        )


async def _read(request: HttpRequest, answer: aiohttp.ClientResponse, most: int) -> ServiceAnswer:
    """The answer with its body. Raises CallFailed, and what reading raises."""
    headers: dict[str, str] = {}
    for name, value in answer.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    body = bytearray()
    if request.method != "HEAD":
        async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
            body += chunk
            if len(body) > most:
                message = f"{request.shown}: the answer is larger than {most} bytes; raise maxBytes, or ask for less"
                raise CallFailed(HTTP_TOO_LARGE, message)
    if body and headers.get("content-encoding", "identity").lower() != "identity":
        message = f"{request.shown}: the answer is encoded, which the request did not accept"
        raise CallFailed(HTTP_INVALID_RESPONSE, message)
    return ServiceAnswer(answer.status, headers, bytes(body))


def _follow(request: HttpRequest, answer: ServiceAnswer) -> HttpRequest | None:
    """The request that a redirect asks for; None where the answer is none. Raises CallFailed."""
    location = answer.headers.get("location")
    if answer.status not in REDIRECTS or location is None:
        return None
    try:
        url = request.url.join(URL(location))
        parse_url(str(url))
    except (ValueError, CallFailed):
        message = f"{request.shown}: a redirect leads to what is no http:// or https:// URL"
        raise CallFailed(HTTP_INVALID_RESPONSE, message) from None
    if request.url.scheme == "https" and url.scheme == "http":
        message = f"{request.shown}: a redirect leads from https:// to http://, and is not followed"
        raise CallFailed(HTTP_INVALID_RESPONSE, message)
    headers = request.headers
    if url.origin() != request.url.origin():
        withheld = request.secret_headers | _CREDENTIALS
        headers = tuple(item for item in headers if item[0].lower() not in withheld)
    moved = replace(request, url=url.with_fragment(None), headers=headers)
    if answer.status in _KEEPING_METHOD or request.method in ("GET", "HEAD"):
        return moved
    kept = tuple(item for item in headers if item[0].lower() != CONTENT_TYPE.lower())
    return replace(moved, method="GET", body=None, headers=kept)


def _explain(attempt: _Attempt, error: Exception) -> CallFailed:
    """What went wrong on the way; the words of libraries are not used, as they may quote what was sent."""
    shown = attempt.request.shown
    if attempt.refused and not attempt.opened:
        return CallFailed(HTTP_REFUSED_ADDRESS, f"{shown}: {attempt.refused[0]}")
    if isinstance(error, aiohttp.InvalidURL):
        return CallFailed(INVALID_REQUEST, f"{shown}: the host is neither a name nor an address")
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError | aiohttp.ClientSSLError):
        return CallFailed(HTTP_UNREACHABLE, f"{shown}: its certificate is not trusted", retryable=True)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return CallFailed(HTTP_UNREACHABLE, f"{shown}: the name has no address", retryable=True)
    if not attempt.connected:
        inner = getattr(error, "os_error", error)
        why = getattr(inner, "strerror", None) or type(inner).__name__
        return CallFailed(HTTP_UNREACHABLE, f"{shown}: no connection: {why}", retryable=True)
    if isinstance(error, aiohttp.ClientPayloadError):
        return CallFailed(HTTP_ANSWER_LOST, f"{shown}: the answer was cut off", lost=True)
    if isinstance(error, aiohttp.ClientResponseError):
        return CallFailed(HTTP_INVALID_RESPONSE, f"{shown}: the answer is no HTTP", lost=True)
    return CallFailed(HTTP_ANSWER_LOST, f"{shown}: the connection ended before the answer", lost=True)


def _literal(host: str) -> str | None:
    """The address that a host is, in any form that resolvers read as one; None for a name."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return None
