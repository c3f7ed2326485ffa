"""A small HTTP server beside the work, with TLS where asked for: probes, metrics and the admission webhook."""

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from heed.errors import InvalidSettings

MAX_BODY_BYTES: Final = 64 * 1024
SHUTDOWN_TIMEOUT_S: Final = 2.0  # seconds that a request under way has left when the server ends


@asynccontextmanager
async def serving(
    port: int,
    routes: Sequence[web.RouteDef],
    *,
    variable: str,
    what: str,
    host: str | None = None,
    tls: ssl.SSLContext | None = None,
    body: int = MAX_BODY_BYTES,
) -> AsyncIterator[None]:
    """Serve `what` on a port (0: do not), which `variable` sets. Raises InvalidSettings where it is taken.

    `body` is the most bytes of a request's body. A handler is cancelled when its client goes away.
    """
    if not port:
        yield
        return
    application = web.Application(client_max_size=body)
    application.add_routes(routes)
    runner = web.AppRunner(
        application, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_TIMEOUT_S
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, ssl_context=tls).start()
        except OSError as error:
            reason = error.strerror or error
            raise InvalidSettings(
                f"{variable}={port}: {reason}; choose a free port, or 0 for no {what}"
            ) from None
        yield
    finally:
        await runner.cleanup()
