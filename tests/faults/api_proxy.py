"""A reverse proxy of the API server that answers as a troubled one does: errors by a seeded dice, watches cut at will.

The client talks plain HTTP to it and brings its own bearer token; what goes on to the API server is TLS. Errors come in
two sorts, and a client cannot tell which of them it has met:

    refused   409, 429, 500, 504: the API server never saw the request
    done      done-504, done-cut, done-silent: the API server did it, and the client hears something else, or nothing

Creates of Jobs and Secrets are refused besides as refusals.py says: also while they are there, whatever the rate.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections import Counter
from pathlib import Path
from types import TracebackType

import aiohttp
from aiohttp import web
from yarl import URL

from tests.faults import refusals

WEIGHTS = {"409": 6, "429": 6, "500": 6, "504": 6, "done-504": 6, "done-cut": 6, "done-silent": 1}
REASONS = {"409": "Conflict", "429": "TooManyRequests", "500": "InternalError", "504": "Timeout"}
SILENCE = 60.0  # seconds; clients that want an answer give up long before
MAX_BODY = 16 * 1024**2
NOT_PASSED_ON = frozenset(("host", "connection", "keep-alive", "transfer-encoding", "content-length"))


class ApiProxy:
    """In front of one API server; use as an async context manager. `rate` is the share of requests that go wrong."""

    def __init__(self, server: str, authority: Path, seed: int, rate: float = 0.0) -> None:
        self.rate = rate
        self.requests = 0
        self.errors: Counter[str] = Counter()
        self.refuses_existing = False
        """Whether creates of what is there are refused before their names are looked up."""
        self.watches_cut = 0
        self._server, self._authority = server, authority
        self._seed, self._dice = seed, random.Random(seed)
        self._watches: set[asyncio.Transport] = set()
        self._port = 0

    @property
    def port(self) -> int:
        """Where clients connect to, without TLS."""
        return self._port

    @property
    def watches(self) -> int:
        """How many are open now."""
        return len(self._watches)

    async def __aenter__(self) -> ApiProxy:
        context = ssl.create_default_context(cafile=str(self._authority))
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        )
        application = web.Application(client_max_size=MAX_BODY)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut_watches()
        await self._runner.cleanup()
        await self._session.close()

    def cut_watches(self) -> int:
        """Break all watch streams; returns how many there were."""
        watches = list(self._watches)
        for transport in watches:
            transport.abort()
        self.watches_cut += len(watches)
        return len(watches)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        wrong = self._draw(request)
        if wrong in REASONS:
            return _refusal(wrong)
        body = await request.read()
        url = URL(self._server + request.raw_path, encoded=True)
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in NOT_PASSED_ON
        }
        try:
            if (refused := await self._refused(request, url, headers, body)) is not None:
                return refused
            async with self._session.request(
                request.method, url, headers=headers, data=body or None, allow_redirects=False
            ) as answer:
                if _is_watch(request):
                    return await self._stream(request, answer)
                content = await answer.read()
        except (aiohttp.ClientError, OSError):
            return _broken(request)  # the API server is away: to the client, a connection that breaks
        if wrong is None:
            return web.Response(status=answer.status, body=content, headers=_passed_on(answer))
        return await _hide(request, wrong)

    async def _refused(
        self, request: web.Request, url: URL, headers: dict[str, str], body: bytes
    ) -> web.Response | None:
        """A refusal of a create, before the name is looked up."""
        create = refusals.create_of(request.method, request.path, body) if self.refuses_existing else None
        if create is None:
            return None
        async with self._session.post(url % {"dryRun": "All"}, headers=headers, data=body) as answer:
            there = answer.status == 409
        refused = refusals.refusal_of(self._seed, create) if there else None
        if not there and self._dice.random() < self.rate:
            refused = 403, refusals.full(create)
        if refused is None:
            return None
        self.errors[f"{create.resource} refused{' though there' if there else ''}"] += 1
        return web.json_response(refusals.status(*refused), status=refused[0])

    def _draw(self, request: web.Request) -> str | None:
        """What goes wrong with this request, if anything does. What only writes can meet happens to writes only."""
        if self._dice.random() >= self.rate:
            return None
        kinds = dict(WEIGHTS)
        if request.method == "GET":
            del kinds["409"]
        if _is_watch(request):
            kinds = {kind: weight for kind, weight in kinds.items() if kind in REASONS}
        (wrong,) = self._dice.choices(list(kinds), list(kinds.values()))
        self.errors[wrong] += 1
        return wrong

    async def _stream(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=_passed_on(answer))
        await response.prepare(request)
        transport = request.transport
        if transport is None:
            return response
        self._watches.add(transport)
        try:
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response
        finally:
            self._watches.discard(transport)


async def _hide(request: web.Request, wrong: str) -> web.StreamResponse:
    """Whatever the API server said, say something else."""
    if wrong == "done-504":
        return _refusal("504")
    if wrong == "done-silent":
        await asyncio.sleep(SILENCE)
    return _broken(request)


def _refusal(code: str) -> web.Response:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": int(code),
        "reason": REASONS[code],
        "message": f"the fault rig says {code}",
    }
    headers = {"Retry-After": "1"} if code == "429" else {}
    return web.Response(
        status=int(code), body=json.dumps(body), content_type="application/json", headers=headers
    )


def _broken(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)  # nobody is there to read it


def _passed_on(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.lower() not in NOT_PASSED_ON}


def _is_watch(request: web.Request) -> bool:
    return request.query.get("watch", "").lower() in ("1", "true")
