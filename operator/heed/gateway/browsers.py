"""Requests of pages in a browser: any page that is open on a machine can send to the machine's loopback address."""

from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from heed.gateway.refusals import RequestRefused
from heed.util.addresses import is_loopback

ORIGIN: Final = "Origin"


def refuse_foreign_page(request: web.Request) -> None:
    """Raise RequestRefused, 403, for a request of a page of another host. Other senders name no origin."""
    for origin in request.headers.getall(ORIGIN, []):
        if not is_local(origin):
            raise RequestRefused(403, "NotLoopback", "a page of another host may not send to this machine")


def refuse_foreign_host(request: web.Request) -> None:
    """Raise RequestRefused, 403, where this machine is asked for by another name, as by one that was rebound to it."""
    if not is_local(f"//{request.host}"):
        raise RequestRefused(403, "NotLoopback", "events are taken from this machine only; ask for 127.0.0.1")


def is_local(url: str) -> bool:
    """Whether a URL's host is a loopback address, or localhost."""
    try:
        host = urlsplit(url).hostname
    except ValueError:  # such as a bracket that is not closed
        return False
    return host is not None and is_loopback(host)
