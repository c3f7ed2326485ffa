"""An event as a request to a sink: the HTTP binding of CloudEvents, and what an answer is taken for."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from heed.bus.codec.event_requests import EventRequest, write_request
from heed.core.events import Event
from heed.core.policy.addresses import LOOPBACK
from heed.gateway.subscriptions.sink import SinkClient

PLAIN = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/shop", "ce-type": "a.b"}


def requested(mode: str = "Binary", **members: Any) -> EventRequest:
    return write_request(Event("1", "/shop", "a.b", **members), mode)


def test_without_data_there_is_no_body_and_no_media_type() -> None:
    assert requested() == EventRequest(PLAIN, b"")


@pytest.mark.parametrize(
    ("members", "content_type", "body"),
    [
        ({"data": {"a": "ü"}}, "application/json", '{"a":"ü"}'.encode()),
        ({"data": {"a": 1}, "datacontenttype": "application/x+json"}, "application/x+json", b'{"a":1}'),
        ({"data": "text", "datacontenttype": "text/plain"}, "text/plain", b"text"),
        ({"data": b"\0\xff", "datacontenttype": "image/png"}, "image/png", b"\0\xff"),
        ({"data": b"\0\xff"}, "application/octet-stream", b"\0\xff"),
        ({"datacontenttype": "text/xml"}, "text/xml", b""),
    ],
)
def test_in_binary_mode_the_media_type_is_the_content_type(
    members: dict[str, Any], content_type: str, body: bytes
) -> None:
    assert requested(**members) == EventRequest({**PLAIN, "Content-Type": content_type}, body)


def test_attributes_are_percent_encoded_so_that_none_can_begin_another_header() -> None:
    request = requested(subject='a "b" %\u00fc', extensions={"x": "1\u2028"})

    assert request.headers["ce-subject"] == "a%20%22b%22%20%25%C3%BC"
    assert request.headers["ce-x"] == "1%E2%80%A8"
    assert all(value.isascii() and value.isprintable() for value in request.headers.values())


def test_in_structured_mode_all_of_it_is_json() -> None:
    request = requested("Structured", data={"a": 1}, subject="s")

    assert request.headers == {"Content-Type": "application/cloudevents+json"}
    assert json.loads(request.body) == {
        "specversion": "1.0",
        "id": "1",
        "source": "/shop",
        "type": "a.b",
        "subject": "s",
        "data": {"a": 1},
    }


@pytest.mark.parametrize(
    "members",
    [
        {"data": "", "datacontenttype": "text/plain"},  # which would be no data at all
        {"data": "a", "datacontenttype": "text/pläin"},  # which no header can say
    ],
)
def test_what_only_structured_mode_keeps_is_sent_so(members: dict[str, Any]) -> None:
    request = requested(**members)

    assert request.headers == {"Content-Type": "application/cloudevents+json"}
    assert json.loads(request.body)["data"] == members["data"]


# --- answers --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A server that answers with the status in its path, and hangs at /hang."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/hang":
            await asyncio.sleep(60)
        return web.Response(
            status=int(request.path[1:]), text="secret", headers={"Retry-After": "7", "Location": "/200"}
        )

    application = web.Application()
    application.router.add_post("/{path}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def client() -> AsyncIterator[SinkClient]:
    """A client for which loopback is let through."""
    client = SinkClient(LOOPBACK)
    yield client
    await client.close()


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (204, ""),
        (299, ""),
        (302, "the sink answered 302"),
        (307, "the sink answered 307"),
        (503, "the sink answered 503"),
    ],
)
async def test_of_an_answer_its_status_counts_and_redirects_are_not_followed(
    client: SinkClient, url: str, status: int, problem: str
) -> None:
    answer = await client.send(f"{url}/{status}", requested(), {}, 5.0)

    assert (answer.status, answer.problem, answer.retry_after) == (status, problem, "7")


async def test_one_that_does_not_come_in_time_is_none(client: SinkClient, url: str) -> None:
    answer = await client.send(f"{url}/hang", requested(), {}, 0.1)

    assert (answer.status, answer.problem) == (0, "the sink did not answer within 0.1 s")


async def test_one_that_cannot_be_had_says_why_and_never_raises(
    client: SinkClient, unused_tcp_port: int, url: str
) -> None:
    gone = await client.send(f"http://127.0.0.1:{unused_tcp_port}/", requested(), {}, 5.0)
    metadata = await client.send("http://169.254.169.254/", requested(), {}, 5.0)
    wrong = await client.send(url.replace("http:", "https:"), requested(), {}, 5.0)

    assert (gone.status, gone.problem.partition(":")[0]) == (0, "cannot connect to the sink")
    assert metadata.status == 0
    assert "link-local address; nothing is sent there" in metadata.problem
    assert wrong.status == 0
