"""The gateway's HTTP application: the routes of its parts, and problem documents for whatever is refused."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from aiohttp import web

from heed.gateway.connection import check_head
from heed.gateway.metrics import GatewayMetrics
from heed.gateway.part import GatewayPart
from heed.gateway.refusals import RequestRefused
from heed.util.clock import loop_time

log = logging.getLogger("heed.gateway")
UNROUTED: Final = "none"
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
        response = await _answer(request, handler)
        metrics.answered(_route(request), response.status, loop_time() - began)
        return response

    application = web.Application(middlewares=[answer])
    for part in parts:
        application.add_routes(part.routes())
    return application


async def _answer(request: web.Request, handle: Handle) -> web.StreamResponse:
    try:
        check_head(request)
        return await handle(request)
    except RequestRefused as refused:
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


def _route(request: web.Request) -> str:
    """The path with placeholders, as a label of bounded size."""
    resource = request.match_info.route.resource
    return UNROUTED if resource is None else resource.canonical
