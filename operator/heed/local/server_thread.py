"""A local nats-server for callers without an event loop, such as tests: kept by a thread of its own."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

from heed.local.nats_server import LocalServer, run_local_server


@contextmanager
def serve_in_thread(folder: Path) -> Iterator[LocalServer]:
    """Run a server with its data in `folder`, on a free port of the loopback interface.

    The thread lives as long as the server: the kernel ends a child with the thread that started it. Raises
    InvalidSettings where there is no server or it does not start.
    """
    started: Future[LocalServer] = Future()
    loop, stopping = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        try:
            async with run_local_server(folder, port=None) as server:
                started.set_result(server)
                await stopping.wait()
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="nats-server")
    thread.start()
    try:
        yield started.result()
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()
