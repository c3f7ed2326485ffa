"""HTTP requests of senders as the core wants them: headers, query and forms as plain maps of text."""

from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from heed.core.webhooks.delivery import FORM_TYPE, Delivery
from heed.gateway.refusals import RequestRefused

MAX_FIELDS: Final = 1000  # of a form, and of a query


def read_delivery(request: web.Request, body: bytes) -> Delivery:
    """A request and its body. Raises RequestRefused for a form that cannot be read."""
    content_type = readable(request.headers["Content-Type"]) if "Content-Type" in request.headers else None
    form = read_form(body) if is_form(content_type) else None
    return Delivery(read_headers(request), read_query(request), body, form, content_type)


def read_headers(request: web.Request) -> Mapping[str, str]:
    """Headers by lower-case name; the values of one that comes several times are joined by commas (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        key = name.lower()
        found[key] = f"{found[key]}, {readable(value)}" if key in found else readable(value)
    return found


def read_query(request: web.Request) -> Mapping[str, str]:
    """The parameters of the query by name; of one that comes several times the first counts."""
    return _first(request.query.items())


def is_form(content_type: str | None) -> bool:
    """Whether a body is a form."""
    return content_type is not None and content_type.partition(";")[0].strip().lower() == FORM_TYPE


def read_form(body: bytes) -> Mapping[str, str]:
    """The fields of a form by name; of one that comes several times the first counts. Raises RequestRefused."""
    try:
        text = body.decode()
        fields = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        message = f"the body is no form in UTF-8 of at most {MAX_FIELDS} fields"
        raise RequestRefused(400, "BadForm", message) from None
    return _first(fields)


def readable(value: str) -> str:
    """A header's value as Unicode text: bytes that are not UTF-8 become U+FFFD."""
    return value.encode(errors="surrogateescape").decode(errors="replace")


def _first(fields: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, value in fields:
        found.setdefault(readable(name), readable(value))
    return found
