"""CloudEvents over HTTP on a real broker: what is stored, what is answered, and who may send."""

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from heed import names
from heed.api.agent import AgentMetadata
from heed.bus.client.connection import Connection
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event
from heed.gateway import server
from heed.gateway.inbound.agents import LocalAgents
from heed.gateway.inbound.authentication import BearerAuthenticator
from heed.gateway.inbound.part import InboundEvents
from heed.gateway.inbound.static_tokens import StaticTokens
from heed.gateway.part import GatewayContext, GatewayPart
from tests.integration.gateway.serving import RunningGateway, serving
from tests.integration.waiting import until
from tests.markdown import ROOT
from tests.nats_server import NatsServer

TYPE = "com.example.order.placed"
REQUIRED = {"specversion": "1.0", "type": TYPE, "id": "1", "source": "/till"}
STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
PROBLEM = "application/problem+json"


@pytest.fixture
async def gateway(connection: Connection, namespace: str) -> AsyncIterator[RunningGateway]:
    """As in `heed dev`, with one Agent."""
    agents = [AgentMetadata(name="clerk", namespace=namespace)]
    async with serving(connection, agents=agents) as gateway:
        yield gateway


def binary(**attributes: str) -> dict[str, str]:
    """The headers of an event in binary mode."""
    return {f"ce-{name}": value for name, value in {**REQUIRED, **attributes}.items()}


async def stored(gateway: RunningGateway, namespace: str) -> list[tuple[str, Event]]:
    """What the stream has of a namespace, in order."""
    context = gateway.context
    first, last = await context.bus.bounds()
    found = await JetStreamBus(context.connection).fetch(range(max(first, 1), last + 1)) if last else []
    return [
        (item.subject, item.event)
        for item in found
        if item is not None
        and names.namespace_of_subject(item.subject) == namespace
        and isinstance(item.event, Event)
    ]


async def send(
    gateway: RunningGateway, path: str, headers: dict[str, str], body: Any = b""
) -> tuple[int, dict[str, Any], aiohttp.ClientResponse]:
    """Status, problem and response of a request."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with gateway.http.post(path, headers=headers, data=io.BytesIO(data)) as response:
        text = await response.text()
        if response.status >= 400:
            assert response.content_type == PROBLEM
            return response.status, json.loads(text), response
        assert text == ""
        return response.status, {}, response


async def test_an_event_in_each_mode_is_in_the_stream_when_it_is_answered(
    gateway: RunningGateway, namespace: str
) -> None:
    path, data = f"/v1/events/{namespace}", {"total": 3}

    answers = [
        await send(gateway, path, {**binary(), "Content-Type": "application/json"}, data),
        await send(gateway, path, {"Content-Type": STRUCTURED}, {**REQUIRED, "id": "2", "data": data}),
        await send(
            gateway,
            path,
            {"Content-Type": BATCH},
            [{**REQUIRED, "id": "3", "data": data}, {**REQUIRED, "id": "4", "type": "com.example.other"}],
        ),
    ]

    assert [status for status, _, _ in answers] == [202, 202, 202]
    found = await stored(gateway, namespace)
    assert [(subject, event.id, event.data) for subject, event in found] == [
        (names.event_subject(namespace, TYPE), "1", data),
        (names.event_subject(namespace, TYPE), "2", data),
        (names.event_subject(namespace, TYPE), "3", data),
        (names.event_subject(namespace, "com.example.other"), "4", None),
    ]


async def test_an_event_for_one_agent_goes_to_its_inbox(gateway: RunningGateway, namespace: str) -> None:
    status, _, _ = await send(gateway, f"/v1/agents/{namespace}/clerk", binary())

    assert status == 202
    ((subject, event),) = await stored(gateway, namespace)
    assert (subject, event.id) == (names.inbox_subject(namespace, "clerk", TYPE), "1")


async def test_sent_again_an_event_is_stored_once(gateway: RunningGateway, namespace: str) -> None:
    path = f"/v1/events/{namespace}"
    said = [await send(gateway, path, binary()) for _ in range(3)]
    batch = [{**REQUIRED, "id": "1"}, {**REQUIRED, "id": "2"}, {**REQUIRED, "id": "1"}]
    said.append(await send(gateway, path, {"Content-Type": BATCH}, batch))

    found = [(status, response.headers.get("Heed-Duplicates")) for status, _, response in said]
    assert found == [(202, None), (202, "1"), (202, "1"), (202, "2")]
    assert [event.id for _, event in await stored(gateway, namespace)] == ["1", "2"]
    assert gateway.context.metrics.events.counts == {("stored",): 2, ("duplicate",): 4}


async def test_a_batch_is_taken_whole_or_not_at_all(gateway: RunningGateway, namespace: str) -> None:
    batch = [REQUIRED, {**REQUIRED, "id": "2", "type": None}]

    status, problem, _ = await send(gateway, f"/v1/events/{namespace}", {"Content-Type": BATCH}, batch)

    assert (status, problem["code"], problem["attribute"], problem["index"]) == (
        400,
        "MissingAttribute",
        "type",
        1,
    )
    assert await stored(gateway, namespace) == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/events/Not_A_Name", "NoSuchNamespace"),
        ("/v1/agents/{}/nobody", "NoSuchAgent"),
        ("/v1/agents/{}/Not_A_Name", "NoSuchAgent"),
        ("/v1/agents/elsewhere/clerk", "NoSuchAgent"),
    ],
)
async def test_what_is_not_there_is_not_found(
    gateway: RunningGateway, namespace: str, path: str, code: str
) -> None:
    status, problem, _ = await send(gateway, path.format(namespace), binary())

    assert (status, problem["code"]) == (404, code)


@pytest.mark.parametrize("type_", ["dev.heed", "dev.heed.task.completed", "dev.heed.anything"])
async def test_types_of_heed_are_refused_on_both_paths(
    gateway: RunningGateway, namespace: str, type_: str
) -> None:
    for path in (f"/v1/events/{namespace}", f"/v1/agents/{namespace}/clerk"):
        status, problem, _ = await send(gateway, path, binary(type=type_))
        assert (status, problem["code"], problem["attribute"]) == (403, "ReservedType", "type")

    batch = [REQUIRED, {**REQUIRED, "id": "2", "type": type_}]
    status, problem, _ = await send(gateway, f"/v1/events/{namespace}", {"Content-Type": BATCH}, batch)
    assert (status, problem["code"], problem["index"]) == (403, "ReservedType", 1)
    assert (await send(gateway, f"/v1/events/{namespace}", binary(type="dev.heedless")))[0] == 202
    assert len(await stored(gateway, namespace)) == 1


async def test_nobody_speaks_to_an_agent_in_its_own_name(gateway: RunningGateway, namespace: str) -> None:
    own = names.agent_source(namespace, "clerk")

    status, problem, _ = await send(gateway, f"/v1/agents/{namespace}/clerk", binary(source=own))

    assert (status, problem["code"], problem["attribute"]) == (403, "ReservedSource", "source")
    assert (await send(gateway, f"/v1/events/{namespace}", binary(source=own)))[0] == 202
    other = names.agent_source(namespace, "other")
    assert (await send(gateway, f"/v1/agents/{namespace}/clerk", binary(source=other)))[0] == 202


async def test_an_event_beyond_the_brokers_limit_is_refused(gateway: RunningGateway, namespace: str) -> None:
    path, most = f"/v1/events/{namespace}", gateway.context.connection.max_payload
    headers = {**binary(), "Content-Type": "text/plain"}

    status, problem, _ = await send(gateway, path, headers, b"x" * (most + 1))
    assert (status, problem["code"], problem["maxBytes"]) == (413, "TooLarge", most)
    status, problem, _ = await send(
        gateway, path, headers, b"x" * most
    )  # with its attributes it is too large
    assert (status, problem["code"]) == (413, "TooLarge")
    assert (await send(gateway, path, headers, b"x" * (most - 1000)))[0] == 202
    assert gateway.context.bodies.held == 0


async def test_a_sender_is_limited(connection: Connection, namespace: str) -> None:
    async with serving(connection, sender_rate=1, sender_burst=3) as gateway:
        path = f"/v1/events/{namespace}"
        batch = [{**REQUIRED, "id": str(number)} for number in range(3)]
        assert (await send(gateway, path, {"Content-Type": BATCH}, batch))[0] == 202

        status, problem, response = await send(gateway, path, binary())

        assert (status, problem["code"]) == (429, "TooManyRequests")
        assert int(response.headers["Retry-After"]) >= 1


async def test_a_browser_elsewhere_cannot_send(gateway: RunningGateway, namespace: str) -> None:
    path = f"/v1/events/{namespace}"
    for headers in (
        *({"Host": "rebound.example.com"}, {"Host": "[::1"}, {"Host": ""}),
        *({"Origin": "https://example.com"}, {"Origin": "null"}, {"Origin": "http://[::1"}, {"Origin": ""}),
    ):
        status, problem, _ = await send(gateway, path, {**binary(), **headers})
        assert (status, problem["code"]) == (403, "NotLoopback")
    for host in ("localhost:1", "127.0.0.1", "[::1]:8080"):
        assert (await send(gateway, path, {**binary(), "Host": host}))[0] == 202


async def test_the_handshake_of_web_hooks(connection: Connection, namespace: str) -> None:
    async with serving(connection, allowed_origins="example.com") as gateway:
        asked = {"WebHook-Request-Origin": "example.com", "WebHook-Request-Rate": "100"}
        asked["WebHook-Request-Callback"] = "http://127.0.0.1:1/never-called"
        path = f"/v1/events/{namespace}"
        async with gateway.http.options(path, headers=asked) as response:
            assert response.status == 200
            assert response.headers["WebHook-Allowed-Origin"] == "example.com"
            assert response.headers["WebHook-Allowed-Rate"] == "100"
            assert response.headers["Allow"] == "OPTIONS, POST"
        for origin in ({"WebHook-Request-Origin": "example.org"}, {}):
            async with gateway.http.options(path, headers=origin) as response:
                assert response.status == (403 if origin else 400)
                assert "WebHook-Allowed-Origin" not in response.headers
        refused = {**binary(), "WebHook-Request-Origin": "example.org"}
        assert (await send(gateway, path, refused))[1]["code"] == "OriginNotAllowed"


# --- tokens ---------------------------------------------------------------------------------------------------------

TOKEN = "t" * 32


@pytest.fixture
async def guarded(connection: Connection, namespace: str, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A gateway that knows one token, for one namespace and some types."""
    said = {"tokens": [TOKEN], "namespaces": [namespace], "types": ["com.example.>"]}
    (tmp_path / "till").write_text(yaml.safe_dump(said))
    tokens = StaticTokens(tmp_path)
    tokens.load()

    def parts(context: GatewayContext) -> Sequence[GatewayPart]:
        agents = LocalAgents(lambda: [AgentMetadata(name="clerk", namespace=namespace)])
        return [InboundEvents(context, BearerAuthenticator(tokens, None, lambda _: ()), agents)]

    async with serving(connection, parts) as gateway:
        yield gateway


async def test_a_token_lets_in_by_either_way(guarded: RunningGateway, namespace: str) -> None:
    path = f"/v1/events/{namespace}"

    status, _, response = await send(guarded, path, {**binary(), "Authorization": f"bearer  {TOKEN}"})
    assert (status, response.headers.get("Cache-Control")) == (202, None)
    status, _, response = await send(guarded, f"{path}?access_token={TOKEN}", binary(id="2"))
    assert (status, response.headers.get("Cache-Control")) == (202, "private")


@pytest.mark.parametrize(
    ("headers", "query", "status", "challenge"),
    [
        ({}, "", 401, 'Bearer realm="heed"'),
        ({"Authorization": "Bearer"}, "", 401, 'Bearer realm="heed"'),
        ({"Authorization": f"Basic {TOKEN}"}, "", 401, 'Bearer realm="heed"'),
        ({"Authorization": f"Bearer {TOKEN[:-1]}"}, "", 401, 'Bearer realm="heed", error="invalid_token"'),
        ({}, "?access_token=", 401, 'Bearer realm="heed", error="invalid_token"'),
        ({"Authorization": f"Bearer {TOKEN}"}, f"?access_token={TOKEN}", 400, None),
        ({}, f"?access_token={TOKEN}&access_token={TOKEN}", 400, None),
    ],
)
async def test_without_the_right_token_nothing_is_taken(
    guarded: RunningGateway,
    namespace: str,
    headers: dict[str, str],
    query: str,
    status: int,
    challenge: str | None,
) -> None:
    answered, problem, response = await send(
        guarded, f"/v1/events/{namespace}{query}", {**binary(), **headers}
    )

    assert (answered, response.headers.get("WWW-Authenticate")) == (status, challenge)
    assert TOKEN[:-1] not in json.dumps(problem)
    assert await stored(guarded, namespace) == []


async def test_a_token_is_for_its_namespaces_and_types(guarded: RunningGateway, namespace: str) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}

    status, problem, _ = await send(guarded, "/v1/events/elsewhere", {**binary(), **bearer})
    assert (status, problem["code"]) == (403, "NotAllowed")
    status, problem, _ = await send(guarded, "/v1/agents/elsewhere/clerk", {**binary(), **bearer})
    assert (status, problem["code"]) == (403, "NotAllowed")
    status, problem, _ = await send(
        guarded, f"/v1/events/{namespace}", {**binary(type="org.example.x"), **bearer}
    )
    assert (status, problem["code"], problem["attribute"]) == (403, "TypeNotAllowed", "type")
    assert (await send(guarded, f"/v1/agents/{namespace}/clerk", {**binary(), **bearer}))[0] == 202


async def test_a_refusal_is_counted_and_logged_for_who_is_asked_where_events_are(
    guarded: RunningGateway, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    bearer, path = {"Authorization": f"Bearer {TOKEN}"}, f"/v1/events/{namespace}"
    with caplog.at_level("WARNING"):
        await send(guarded, path, {**binary(type="org.example.x"), **bearer})
        await send(guarded, f"{path}?access_token=guess{TOKEN}", binary())
        await send(guarded, path, {**binary(time="the s3cret hour"), **bearer})
        await send(guarded, "/v1/agents/a%0Ab/clerk", {**binary(), **bearer})

    said = [vars(record) for record in caplog.records if record.message == "request refused"]
    assert [(item["status"], item["code"]) for item in said] == [
        *((403, "TypeNotAllowed"), (401, "Unauthorized"), (400, "BadTime"), (404, "NoSuchNamespace")),
    ]
    assert [item.get("sender") for item in said] == ["till", None, "till", None]
    assert (said[0]["namespace"], said[0]["route"]) == (namespace, "/v1/events/{namespace}")
    assert said[0]["detail"] == "the token of till is not for events of type org.example.x"
    assert (said[2]["attribute"], "detail" in said[2]) == ("time", False)  # it might quote what was sent
    assert (said[3]["namespace"], said[3]["agent"]) == ("a\\nb", "clerk")
    assert TOKEN not in str(said) and "s3cret" not in str(said)
    page = (await guarded.context.metrics.page(""))[0].decode()
    counted = 'heed_gateway_refusals_total{reason="TypeNotAllowed",route="/v1/events/{namespace}"} 1.0'
    assert counted in page


# --- the broker away ------------------------------------------------------------------------------------------------


async def test_while_the_broker_is_away_a_sender_is_told_to_come_again(
    own: Connection, own_server: NatsServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(own, sender_rate=0) as gateway:
        gateway.health.connection = own
        path = f"/v1/events/{namespace}"
        assert (await send(gateway, path, binary()))[0] == 202
        own_server.kill()
        await until(lambda: not own.is_connected)
        batch = [{**REQUIRED, "id": str(number)} for number in range(3)]

        status, problem, response = await send(gateway, path, {"Content-Type": BATCH}, batch)

        assert (status, problem["code"], problem["failed"]) == (503, "BrokerUnavailable", [0, 1, 2])
        assert response.headers["Retry-After"] == "2"
        assert "NATS" in (gateway.health.missing() or "")

        own_server.start()
        await until(lambda: own.is_connected)
        assert (await send(gateway, path, {"Content-Type": BATCH}, batch))[0] == 202
        assert [event.id for _, event in await stored(gateway, namespace)] == ["1", "0", "2"]


async def test_a_stream_that_is_full_and_drops_nothing_is_named(own: Connection, namespace: str) -> None:
    found = await own.api(f"STREAM.INFO.{names.STREAM}")
    await own.api(f"STREAM.UPDATE.{names.STREAM}", {**found["config"], "discard": "new", "max_msgs": 1})
    async with serving(own) as gateway:
        path = f"/v1/events/{namespace}"
        assert (await send(gateway, path, binary()))[0] == 202

        status, problem, response = await send(gateway, path, binary(id="2"))

    assert (status, problem["code"]) == (503, "StreamRefuses")
    assert "maximum messages exceeded" in problem["detail"]
    assert int(response.headers["Retry-After"]) > 2  # somebody has to make room


async def test_batches_go_not_around_the_rate(connection: Connection, namespace: str) -> None:
    async with serving(connection, sender_rate=1, sender_burst=5) as gateway:
        path = f"/v1/events/{namespace}"
        batch = [{**REQUIRED, "id": str(number)} for number in range(100)]
        assert (await send(gateway, path, {"Content-Type": BATCH}, batch))[0] == 202

        status, _, response = await send(gateway, path, {"Content-Type": BATCH}, batch)

    assert (status, response.headers["Retry-After"]) == (429, "96")


async def test_without_a_stream_a_sender_is_told_to_come_again(bare: Connection, namespace: str) -> None:
    async with serving(bare) as gateway:
        status, problem, response = await send(gateway, f"/v1/events/{namespace}", binary())

    assert (status, problem["code"], response.headers["Retry-After"]) == (503, "StreamMissing", "2")


# --- slow and many --------------------------------------------------------------------------------------------------


async def test_a_body_that_does_not_come_is_given_up(connection: Connection, namespace: str) -> None:
    async with serving(connection, body_timeout=1) as gateway:
        host, port = gateway.address
        reader, writer = await asyncio.open_connection(host, port)
        head = "".join(f"{name}: {value}\r\n" for name, value in binary().items())
        writer.write(f"POST /v1/events/{namespace} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}".encode())
        writer.write(b"Content-Type: text/plain\r\nContent-Length: 10\r\n\r\nslow")
        answer = await reader.read()  # to the end: the connection is closed
        writer.close()

    assert answer.startswith(b"HTTP/1.1 408 ") and b'"code": "SlowBody"' in answer
    assert gateway.context.bodies.held == 0


@pytest.mark.parametrize("sent", [b"", b"POST /v1/events/x HTTP/1.1\r\nHost: 127.0.0.1\r\nce-id: "])
async def test_a_connection_that_idles_is_closed(connection: Connection, sent: bytes) -> None:
    async with serving(connection, keepalive_timeout=1) as gateway:
        reader, writer = await asyncio.open_connection(*gateway.address)
        writer.write(sent)
        assert await reader.read() == b""
        writer.close()


async def test_headers_are_in_no_log(connection: Connection, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(connection) as gateway:
        reader, writer = await asyncio.open_connection(*gateway.address)
        writer.write(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization : Bearer secret\r\n\r\n")
        assert b"secret" not in await reader.read()
        writer.close()
    assert caplog.text == ""


async def kept_connection(
    gateway: RunningGateway, namespace: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that has had an answer, and is kept."""
    reader, writer = await asyncio.open_connection(*gateway.address)
    head = "".join(f"{name}: {value}\r\n" for name, value in binary().items())
    writer.write(f"POST /v1/events/{namespace} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}".encode())
    writer.write(b"Content-Length: 0\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202 ")
    return reader, writer


async def test_connections_have_a_bound(
    connection: Connection, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SILENCE_S", 0.0)
    async with serving(connection, max_connections=2) as gateway:
        kept = [await kept_connection(gateway, namespace) for _ in range(2)]
        reader, writer = await asyncio.open_connection(*gateway.address)
        answer = await reader.read()
        for _, each in (*kept, (reader, writer)):
            each.close()

        assert answer.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 2\r\n" in answer
        await until(lambda: gateway.server.connections == 0)
        assert (await send(gateway, f"/v1/events/{namespace}", binary()))[0] == 202
    page = (await gateway.context.metrics.page(""))[0].decode()
    assert "heed_gateway_turned_away_total 1.0" in page


@pytest.mark.parametrize("silence_s", [0.0, 600.0])
async def test_a_connection_that_asks_nothing_gives_way_after_a_while(
    connection: Connection, namespace: str, monkeypatch: pytest.MonkeyPatch, silence_s: float
) -> None:
    monkeypatch.setattr(server, "SILENCE_S", silence_s)
    async with serving(connection, max_connections=2) as gateway:
        # Given one that sends its head for ever, and one that has sent an event
        silent, sending = await asyncio.open_connection(*gateway.address)
        sending.write(b"POST /v1/events/x HTTP/1.1\r\nX-Slow")
        kept = await kept_connection(gateway, namespace)

        # Then a third one takes the place of the first, once that was silent for long enough
        third, opened = await asyncio.open_connection(*gateway.address)
        if silence_s:
            assert (await third.read()).startswith(b"HTTP/1.1 503 ")
        else:
            assert await silent.read() == b""
            opened.write(b"OPTIONS / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert (await third.readline()).startswith(b"HTTP/1.1 404 ")
        kept[1].write(b"OPTIONS / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await kept[0].readline()).startswith(b"HTTP/1.1 404 ")
        assert gateway.server.turned_away == 1
        for writer in (sending, kept[1], opened):
            writer.close()


# --- what there is to see -------------------------------------------------------------------------------------------


async def test_the_page_of_metrics_is_what_the_docs_say(gateway: RunningGateway) -> None:
    shown = set(
        re.findall(r"^\| `(heed_gateway_\w+)` ", (ROOT / "docs/gateway.md").read_text(), re.MULTILINE)
    )
    page = (await gateway.context.metrics.page(""))[0].decode()
    there = set(re.findall(r"^# HELP (heed_gateway_\w+) ", page, re.MULTILINE))

    assert there == shown - {"heed_gateway_token_reviews_total"}  # which are of a cluster
