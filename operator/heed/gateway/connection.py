"""One HTTP connection of the gateway: bounds on heads and trailers, and problem documents for what is no HTTP.

The library bounds each header and their number, but holds what has come of a head twice, as bytes and as text, for as
long as the sender likes to take: a thousand connections would fill gigabytes before any request is there to be refused.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import InvalidHeader, InvalidURLError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from heed.gateway.refusals import RequestRefused
from heed.util.clock import loop_time

MAX_LINE_BYTES: Final = 8 * 1024  # of the request line, which holds the URL
MAX_HEADER_BYTES: Final = 16 * 1024  # of one header: percent-encoding makes three characters of one byte
MAX_HEADERS: Final = 128
MAX_HEAD_BYTES: Final = 64 * 1024  # of all headers of a request, and of its trailers
_SEPARATORS: Final = len(": \r\n")
_MAX_REASON_CHARS: Final = 120


class GatewayConnection(web.RequestHandler):
    """A connection. `malformed` is told of each status that something got that was no HTTP request."""

    def __init__(self, server: web.Server, malformed: Callable[[int], None], **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self.began = loop_time()
        self._malformed = malformed
        self._payload: StreamReader = EMPTY_PAYLOAD  # of the request that came last
        self._seen = (0, 0)  # requests that began, and bytes of the last one's body
        self._between = 0  # bytes since that changed: of a head, of trailers, or around chunks

    @property
    def is_silent(self) -> bool:
        """Whether it is open and no head of a request has come whole."""
        return self.transport is not None and self._request_count == 0

    def data_received(self, data: bytes) -> None:
        """Parse what came, and hang up where a head or trailers go on beyond MAX_HEAD_BYTES."""
        before = self._request_count
        super().data_received(data)
        if self._request_count > before and self._messages:
            self._payload = self._messages[-1][1]
        seen = self._request_count, self._payload.total_bytes
        if seen != self._seen:
            self._seen, self._between = seen, 0
            return
        self._between += len(data)
        if self._between > MAX_HEAD_BYTES and self.transport is not None:
            self._give_up(self.transport)

    def _give_up(self, transport: asyncio.Transport) -> None:
        self._malformed(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if not self._payload.is_eof():
            self._payload.set_exception(web.RequestPayloadError("its trailers are too large"))
        elif not self._messages and self._current_request is None:
            transport.write(_HEAD_TOO_LARGE)  # nothing else is being answered
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no HTTP request; the connection ends with it."""
        if status == HTTPStatus.BAD_REQUEST:
            refused = _explain(exc, message or "")
            self._malformed(refused.status)
        else:
            self.log_exception("cannot answer a request", exc_info=exc)
            refused = RequestRefused(status, "Broken", "a mistake of Heed's; the gateway's log says more")
        response = refused.response()
        response.headers["Server"] = "heed"  # no part of the application sees this response
        response.force_close()
        return response


def check_head(request: web.BaseRequest) -> None:
    """Raise RequestRefused, 431, where a request's headers are larger than MAX_HEAD_BYTES together."""
    size = sum(len(name) + len(value) + _SEPARATORS for name, value in request.raw_headers)
    if size > MAX_HEAD_BYTES:
        raise _head_too_large()


def _head_too_large() -> RequestRefused:
    message = f"the headers are larger than {MAX_HEAD_BYTES} bytes together; send data in the body"
    return RequestRefused(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "HeadTooLarge", message, headers={"Connection": "close"}
    )


def _explain(error: BaseException | None, message: str) -> RequestRefused:
    """The refusal of what the parser could not read. It shows nothing of what was sent."""
    if isinstance(error, LineTooLong):
        if error.args[1] == MAX_LINE_BYTES:
            detail = f"the request line is longer than {MAX_LINE_BYTES} bytes; send data in the body"
            return RequestRefused(HTTPStatus.REQUEST_URI_TOO_LONG, "TargetTooLong", detail)
        detail = f"a header is longer than {MAX_HEADER_BYTES} bytes; send data in the body"
        return RequestRefused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "HeadTooLarge", detail)
    if isinstance(error, InvalidHeader | InvalidURLError):  # whose message holds it
        message = "a header or the URL is not as HTTP has them"
    reason = message.partition("\n")[0].rstrip(":. ")[:_MAX_REASON_CHARS]
    return RequestRefused(HTTPStatus.BAD_REQUEST, "BadRequest", f"this is no HTTP/1.1 request: {reason}")


def _written_out(refused: RequestRefused) -> bytes:
    """A refusal as bytes, where there is no request that it would answer."""
    response = refused.response()
    body = response.body
    assert isinstance(body, bytes)
    phrase = HTTPStatus(refused.status).phrase
    head = [f"HTTP/1.1 {refused.status} {phrase}", "Server: heed", f"Content-Length: {len(body)}"]
    head += [f"{name}: {value}" for name, value in response.headers.items()]
    return "\r\n".join((*head, "", "")).encode() + body


_HEAD_TOO_LARGE: Final = _written_out(_head_too_large())
