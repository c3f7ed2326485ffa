"""Bodies of requests, read with a bound on each, on the time it may take, and on all of them together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from heed.gateway.refusals import RequestRefused, busy

_IDENTITY: Final = ("", "identity")
_CHUNKED: Final = "chunked"


class BodyReader:
    """Reads bodies: at most `memory` bytes of all requests at a time, and each within `timeout_s` seconds.

    Memory is taken as bytes come, not as they are announced: who announces much and sends little holds little. Senders
    that are not known before their body is read share a half of it, so that they keep nobody out who is.
    """

    def __init__(self, memory: int, timeout_s: float) -> None:
        self._memory, self._timeout_s = memory, timeout_s
        self.held = 0  # bytes
        self._held_unknown = 0  # of these, those of senders that are not known

    @asynccontextmanager
    async def read(
        self, request: web.Request, most: int, *, sender_known: bool = True
    ) -> AsyncIterator[bytes]:
        """The body, of at most `most` bytes, which counts as held until the context ends.

        Raises RequestRefused: 408, 413, 415, 501, 503; and 400 where it breaks off.
        """
        _check_codings(request)
        if (request.content_length or 0) > most:
            raise too_large(most)
        chunks: list[bytes] = []
        try:
            yield await self._read(request, most, chunks, sender_known)
        finally:
            self._hold(-sum(map(len, chunks)), sender_known)

    def _hold(self, size: int, sender_known: bool) -> None:
        self.held += size
        self._held_unknown += 0 if sender_known else size

    def _has_room(self, size: int, sender_known: bool) -> bool:
        has_room = self.held + size <= self._memory
        return has_room and (sender_known or self._held_unknown + size <= self._memory // 2)

    async def _read(self, request: web.Request, most: int, chunks: list[bytes], sender_known: bool) -> bytes:
        size = 0
        try:
            async with asyncio.timeout(self._timeout_s):
                while chunk := await request.content.readany():
                    size += len(chunk)
                    if size > most:
                        raise too_large(most)
                    if not self._has_room(len(chunk), sender_known):
                        raise busy(503, "Overloaded", "too many requests at once; send it again")
                    self._hold(len(chunk), sender_known)
                    chunks.append(chunk)
        except TimeoutError:
            message = f"the body did not come within {self._timeout_s:g} s; send it faster"
            raise RequestRefused(408, "SlowBody", message, headers={"Connection": "close"}) from None
        except (web.RequestPayloadError, ConnectionError) as error:
            raise RequestRefused(400, "BrokenBody", f"the body broke off: {error}") from None
        return b"".join(chunks)


def _check_codings(request: web.Request) -> None:
    """Raise RequestRefused for a body that is not sent as it is."""
    encodings = ",".join(request.headers.getall("Content-Encoding", []))
    if any(item.strip().lower() not in _IDENTITY for item in encodings.split(",")):
        message = "encoded bodies are not read; send it without Content-Encoding"
        raise RequestRefused(415, "ContentEncoding", message)
    if request.headers.get("Transfer-Encoding", _CHUNKED).strip().lower() != _CHUNKED:
        message = "of transfer codings only chunked is read; send it without any other"
        raise RequestRefused(501, "TransferCoding", message, headers={"Connection": "close"})


def too_large(most: int) -> RequestRefused:
    """The refusal of a body of more than `most` bytes."""
    message = f"the body is larger than {most} bytes; send less, or a reference to the data instead"
    return RequestRefused(413, "TooLarge", message, members={"maxBytes": most})
