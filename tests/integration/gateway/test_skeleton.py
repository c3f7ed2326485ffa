"""The gateway's frame, whatever its parts: routes, problem documents, bounds on bodies, metrics, readiness."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from heed.bus.client.connection import Connection
from heed.gateway.metrics import GatewayMetrics
from heed.gateway.part import GatewayContext, GatewayPart, LastingWork
from heed.gateway.probes import GatewayHealth, serve_gateway_probes
from heed.gateway.refusals import RequestRefused
from heed.settings import Settings
from heed.util.aio import stop
from tests.integration.gateway.serving import serving
from tests.integration.waiting import until

LIMIT = 10_000


class Echo(GatewayPart):
    """Tells how long bodies are."""

    def __init__(self) -> None:
        self.context: GatewayContext | None = None
        self.runs = False
        self.obstacle: str | None = None
        self.lasting = LastingWork("echoes")

    def routes(self) -> Iterable[web.RouteDef]:
        return [web.post("/echo/{name}", self.echo)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.runs = True
        yield
        self.runs = False

    def missing(self) -> str | None:
        return self.obstacle

    def broken(self) -> str | None:
        return self.lasting.error

    async def echo(self, request: web.Request) -> web.Response:
        if request.match_info["name"] == "refused":
            raise RequestRefused(403, "NotYours", "ask for it", members={"attribute": "type"})
        if request.match_info["name"] == "broken":
            raise ValueError("secret")
        assert self.context is not None
        known = request.match_info["name"] != "stranger"
        async with self.context.bodies.read(request, LIMIT, sender_known=known) as body:
            return web.Response(text=f"{len(body)} {self.context.bodies.held}")


@pytest.fixture
def echo() -> Echo:
    """The part."""
    return Echo()


async def test_a_part_serves_its_routes_and_runs_while_it_does(connection: Connection, echo: Echo) -> None:
    async with serving(connection, [echo]) as gateway:
        echo.context = gateway.context
        assert echo.runs
        async with gateway.http.post("/echo/x", data=b"x" * LIMIT) as response:
            assert (response.status, await response.text()) == (200, f"{LIMIT} {LIMIT}")
        assert gateway.context.bodies.held == 0

    assert not echo.runs


async def test_what_is_refused_is_answered_with_a_problem_document(
    connection: Connection, echo: Echo
) -> None:
    async with (
        serving(connection, [echo]) as gateway,
        gateway.http.post("/echo/refused", data=b"") as response,
    ):
        assert (response.status, response.content_type) == (403, "application/problem+json")
        assert await response.json(content_type=None) == {
            "type": "urn:heed:problem:NotYours",
            "title": "Forbidden",
            "status": 403,
            "detail": "ask for it",
            "code": "NotYours",
            "attribute": "type",
        }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/nowhere", 404), ("GET", "/echo/x", 405), ("POST", "/echo/broken", 500)],
)
async def test_so_is_what_nothing_answers(
    connection: Connection, echo: Echo, method: str, path: str, status: int
) -> None:
    async with serving(connection, [echo]) as gateway, gateway.http.request(method, path) as response:
        problem = await response.json(content_type="application/problem+json")
        assert (response.status, problem["status"]) == (status, status)
        assert "secret" not in str(problem)
        assert response.headers.get("Allow") == ("POST" if status == 405 else None)


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_beyond_the_limit_is_refused(
    connection: Connection, echo: Echo, announced: bool
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * LIMIT
        yield b"x"

    async with serving(connection, [echo]) as gateway:
        echo.context = gateway.context
        body = b"x" * (LIMIT + 1) if announced else pieces()
        async with gateway.http.post("/echo/x", data=body) as response:
            problem = await response.json(content_type=None)
            assert (response.status, problem["code"], problem["maxBytes"]) == (413, "TooLarge", LIMIT)
        assert gateway.context.bodies.held == 0


async def test_bodies_share_a_memory(connection: Connection, echo: Echo) -> None:
    async with serving(connection, [echo], body_memory=LIMIT - 1) as gateway:
        echo.context = gateway.context
        async with gateway.http.post("/echo/x", data=b"x" * LIMIT) as response:
            problem = await response.json(content_type=None)
            assert (response.status, problem["code"]) == (503, "Overloaded")
            assert response.headers["Retry-After"] == "2"
        async with gateway.http.post("/echo/x", data=b"x" * (LIMIT - 1)) as response:
            assert response.status == 200


async def test_strangers_have_a_half_of_it(connection: Connection, echo: Echo) -> None:
    async with serving(connection, [echo], body_memory=LIMIT, body_timeout=60) as gateway:
        echo.context, bodies = gateway.context, gateway.context.bodies
        # Given strangers whose bodies take their half, and do not end
        _, writer = await asyncio.open_connection(*gateway.address)
        head = f"POST /echo/stranger HTTP/1.1\r\nHost: x\r\nContent-Length: {LIMIT}\r\n\r\n".encode()
        writer.write(head + b"x" * (LIMIT // 2))
        await until(lambda: bodies.held == LIMIT // 2)

        # Then another one is put off, and who is known is not
        async with gateway.http.post("/echo/stranger", data=b"x") as response:
            assert (response.status, (await response.json(content_type=None))["code"]) == (503, "Overloaded")
        async with gateway.http.post("/echo/x", data=b"x" * (LIMIT // 2)) as response:
            assert response.status == 200
        async with gateway.http.post("/echo/x", data=b"x" * (LIMIT // 2 + 1)) as response:
            assert response.status == 503

        # And once they are gone there is room again
        writer.close()
        await until(lambda: bodies.held == 0)
        async with gateway.http.post("/echo/stranger", data=b"x" * (LIMIT // 2)) as response:
            assert response.status == 200


async def test_an_encoded_body_is_not_read(connection: Connection, echo: Echo) -> None:
    async with serving(connection, [echo]) as gateway:
        echo.context = gateway.context
        headers = {"Content-Encoding": "gzip"}
        async with gateway.http.post("/echo/x", data=b"x", headers=headers) as response:
            assert (response.status, (await response.json(content_type=None))["code"]) == (
                415,
                "ContentEncoding",
            )


async def test_a_gateway_is_ready_when_all_of_its_parts_are(connection: Connection, echo: Echo) -> None:
    async with serving(connection, [echo]) as gateway:
        gateway.health.connection = connection
        assert gateway.health.missing() is None
        echo.obstacle = "no echo"
        assert gateway.health.missing() == "no echo"
        gateway.health.draining = True
        assert gateway.health.missing() == "stopping; no echo"


async def test_work_that_ended_by_mistake_asks_for_a_restart(
    connection: Connection, echo: Echo, unused_tcp_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def break_down() -> None:
        raise KeyError("a bug")

    settings = Settings(health_port=unused_tcp_port, metrics_port=0)
    health = GatewayHealth()
    health.parts = [echo]
    async with serve_gateway_probes(settings, health, GatewayMetrics()), aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{unused_tcp_port}/healthz"
        lasting = echo.lasting.begin(asyncio.Event().wait())  # type: ignore[arg-type]
        async with http.get(url) as response:
            assert (response.status, await response.text()) == (200, "ok\n")
        await stop(lasting)
        async with http.get(url) as response:
            assert response.status == 200  # it was told to end
        await asyncio.wait({echo.lasting.begin(break_down())})
        async with http.get(url) as response:
            assert (response.status, await response.text()) == (503, "echoes ended: KeyError('a bug')\n")
    assert "a part of the gateway has ended" in caplog.messages


async def test_requests_are_counted_by_route_and_code(connection: Connection, echo: Echo) -> None:
    async with serving(connection, [echo]) as gateway:
        for path in ("/echo/refused", "/echo/refused", "/nowhere"):
            async with gateway.http.post(path):
                pass
        page = (await gateway.context.metrics.page(""))[0].decode()

    assert 'heed_gateway_requests_total{code="403",route="/echo/{name}"} 2.0' in page
    assert 'heed_gateway_requests_total{code="404",route="none"} 1.0' in page
