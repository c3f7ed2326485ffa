"""A request as it is sent: what a task's templates made, with the values of Secrets in their places."""

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from yarl import URL

from heed.api.http_task import REPEATABLE_METHODS, HttpBody, HttpHeader, HttpSpec
from heed.api.secret_refs import SecretKeyRef
from heed.bus.codec.event_requests import CONTENT_TYPE, write_request
from heed.core.codec.canonical_json import dump_compact
from heed.core.events import Event
from heed.core.tasks.http_headers import OWN_HEADERS
from heed.errors import MalformedEvent
from heed.worker.http.failures import INVALID_REQUEST, CallFailed

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"
_TEXT: Final = "text/plain; charset=utf-8"
_BYTES: Final = "application/octet-stream"

Secrets = Mapping[SecretKeyRef, str]
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request. `secret_headers` are names, in small letters, of headers that no other origin may see."""

    method: str
    url: URL
    headers: Headers
    body: bytes | None = None
    secret_headers: frozenset[str] = frozenset()

    @property
    def host(self) -> str:
        """The host as it is written in the URL."""
        return self.url.host or ""

    @property
    def port(self) -> int:
        """The port."""
        return self.url.port or DEFAULT_PORTS[self.url.scheme]

    @property
    def shown(self) -> str:
        """Method and origin, for messages: paths and queries may hold what is not for all to read."""
        return f"{self.method} {self.url.origin()}"


@dataclass(frozen=True, slots=True)
class CallIdentity:
    """Who calls, and for which attempt: what idempotency keys and events are named by."""

    source: str  # of the Agent
    task_id: str
    attempt_id: str
    started_at: str | None = None
    correlationid: str | None = None


def build_request(spec: HttpSpec, secrets: Secrets, identity: CallIdentity) -> HttpRequest:
    """The request of a task. Raises CallFailed: InvalidRequest."""
    method = spec.wanted_method
    headers, body = _content(spec, identity)
    headers += _fill_headers(spec.headers, secrets)
    names = {name.lower() for name, _ in headers}
    if method not in REPEATABLE_METHODS and spec.idempotency_key != "None":
        if IDEMPOTENCY_KEY.lower() not in names:
            per_task = spec.idempotency_key == "PerTask"
            headers.append((IDEMPOTENCY_KEY, identity.task_id if per_task else identity.attempt_id))
    return HttpRequest(
        method, parse_url(spec.url, spec.query), _unique(headers), body, _secret_names(spec.headers)
    )


def build_reconcile_request(spec: HttpSpec, secrets: Secrets) -> HttpRequest:
    """The request that asks what became of a call. Raises CallFailed: InvalidRequest."""
    asked = spec.reconcile
    assert asked is not None
    headers = asked.headers or spec.headers
    return HttpRequest(
        asked.method,
        parse_url(asked.url, asked.query),
        _unique(_fill_headers(headers, secrets)),
        secret_headers=_secret_names(headers),
    )


def parse_url(text: str, query: Mapping[str, Any] | None = None) -> URL:
    """The URL of a request with its query. Raises CallFailed: InvalidRequest."""
    if not text.isascii() or any(char <= " " for char in text):
        raise _invalid("url holds characters that no URL has; encode them")
    try:
        url = URL(text)
        known = url.scheme in DEFAULT_PORTS and bool(url.host)
        port = url.port
    except ValueError:
        raise _invalid("url is no URL; write it like https://api.example.com/v1") from None
    if not known or port == 0:
        raise _invalid("url is no http:// or https:// URL with a host")
    if url.user is not None or url.password is not None:
        raise _invalid("url holds a user or a password; use a header with secretRef")
    pairs = list(flatten("query", query or {}))
    return (url.extend_query(pairs) if pairs else url).with_fragment(None)


def flatten(place: str, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """The pairs of a query or a form; a list stands for several, null for none. Raises CallFailed: InvalidRequest."""
    for name, value in fields.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Mapping | list):
                raise _invalid(f"{place}.{name} is no text, number or list of them")
            if item is not None:
                yield name, item if isinstance(item, str) else dump_compact(item)


def _content(spec: HttpSpec, identity: CallIdentity) -> tuple[list[tuple[str, str]], bytes | None]:
    """The headers that describe the body, and the body."""
    if spec.cloud_event is not None:
        return _event(spec, identity)
    if spec.body is None:
        return [], None
    kind, content = _encode(spec.body)
    return [(CONTENT_TYPE, kind)], content


def _encode(body: HttpBody) -> tuple[str, bytes]:
    """Media type and bytes. Raises CallFailed: InvalidRequest."""
    if body.form is not None:
        return body.content_type or _FORM, urlencode(list(flatten("body.form", body.form))).encode()
    if body.text is not None:
        return body.content_type or _TEXT, body.text.encode()
    if body.bytes_ is not None:
        return body.content_type or _BYTES, _from_base64(body.bytes_)
    return body.content_type or _JSON, dump_compact(body.json_).encode()


def _event(spec: HttpSpec, identity: CallIdentity) -> tuple[list[tuple[str, str]], bytes]:
    wanted, body = spec.cloud_event, spec.body
    assert wanted is not None
    data: Any = None
    kind: str | None = None
    if body is not None:
        kind, content = _encode(body)
        data = body.json_ if body.kinds == ("json",) else body.text if body.text is not None else content
    flow = {} if identity.correlationid is None else {"correlationid": identity.correlationid}
    event = Event(
        id=identity.task_id,
        source=identity.source,
        type=wanted.type,
        data=data,
        subject=wanted.subject,
        time=identity.started_at,
        datacontenttype=kind,
        extensions=flow,
    )
    try:
        request = write_request(event, wanted.mode)
    except MalformedEvent as error:
        raise _invalid(f"cloudEvent: {error}") from None
    return list(request.headers.items()), request.body


def _fill_headers(headers: Sequence[HttpHeader], secrets: Secrets) -> list[tuple[str, str]]:
    found = []
    for item in headers:
        if item.name.lower() in OWN_HEADERS:
            raise _invalid(f"header {item.name} is HTTP's own; leave it out")
        if item.secret_ref is not None:
            value = item.prefix + secrets[item.secret_ref]
        else:
            value = item.value or ""
        if not (value.isascii() and value.isprintable()):
            raise _invalid(f"header {item.name} is no printable ASCII text in one line")
        found.append((item.name, value))
    return found


def _unique(headers: Iterable[tuple[str, str]]) -> Headers:
    """The headers, of which a later one of the same name replaces an earlier one."""
    found = {name.lower(): (name, value) for name, value in headers}
    return tuple(found.values())


def _secret_names(headers: Sequence[HttpHeader]) -> frozenset[str]:
    return frozenset(item.name.lower() for item in headers if item.secret_ref is not None)


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("body.bytes is no base64") from None


def _invalid(message: str) -> CallFailed:
    return CallFailed(INVALID_REQUEST, message)
