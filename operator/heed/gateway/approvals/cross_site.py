"""Refuses forms that another site sends, by what browsers say of a request."""

from urllib.parse import urlsplit

from aiohttp import web

from heed.gateway.refusals import RequestRefused

REMEDY = "open the link itself, and answer on its page"


def check_same_site(request: web.Request, url: str | None) -> None:
    """Raise RequestRefused, 403, for a form that a page of another origin has sent.

    `url` is under which people reach the gateway; without, and beside it, the host that they asked for counts. What is
    no browser says neither `Sec-Fetch-Site` nor `Origin`; who has the link might as well answer it.
    """
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise RequestRefused(403, "CrossSite", REMEDY)
    origin = request.headers.get("Origin")
    if origin is None:
        return
    host = _host(origin)
    if host is None or host not in (request.host.lower(), _host(url or "")):
        raise RequestRefused(403, "CrossSite", REMEDY)


def _host(origin: str) -> str | None:
    """Host and port as a header Host has them; None for what names none, such as `null`."""
    try:
        parts = urlsplit(origin)
        return parts.netloc.rpartition("@")[2].lower() or None
    except ValueError:
        return None
