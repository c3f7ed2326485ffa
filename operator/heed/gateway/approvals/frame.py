"""Pages of approval links: the frame that all have, and the headers that keep them from other pages and from caches."""

from collections.abc import Mapping
from html import escape
from typing import Final

from aiohttp import web

from heed.gateway.approvals.style import STYLE, STYLE_SOURCE

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        f"style-src {STYLE_SOURCE}",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
# `same-origin`, not `no-referrer`: with that, browsers send the form of this very page with `Origin: null`. No other
# origin is told the address either way.
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex, nofollow, noarchive, nosnippet",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
REFRESH_S: Final = 5  # of a page that shows what is still to come


def respond(
    status: int,
    title: str,
    content: str,
    *,
    headers: Mapping[str, str] | None = None,
    refresh: bool = False,
) -> web.Response:
    """A page. `title` is text; `content` is HTML."""
    again = f'<meta http-equiv="refresh" content="{REFRESH_S}">' if refresh else ""
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex, nofollow">'
        f'<meta name="format-detection" content="telephone=no">{again}<title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body><main>"
        f'<p class="brand"><b>Heed</b> <span aria-hidden="true">·</span> Approval</p>{content}</main></body></html>'
    )
    return web.Response(
        status=status,
        body=page.encode(errors="replace"),
        headers={**HEADERS, **(headers or {}), "Content-Type": "text/html; charset=utf-8"},
    )


def message_page(
    status: int,
    title: str,
    *paragraphs: str,
    headers: Mapping[str, str] | None = None,
    refresh: bool = False,
    tone: str = "",
    facts: Mapping[str, str] | None = None,
) -> web.Response:
    """A page that says something, in text."""
    said = "".join(f"<p>{escape(item)}</p>" for item in paragraphs)
    body = f'<div class="note {tone}" role="status">{said}</div>' if tone else said
    body += list_facts(facts) if facts else ""
    content = f'<section class="card"><h1>{escape(title)}</h1>{body}</section>'
    return respond(status, title, content, headers=headers, refresh=refresh)


def list_facts(facts: Mapping[str, str]) -> str:
    """Names and values as HTML."""
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{isolate(text)}</dd>' for name, text in facts.items())}</dl>"


def isolate(text: str) -> str:
    """Text as HTML whose direction of writing affects nothing around it."""
    return f"<bdi>{escape(text)}</bdi>"
