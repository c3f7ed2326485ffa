"""A gateway as a process of its own, as in `heed dev` but without Agents; run as a program, this is that process."""

import asyncio
import json
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from heed.bus.client.connection import connect
from heed.gateway.local import serve_local_gateway
from heed.settings import Settings
from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[3]


class GatewayProcess:
    """The process. `port` is where it listens, also when it is started again."""

    def __init__(self, nats_url: str, **settings: str) -> None:
        self.port = 0
        self._environment = {
            **os.environ,
            "HEED_NATS_URL": nats_url,
            "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}",
            **settings,
        }
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, str(self.port), env=self._environment, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.port = json.loads(await self._process.stdout.readline())

    async def kill(self) -> None:
        """End it as a crash would."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """End it in good order."""
        await self._end(signal.SIGTERM)

    async def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            await asyncio.wait_for(self._process.wait(), PATIENCE)
            self._process = None


async def main(port: int) -> None:
    """Serve until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    settings = Settings.from_environment()
    async with AsyncExitStack() as closing:
        connection = await connect(settings, "gateway", attempts=3)
        closing.push_async_callback(connection.close)
        serving = serve_local_gateway(settings, connection, ("127.0.0.1", port), (), tuple)
        _, listens = await closing.enter_async_context(serving)
        print(listens, flush=True)
        await stopping.wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
