"""What the worker's process does, from its command line to its end.

`--describe` prints the manifests of a module's Agents as JSON, for those who want to run them without importing it.
"""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from heed import names
from heed.bus.client.connection import Connection, connect
from heed.errors import InvalidManifest, InvalidSettings
from heed.sdk.agent import Agent
from heed.sdk.loading import load_agent, load_agents
from heed.sdk.manifest import code_digest
from heed.sdk.manifest_places import code_manifests
from heed.sdk.places import show_path
from heed.settings import Settings
from heed.util.aio import unless
from heed.util.http_server import serving
from heed.util.probes import probe_routes
from heed.worker.options import WorkerOptions
from heed.worker.process import Worker, make_caller


def main() -> None:
    """Run it; exits with 1 where the module is wrong, and says so in JSON."""
    parser = argparse.ArgumentParser(prog="heed worker")
    parser.add_argument("module")
    parser.add_argument("--describe", action="store_true")
    parser.add_argument("--namespace", default="default")
    given = parser.parse_args()
    try:
        if given.describe:
            agents = load_agents(given.module)
            print(json.dumps([item for agent in agents for item in describe(agent)]))
            return
        agent = load_agent(given.module)
    except InvalidManifest as error:
        problem = error.problems[0]
        print(json.dumps({"path": problem.path, "message": problem.message, "remedy": problem.remedy}))
        sys.exit(1)
    asyncio.run(run_worker(agent, given.namespace, Settings.from_environment()))


def describe(agent: Agent) -> Iterator[Mapping[str, Any]]:
    """The manifests of an Agent and its event types, with the lines of their fields: {document, lines}."""
    for manifest in code_manifests(agent, show_path(agent.place.file)):
        spec = manifest.document["spec"]
        paths = ["", *(f"spec.handlers[{index}]" for index in range(len(spec.get("handlers", []))))]
        paths += [f"spec.{kind}.{name}" for kind in ("tasks", "timers") for name in spec.get(kind, {})]
        yield {"document": manifest.document, "lines": {path: manifest.line_of(path) for path in paths}}


async def run_worker(
    agent: Agent, namespace: str, settings: Settings, options: WorkerOptions | None = None
) -> None:
    """Run an Agent's code until SIGTERM or SIGINT. Raises InvalidSettings, also where it is not the code asked for."""
    options = options or WorkerOptions()
    if options.digest is not None and options.digest != (own := code_digest(agent)):
        remedy = "build the image of the code that the manifest was built of, or the manifest again"
        raise InvalidSettings(f"HEED_WORKER_DIGEST={options.digest}: this is the code {own}; {remedy}")
    async with _connected(namespace, agent.name, settings) as (connection, stopping):
        if connection is not None:
            worker = Worker(agent, connection, namespace, options)
            async with _probed(worker.missing, options):
                await worker.run(stopping)


async def run_caller(
    agent: str, namespace: str, settings: Settings, options: WorkerOptions | None = None
) -> None:
    """Make an Agent's calls, and run none of its code, until SIGTERM or SIGINT. Raises InvalidSettings."""
    options = options or WorkerOptions()
    async with _connected(namespace, agent, settings) as (connection, stopping):
        if connection is not None:
            caller = make_caller(connection, namespace, agent, options)
            async with _probed(lambda: None if connection.is_connected else "not connected to NATS", options):
                await caller.run(stopping)


@asynccontextmanager
async def _connected(
    namespace: str, agent: str, settings: Settings
) -> AsyncIterator[tuple[Connection | None, asyncio.Event]]:
    """A connection to the broker, and what SIGTERM and SIGINT set; None where that comes first."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    inbox = names.worker_inbox(namespace, agent)
    name = f"heed worker {namespace}/{agent}"
    connection = await unless(stopping, asyncio.create_task(connect(settings, name, inbox_prefix=inbox)))
    try:
        yield connection, stopping
    finally:
        if connection is not None:
            await connection.close()


def _probed(missing: Callable[[], str | None], options: WorkerOptions) -> AbstractAsyncContextManager[None]:
    """The worker's probes, while it runs."""
    routes = probe_routes(missing, ready=lambda: "ready")
    return serving(options.health_port, routes, variable="HEED_WORKER_HEALTH_PORT", what="probes")
