"""A gateway in a process of its own, without a cluster: `python -m tests.integration.gateway.process URL FOLDER`."""

import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from heed.bus.client.connection import connect
from heed.gateway.manager import make_context, open_gateway
from heed.gateway.metrics import GatewayMetrics
from heed.gateway.probes import GatewayHealth
from heed.settings import GatewaySettings, Settings


async def main(url: str, folder: str) -> None:
    """Serve the manifests of a folder until killed; says `serving` once it does."""
    settings = Settings(nats_url=url, gateway=replace(GatewaySettings(), port=0))
    async with AsyncExitStack() as closing:
        connection = await connect(settings, "gateway")
        context = make_context(settings, connection, GatewayMetrics(), manifests=[Path(folder)])
        await open_gateway(context, GatewayHealth(), closing, host="127.0.0.1")
        print("serving", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
