"""Requests to sinks: the HTTP binding of CloudEvents (1.0.2), out; to no address that is refused, and no further.

Addresses are checked where sockets are made, after names were resolved: a name that resolves to something else at the
second look, and a number that reads as an address, are seen like any other. Redirects are not followed, no proxy is
used, and of an answer only status and Retry-After are looked at: what else a sink says is not for the Subscription's
author, who may name any address.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp.typedefs import LooseHeaders

from heed import __version__
from heed.bus.codec.event_requests import CONTENT_TYPE, EventRequest
from heed.core.policy.addresses import IpNetwork, find_refusal
from heed.worker.http.sockets import AddressInfo, open_socket

IDLE_CONNECTION_S: Final = 30.0
MAX_ANSWER_BYTES: Final = 64 * 1024  # of a body that is read to use the connection again
ANSWER_BODY_TIMEOUT_S: Final = 1.0
USER_AGENT: Final = f"heed-gateway/{__version__}"


@dataclass(frozen=True, slots=True)
class SinkAnswer:
    """A sink's answer: its status, 0 where there was none, and what went wrong in a sentence without its words."""

    status: int
    problem: str = ""
    retry_after: str | None = None


class SinkClient:
    """Sends to sinks. `allowed` are networks that are let through although they would be refused."""

    def __init__(self, allowed: Sequence[IpNetwork] = ()) -> None:
        self._allowed = tuple(allowed)
        connector = aiohttp.TCPConnector(
            limit=0,  # of those who send, see RequestSlots: to wait here would count as a sink that does not answer
            keepalive_timeout=IDLE_CONNECTION_S,
            ttl_dns_cache=10,
            socket_factory=self._open_socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
        )

    async def send(
        self, url: str, request: EventRequest, headers: Mapping[str, str], timeout_s: float
    ) -> SinkAnswer:
        """Send an event. Never raises."""
        sent: LooseHeaders = {"User-Agent": USER_AGENT, **request.headers, **headers}
        try:
            async with self._session.post(
                url,
                data=request.body,
                headers=sent,
                allow_redirects=False,
                skip_auto_headers=(CONTENT_TYPE, "Accept-Encoding"),
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as answer:
                await _discard_body(answer)
                problem = "" if 200 <= answer.status < 300 else f"the sink answered {answer.status}"
                return SinkAnswer(answer.status, problem, answer.headers.get("Retry-After"))
        except TimeoutError:
            return SinkAnswer(0, f"the sink did not answer within {timeout_s:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return SinkAnswer(0, _explain(error))

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    def _open_socket(self, info: AddressInfo) -> socket.socket:
        return open_socket(info, lambda address: find_refusal(address, self._allowed))


async def _discard_body(answer: aiohttp.ClientResponse) -> None:
    """Read the body of an answer, if it comes soon and is small: it says nothing, and may never come whole."""
    with suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(ANSWER_BODY_TIMEOUT_S):
            await answer.content.read(MAX_ANSWER_BYTES)


def _explain(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        return "the sink's certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorError):
        inner = error.os_error
        return f"cannot connect to the sink: {inner.strerror or inner}"
    return f"the sink could not be asked: {type(error).__name__}"
