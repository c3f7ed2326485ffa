"""The gateway's HTTP application: the routes of its parts, and problem documents for whatever is refused."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from heed.gateway.connection import check_head
from heed.gateway.metrics import GatewayMetrics
from heed.gateway.part import GatewayPart
from heed.gateway.refusals import SENDER, RequestRefused
from heed.util.clock import loop_time

log = logging.getLogger("heed.gateway")
UNROUTED: Final = "none"
_LOGGED_NAMES: Final = ("namespace", "agent", "path")
_MAX_SHOWN_CHARS: Final = 100
_REMEDIES: Final = {
    404: "there is nothing at this path; see the documentation of the gateway for those that there are",
    405: "this path does not take this method; use one of those in Allow",
}
Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_application(parts: Iterable[GatewayPart], metrics: GatewayMetrics) -> web.Application:
    """An application with the routes of all parts."""

    @web.middleware
    async def answer(request: web.Request, handler: Handle) -> web.StreamResponse:
        began = loop_time()
        response = await _answer(request, handler, metrics)
        metrics.answered(_route(request), response.status, loop_time() - began)
        return response

    application = web.Application(middlewares=[answer])
    for part in parts:
        application.add_routes(part.routes())
    return application


async def _answer(request: web.Request, handle: Handle, metrics: GatewayMetrics) -> web.StreamResponse:
    try:
        check_head(request)
        return await handle(request)
    except RequestRefused as refused:
        metrics.refusals.add(_route(request), refused.code)
        _log_refusal(request, refused)
        return refused.response()
    except web.HTTPException as error:
        if error.status < 400:
            raise
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        detail = _REMEDIES.get(error.status, error.reason)
        return RequestRefused(error.status, error.reason.replace(" ", ""), detail, headers=allow).response()
    except Exception as error:  # a bug, which the response does not disclose
        log.error(
            "cannot answer a request", extra={"route": _route(request), "error": str(error)}, exc_info=error
        )
        return RequestRefused(500, "Broken", "a mistake of Heed's; the gateway's log says more").response()


def _log_refusal(request: web.Request, refused: RequestRefused) -> None:
    """Log why a request was refused, for who is asked where events are. Like all warnings, few of a kind.

    Only of names in the path and of what Heed itself has to say: an address may hold a token, a mistake in an event
    its data.
    """
    said: dict[str, Any] = {
        "route": _route(request),
        "status": refused.status,
        "code": refused.code,
        **{name: _shown(request.match_info.get(name)) for name in _LOGGED_NAMES},
        "sender": request.get(SENDER),
        "remote": request.remote,
        "attribute": refused.members.get("attribute"),
        "detail": None if refused.status == HTTPStatus.BAD_REQUEST else refused.detail,
    }
    log.warning("request refused", extra={name: value for name, value in said.items() if value is not None})


def _shown(value: str | None) -> str | None:
    """A part of a path, which may hold anything, so that it fits into a line."""
    return None if value is None else value[:_MAX_SHOWN_CHARS].encode("unicode_escape").decode()


def _route(request: web.Request) -> str:
    """The path with placeholders, as a label of bounded size."""
    resource = request.match_info.route.resource
    return UNROUTED if resource is None else resource.canonical
