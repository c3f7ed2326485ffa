"""The worker's side of function tasks, as far as it needs no broker."""

import asyncio
from contextlib import suppress

from heed.bus.client.connection import Connection
from heed.sdk.agent import Agent
from heed.sdk.injection import Resources
from heed.settings import Settings
from heed.worker.functions import FunctionWorker
from tests.patience import PATIENCE

agent = Agent("researcher")


@agent.task()
async def research(topic: str) -> str:
    return topic


class HardOfHearing(FunctionWorker):
    """One whose first cancellation is lost, as `asyncio.wait_for` loses one that comes with its result."""

    def __init__(self) -> None:
        super().__init__(agent, Connection(Settings(), "worker"), "demo", Resources())
        self.lost = False

    async def _take(self) -> None:
        if self.lost:
            await asyncio.Event().wait()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        self.lost = True


async def test_a_worker_that_is_told_to_stop_stops_although_a_cancellation_was_lost() -> None:
    worker, stopping = HardOfHearing(), asyncio.Event()
    running = asyncio.create_task(worker.run(stopping))
    await asyncio.sleep(0)

    stopping.set()

    await asyncio.wait_for(running, PATIENCE)
    assert worker.lost
