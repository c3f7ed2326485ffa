"""Probes: /healthz says that the process serves, /readyz that it watches the cluster and is connected to NATS."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from heed.errors import InvalidSettings


@asynccontextmanager
async def serving_health(port: int, ready: Callable[[], str | None]) -> AsyncIterator[None]:
    """Serve the probes on a port (0: do not). `ready` gives what is missing, or None."""
    if not port:
        yield
        return

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        missing = ready()
        return web.Response(text=f"{missing or 'ok'}\n", status=503 if missing else 200)

    application = web.Application()
    application.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, port=port).start()
        except OSError as error:
            message = (
                f"HEED_HEALTH_PORT={port}: {error.strerror or error}; choose a free port, or 0 for no probes"
            )
            raise InvalidSettings(message) from None
        yield
    finally:
        await runner.cleanup()
