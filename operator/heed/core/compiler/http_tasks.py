"""Validation of `http` tasks: what no schema can say of a request."""

from collections.abc import Iterator, Sequence
from typing import Final

from heed import names
from heed.api.fields import parse_duration
from heed.api.http_task import HttpHeader, HttpSpec
from heed.api.task import TaskSpec
from heed.core.policy.egress import parse_authority
from heed.core.tasks.http_headers import OWN_HEADERS
from heed.core.tasks.http_response import check_reduction
from heed.errors import Problem

MAX_PORT: Final = 65535


def check_http(task: TaskSpec, path: str) -> Iterator[Problem]:
    """What is wrong with an http task at `path`."""
    spec = task.http
    assert spec is not None
    if task.publish:
        yield Problem(f"{path}.publish", "is for jobs only", "leave it out")
    if task.attempt_timeout is not None and not spec.is_repeatable:
        message = "an attempt that is given up may have been served, and could not be repeated"
        yield Problem(f"{path}.attemptTimeout", message, "use http.timeouts.total, or an idempotencyKey")
    yield from _check_request(spec, f"{path}.http")
    yield from _check_timeouts(spec, f"{path}.http.timeouts")
    if spec.result.reduce is not None:
        yield from check_reduction(spec.result.reduce, f"{path}.http.result.reduce")


def _check_request(spec: HttpSpec, path: str) -> Iterator[Problem]:
    yield from check_url(spec.url, f"{path}.url")
    yield from check_headers(spec.headers, f"{path}.headers")
    if spec.wanted_method in ("GET", "HEAD") and (spec.body is not None or spec.cloud_event is not None):
        yield Problem(f"{path}.body", f"a {spec.wanted_method} has none", "use another method, or `query`")
    if spec.body is not None and len(spec.body.kinds) != 1:
        message = "needs exactly one of json, form, text and bytes"
        yield Problem(f"{path}.body", message, "give one of them")
    if spec.cloud_event is not None and not names.is_type(spec.cloud_event.type):
        remedy = "use dot-separated tokens, such as com.example.done"
        yield Problem(f"{path}.cloudEvent.type", f'"{spec.cloud_event.type}" is not an event type', remedy)
    if (asked := spec.reconcile) is not None:
        yield from check_url(asked.url, f"{path}.reconcile.url")
        yield from check_headers(asked.headers, f"{path}.reconcile.headers")
        if spec.is_repeatable:
            message = "is never asked: the call may be repeated as it is"
            remedy = "leave it out, or write `idempotencyKey: None` where the service heeds no such key"
            yield Problem(f"{path}.reconcile", message, remedy)


def check_url(url: str, path: str) -> Iterator[Problem]:
    """What is wrong with the literal URL of a service."""
    if "${" in url:
        return
    if "@" in url.split("//", 1)[-1].split("/", 1)[0]:
        yield Problem(path, "holds a user or a password", "use a header with secretRef")
    elif (found := parse_authority(url)) is None or not 0 < found[1] <= MAX_PORT:
        yield Problem(path, "is no http:// or https:// URL", "write it like https://api.example.com/v1")


def check_headers(headers: Sequence[HttpHeader], path: str) -> Iterator[Problem]:
    """What is wrong with the headers of a request."""
    seen: set[str] = set()
    for index, header in enumerate(headers):
        name = header.name.lower()
        if name in OWN_HEADERS:
            yield Problem(f"{path}[{index}].name", f"{header.name} is HTTP's own", "leave it out")
        if name in seen:
            yield Problem(f"{path}[{index}].name", f"{header.name} is given twice", "give it once")
        seen.add(name)


def _check_timeouts(spec: HttpSpec, path: str) -> Iterator[Problem]:
    for field, value in spec.timeouts.model_dump(by_alias=True).items():
        if parse_duration(value) == 0:
            yield Problem(f"{path}.{field}", f"{value} is no time", "give 1s or more")
