"""The service that the courier calls: it serves, and keeps what it has served; what else it does is chance.

Started with a seed, in the process of the storm, on loopback.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.faults.courier import FIRST_BYTE_S, REFUSED, Served

BUSY, CUT, LATE = 0.15, 0.12, 0.08  # shares of the calls


class CallService:
    """Serves each call once for its key, or as often as it comes without one."""

    def __init__(self, seed: int) -> None:
        self.port = 0
        self.served: list[Served] = []
        self.figures: Counter[str] = Counter()
        self.troubled = True
        self._dice = random.Random(f"call service {seed}")
        self._answers: dict[str, dict[str, Any]] = {}  # by key

    async def call(self, request: web.Request) -> web.StreamResponse:
        """A call; its effect is there before its answer is."""
        self.figures["calls received"] += 1
        asked, luck = await request.json(), self._dice.random() if self.troubled else 1.0
        if luck < BUSY:
            self.figures["calls answered busy"] += 1
            return web.Response(status=503, headers={"Retry-After": "1"})
        if asked["play"] == "fail":
            return web.Response(status=REFUSED)
        answer = self._serve(asked, request.headers.get("Idempotency-Key"))
        if luck < BUSY + CUT:
            self.figures["calls cut off once served"] += 1
            assert request.transport is not None
            request.transport.abort()
        elif luck < BUSY + CUT + LATE:
            self.figures["calls answered late"] += 1
            await asyncio.sleep(2 * FIRST_BYTE_S)
        return web.json_response(answer, status=201)

    async def look(self, request: web.Request) -> web.Response:
        """What became of a task's call."""
        self.figures["calls asked after"] += 1
        task_id = request.match_info["task"]
        found = [call.answer for call in self.served if call.task_id == task_id]
        return web.json_response(found[0]) if found else web.Response(status=404)

    def _serve(self, asked: dict[str, Any], key: str | None) -> dict[str, Any]:
        if key is not None and key in self._answers:
            self.figures["calls known by their key"] += 1
            return self._answers[key]
        answer = {"value": asked["value"], "number": len(self.served)}
        self.served.append(Served(asked["task"], answer))
        self.figures["calls served"] += 1
        if key is not None:
            self._answers[key] = answer
        return answer


@asynccontextmanager
async def serving_calls(seed: int) -> AsyncIterator[CallService]:
    """The service, on a free port."""
    service = CallService(seed)
    application = web.Application()
    application.router.add_post("/{kind:keyed|once|asked}", service.call)
    application.router.add_get("/served/{task}", service.look)
    runner = web.AppRunner(application, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        service.port = runner.addresses[0][1]
        yield service
    finally:
        await runner.cleanup()
