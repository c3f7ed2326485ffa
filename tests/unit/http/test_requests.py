"""What is sent for an http task: method, query, headers, body, idempotency key and envelope."""

import base64
import json
from typing import Any

import pytest

from heed.util.clock import loop_time
from heed.worker.http.calls import HttpCaller
from heed.worker.lease import Lease
from tests.http_services import reply, serving
from tests.unit.http.calls import TOKEN, KnownSecrets, make_call, work_item


@pytest.mark.parametrize(
    ("body", "kind", "content"),
    [
        ({"json": {"a": [1, None, "ü"]}}, "application/json", '{"a":[1,null,"ü"]}'.encode()),
        ({"json": None}, "application/json", b"null"),
        ({"form": {"a": "1 2", "b": [1, True]}}, "application/x-www-form-urlencoded", b"a=1+2&b=1&b=true"),
        ({"text": "hé"}, "text/plain; charset=utf-8", "hé".encode()),
        ({"bytes": base64.b64encode(b"\0\xff").decode()}, "application/octet-stream", b"\0\xff"),
        ({"text": "<a/>", "contentType": "text/xml"}, "text/xml", b"<a/>"),
    ],
)
async def test_a_body_is_sent_with_its_media_type(body: dict[str, Any], kind: str, content: bytes) -> None:
    async with serving(reply()) as service:
        end = await make_call({"url": service.url, "body": body})

    (seen,) = service.requests
    assert (seen.method, seen.headers["content-type"], seen.body) == ("POST", kind, content)
    assert end == {"completed": True, "result": {"status": 200, "headers": {}}}


async def test_without_a_body_it_is_a_get_without_media_type_and_key() -> None:
    async with serving(reply()) as service:
        await make_call({"url": f"{service.url}/a%2Fb?x=1", "query": {"q": "a b&c", "n": [1, 2], "no": None}})

    (seen,) = service.requests
    assert (seen.method, seen.target) == ("GET", "/a%2Fb?x=1&q=a+b%26c&n=1&n=2")
    assert not seen.headers.keys() & {"content-type", "idempotency-key", "cookie"}


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"method": "POST"}, "pay-1"),
        ({"method": "PATCH"}, "pay-1"),
        ({"method": "POST", "idempotencyKey": "PerAttempt"}, "pay-1.2"),
        ({"method": "POST", "idempotencyKey": "None"}, None),
        ({"method": "PUT"}, None),
        ({"method": "DELETE"}, None),
        ({"method": "POST", "headers": [{"name": "idempotency-key", "value": "mine"}]}, "mine"),
    ],
)
async def test_methods_that_are_not_idempotent_carry_a_key(more: dict[str, Any], key: str | None) -> None:
    async with serving(reply()) as service:
        await make_call({"url": service.url, **more})

    assert service.requests[0].headers.get("idempotency-key") == key


async def test_secrets_are_filled_in_where_the_request_is_sent() -> None:
    secret = {"name": "Authorization", "prefix": "Bearer ", "secretRef": {"name": "api", "key": "token"}}
    async with serving(reply()) as service:
        await make_call({"url": service.url, "headers": [secret, {"name": "X-Team", "value": "a b"}]})

    (seen,) = service.requests
    assert (seen.headers["authorization"], seen.headers["x-team"]) == (f"Bearer {TOKEN}", "a b")


async def test_what_a_service_repeats_of_a_secret_is_masked() -> None:
    header = {"name": "X-Key", "secretRef": {"name": "api", "key": "token"}}
    echo = reply(body=f"you sent {TOKEN}", X_Echo=TOKEN)
    async with serving(echo) as service:
        end = await make_call({"url": service.url, "headers": [header], "result": {"headers": ["X-Echo"]}})

    assert end["result"] == {"status": 200, "headers": {"X-Echo": "***"}, "body": "you sent ***"}


async def test_a_cloud_event_in_binary_mode_is_headers_and_its_data() -> None:
    spec = {"cloudEvent": {"type": "com.example.paid", "subject": "o-1"}, "body": {"json": {"a": 1}}}
    async with serving(reply(202)) as service:
        end = await make_call({"url": service.url, **spec})

    (seen,) = service.requests
    assert {name: value for name, value in seen.headers.items() if name.startswith("ce-")} == {
        "ce-specversion": "1.0",
        "ce-id": "pay-1",
        "ce-source": "/namespaces/demo/agents/shop",
        "ce-type": "com.example.paid",
        "ce-subject": "o-1",
        "ce-time": "2026-01-01T12:00:00Z",
        "ce-correlationid": "c-1",
    }
    assert (seen.headers["content-type"], json.loads(seen.body)) == ("application/json", {"a": 1})
    assert end["completed"]


async def test_a_cloud_event_in_structured_mode_is_one_document() -> None:
    spec = {"cloudEvent": {"type": "com.example.paid", "mode": "Structured"}, "body": {"text": "hi"}}
    async with serving(reply()) as service:
        await make_call({"url": service.url, **spec})

    (seen,) = service.requests
    assert seen.headers["content-type"] == "application/cloudevents+json"
    document = json.loads(seen.body)
    assert (document["id"], document["type"], document["data"]) == ("pay-1", "com.example.paid", "hi")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"url": "ftp://h/"}, "url is no http:// or https:// URL with a host"),
        ({"url": "https:///x"}, "url is no http:// or https:// URL with a host"),
        ({"url": "https://user:word@h/"}, "url holds a user or a password; use a header with secretRef"),
        ({"url": "https://h/a b"}, "url holds characters that no URL has; encode them"),
        ({"url": "https://h", "query": {"q": {"a": 1}}}, "query.q is no text, number or list of them"),
        ({"url": "https://h", "body": {"bytes": "!"}}, "body.bytes is no base64"),
        (
            {"url": "https://h", "headers": [{"name": "Host", "value": "x"}]},
            "header Host is HTTP's own; leave it out",
        ),
        (
            {"url": "https://h", "headers": [{"name": "X", "value": "a\r\nY: b"}]},
            "header X is no printable ASCII text in one line",
        ),
    ],
)
async def test_what_is_no_request_fails_for_good(spec: dict[str, Any], message: str) -> None:
    assert await make_call(spec) == {
        "completed": False,
        "reason": "InvalidRequest",
        "message": message,
        "retryable": False,
    }


async def test_a_template_that_made_no_request_names_the_field_and_not_the_value() -> None:
    item = work_item({"url": "https://h"})
    item["spec"]["method"] = "sesame"
    end = await HttpCaller(KnownSecrets()).run(item, Lease(loop_time(), again=False))

    assert end["reason"] == "InvalidRequest"
    assert end["message"].startswith("method: ") and "sesame" not in end["message"]
