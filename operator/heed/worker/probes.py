"""The probes of a worker: /healthz says that it runs, /readyz that it is asked for the code it has."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from heed.util.http_server import serving


@asynccontextmanager
async def serve_probes(port: int, missing: Callable[[], str | None]) -> AsyncIterator[None]:
    """Serve the probes on a port (0: do not). `missing` says why it is not ready. Raises InvalidSettings."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        wrong = missing()
        return web.Response(text=f"{wrong or 'ready'}\n", status=503 if wrong else 200)

    routes = [web.get("/healthz", healthz), web.get("/readyz", readyz)]
    async with serving(port, routes, variable="HEED_WORKER_HEALTH_PORT", what="probes"):
        yield
