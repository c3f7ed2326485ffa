"""What of an answer becomes the result."""

import base64
import sys
from typing import Any

import pytest

from tests.http_services import raw, reply, serving
from tests.unit.http.calls import make_call


@pytest.mark.parametrize(
    ("kind", "body", "members"),
    [
        ("application/json; charset=utf-8", b'{"a": 1.5}', {"body": {"a": 1.5}}),
        ("application/problem+json", b"[1]", {"body": [1]}),
        ("application/json", b"", {}),
        ("application/jsonx", b"{", {"body": "{"}),
        ("text/plain", "é".encode(), {"body": "é"}),
        ("text/plain; charset=latin-1", "é".encode("latin-1"), {"bodyBase64": "6Q=="}),
        ("image/png", b"\x89PNG", {"bodyBase64": base64.b64encode(b"\x89PNG").decode()}),
        ("text/plain", b"a\0b", {"bodyBase64": "YQBi"}),
    ],
)
async def test_a_body_is_json_text_or_base64(kind: str, body: bytes, members: dict[str, Any]) -> None:
    async with serving(reply(201, body, Content_Type=kind)) as service:
        end = await make_call({"url": service.url})

    assert end["result"] == {"status": 201, "headers": {}, **members}


async def test_listed_headers_are_in_the_result_by_the_names_that_the_manifest_gives() -> None:
    answer = raw(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nX-B: 2\r\nx-a: 3\r\nContent-Length: 0\r\n\r\n")
    async with serving(answer) as service:
        end = await make_call({"url": service.url, "result": {"headers": ["X-a", "X-None"]}})

    assert end["result"]["headers"] == {"X-a": "1, 3"}


async def test_an_expression_makes_the_result_of_the_answer() -> None:
    body = b'{"items": [{"id": 1, "more": "x"}, {"id": 2}]}'
    reduce = "{'ids': response.body.items.map(i, i.id), 'status': response.status}"
    async with serving(reply(200, body, Content_Type="application/json")) as service:
        end = await make_call({"url": service.url, "result": {"reduce": reduce}})

    assert end["result"] == {"ids": [1, 2], "status": 200}


async def test_an_expression_that_cannot_be_evaluated_ends_the_task() -> None:
    async with serving(reply(200, b"{}", Content_Type="application/json")) as service:
        end = await make_call({"url": service.url, "result": {"reduce": "response.body.none"}})

    assert (end["reason"], end["retryable"]) == ("ExpressionFailed", False)
    assert end["message"].startswith(f"result.reduce on the answer of GET {service.url}: ")


async def test_the_answer_to_head_has_no_body() -> None:
    async with serving(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")) as service:
        end = await make_call({"url": service.url, "method": "HEAD"})

    assert end["result"] == {"status": 200, "headers": {}}


async def test_a_worker_without_cel_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "heed.core.tasks.http_response", None)
    async with serving(reply(200, b"{}", Content_Type="application/json")) as service:
        end = await make_call({"url": service.url, "result": {"reduce": "response.status"}})

    assert (end["reason"], end["retryable"]) == ("ExpressionFailed", False)
    assert end["message"] == "result.reduce needs CEL, which this worker lacks; install heed[calls]"
