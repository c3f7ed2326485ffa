"""Agents in Python for the benchmark, and the same ones as manifests.

`python -m tests.bench.coded NAME…` is the worker of all that are named, in one process and on one connection.
"""

import asyncio
import signal
import sys
from typing import Any

from heed import names
from heed.bus.client.connection import connect
from heed.sdk import Agent, Event, State
from heed.sdk.manifest import build_agent
from heed.settings import Settings
from heed.worker.process import Worker

NAMESPACE = "default"


class Count(State):
    """What a session counts."""

    seen: int = 0
    last: int = 0


def type_of(name: str) -> str:
    """The type of events that the Agent of this name heeds."""
    return f"com.example.bench.{name}"


def make_agent(name: str) -> Agent:
    """The Agent in Python: it counts the events of a session."""

    class Ordered(Event, type=type_of(name)):
        kind: str
        amount: int

    agent = Agent(name, namespace=NAMESPACE, state=Count)

    @agent.on(Ordered)
    def count(event: Ordered, state: Count) -> State | None:
        if event.kind != "order":
            return None
        return state.set(seen=state.seen + 1, last=event.amount)

    return agent


def in_python(name: str) -> dict[str, Any]:
    """The manifest of the Agent in Python."""
    return dict(build_agent(make_agent(name)))


def in_cel(name: str) -> dict[str, Any]:
    """The manifest of an Agent that does the same with expressions."""
    handler = {
        "name": "count",
        "type": type_of(name),
        "when": 'event.data.kind == "order"',
        "state": {"seen": "${state.?seen.orValue(0) + 1}", "last": "${event.data.amount}"},
    }
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"subscribe": [{"type": type_of(name)}], "handlers": [handler]},
    }


async def work(agents: list[str]) -> None:
    """Answer for these Agents until SIGTERM; a line on standard output says that all are ready to."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    connection = await connect(Settings.from_environment(), "bench workers", attempts=3)
    workers = [Worker(make_agent(name), connection, NAMESPACE) for name in agents]
    running = asyncio.gather(*(worker.run(stopping) for worker in workers))
    await asyncio.sleep(0)  # for all to begin to subscribe
    await connection.client.flush()
    print("ready", flush=True)
    await running
    await connection.close()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1:]))
