"""The proxy of the API server, in front of a server that remembers what it was asked."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import aiohttp.test_utils
import pytest
from aiohttp import web

from tests.faults.api_proxy import REASONS, ApiProxy
from tests.integration.waiting import until
from tests.patience import PATIENCE


class Upstream:
    """Plays the API server: remembers writes, and has one watch that never ends."""

    def __init__(self) -> None:
        self.writes: list[str] = []
        self.authorizations: set[str] = set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.authorizations.add(request.headers.get("Authorization", ""))
        if "watch" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b'{"type":"ADDED"}\n')
            await asyncio.Event().wait()
        if request.method != "GET":
            self.writes.append(f"{request.method} {request.raw_path} {(await request.text())}")
        return web.json_response({"path": request.raw_path}, status=201)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate, its key beside it."""
    made = tmp_path / "server.crt"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost"
    names = [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(made.with_suffix(".key")),
        "-out",
        str(made),
    ]
    try:
        subprocess.run([*command.split(), *names], check=True, capture_output=True)
    except FileNotFoundError:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no openssl to make a certificate with")
    return made


@pytest.fixture
async def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def proxy(upstream: Upstream, certificate: Path) -> AsyncIterator[ApiProxy]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", upstream.answer)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    async with ApiProxy(f"https://127.0.0.1:{runner.addresses[0][1]}", certificate, seed=1) as proxy:
        yield proxy
    await runner.cleanup()


@pytest.fixture
async def client(proxy: ApiProxy) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    base = f"http://127.0.0.1:{proxy.port}"
    headers = {"Authorization": "Bearer secret"}
    async with aiohttp.ClientSession(base, timeout=timeout, headers=headers) as client:
        yield client


async def test_a_request_goes_through_as_it_is(
    proxy: ApiProxy, upstream: Upstream, client: aiohttp.ClientSession
) -> None:
    async with client.patch("/apis/x%2Fy?a=%20b", data=b'{"a": 1}') as answer:
        assert answer.status == 201
        assert await answer.json() == {"path": "/apis/x%2Fy?a=%20b"}
    assert upstream.writes == ['PATCH /apis/x%2Fy?a=%20b {"a": 1}']
    assert upstream.authorizations == {"Bearer secret"}


async def status_of(number: int, proxy: ApiProxy, upstream: Upstream, client: aiohttp.ClientSession) -> str:
    """The status of the answer to a write; `silent` where it was done and nothing came. Raises ClientError."""
    silent, done = proxy.errors["done-silent"] + 1, len(upstream.writes) + 1

    async def ask() -> str:
        async with client.post(f"/{number}", data=b"x") as answer:
            assert (await answer.json())["reason"] == REASONS[str(answer.status)]
            assert (answer.status == 429) == ("Retry-After" in answer.headers)
            return str(answer.status)

    def is_silent() -> bool:
        return proxy.errors["done-silent"] == silent and len(upstream.writes) == done

    asking = asyncio.create_task(ask())
    await until(lambda: asking.done() or is_silent())
    await asyncio.wait({asking}, timeout=0.2)
    if asking.done():
        return await asking
    asking.cancel()
    await asyncio.wait({asking})
    return "silent"


async def test_what_is_refused_never_happened_and_what_is_hidden_did(
    proxy: ApiProxy, upstream: Upstream, client: aiohttp.ClientSession
) -> None:
    proxy.rate = 1.0
    heard: Counter[str] = Counter()
    for number in range(200):
        try:
            heard[await status_of(number, proxy, upstream, client)] += 1
        except aiohttp.ClientError:
            heard["cut"] += 1
    errors = proxy.errors
    done = errors["done-504"] + errors["done-cut"] + errors["done-silent"]
    assert len(upstream.writes) == done > 50
    assert heard == {
        **{code: errors[code] for code in ("409", "429", "500")},
        "504": errors["504"] + errors["done-504"],
        "cut": errors["done-cut"],
        "silent": errors["done-silent"],
    }
    assert all(heard.values())


async def test_the_rate_says_how_many_go_wrong_and_the_seed_which(certificate: Path) -> None:
    draws = []
    for _ in range(2):
        proxy = ApiProxy("https://127.0.0.1:1", certificate, seed=7, rate=0.05)
        request = aiohttp.test_utils.make_mocked_request("PUT", "/")
        draws.append([proxy._draw(request) for _ in range(4000)])
    assert draws[0] == draws[1]
    assert 140 < sum(draw is not None for draw in draws[0]) < 260


async def test_a_watch_streams_and_can_be_cut(proxy: ApiProxy, client: aiohttp.ClientSession) -> None:
    async with client.get("/pods?watch=true") as answer:
        assert await answer.content.readline() == b'{"type":"ADDED"}\n'
        assert proxy.watches == 1
        assert proxy.cut_watches() == 1
        with pytest.raises(aiohttp.ClientError):
            await answer.content.readline()
    assert proxy.watches_cut == 1


async def test_an_api_server_that_is_away_is_a_connection_that_breaks(certificate: Path) -> None:
    async with (
        ApiProxy("https://127.0.0.1:1", certificate, seed=1) as proxy,
        aiohttp.ClientSession() as client,
    ):
        with pytest.raises(aiohttp.ClientError):
            await client.get(f"http://127.0.0.1:{proxy.port}/x")
