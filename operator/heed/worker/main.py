"""What the worker's process does, from its command line to its end.

`describe` prints the manifests of a file as JSON lines, for those who want to run it; `run` answers for one Agent.
"""

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from heed.bus.client.connection import connect
from heed.sdk.agent import Agent
from heed.sdk.manifest import build_agent
from heed.settings import Settings
from heed.worker.module import ModuleMistake, load_agents
from heed.worker.process import Worker


def main() -> None:
    """Run it; exits with 1 where the file is wrong."""
    parser = argparse.ArgumentParser(prog="heed worker")
    parser.add_argument("file", type=Path)
    parser.add_argument("--describe", action="store_true")
    parser.add_argument("--agent")
    parser.add_argument("--namespace", default="default")
    given = parser.parse_args()
    try:
        agents = load_agents(given.file)
    except ModuleMistake as mistake:
        print(json.dumps({"place": mistake.place, "message": mistake.message}))
        sys.exit(1)
    if given.describe:
        print(json.dumps([build_agent(agent) for agent in agents]))
        return
    agent = next(item for item in agents if given.agent in (None, item.name))
    asyncio.run(run_worker(agent, given.namespace, Settings.from_environment()))


async def run_worker(agent: Agent, namespace: str, settings: Settings) -> None:
    """Run an Agent's code until SIGTERM or SIGINT. Raises InvalidSettings."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    connection = await connect(settings, f"heed worker {namespace}/{agent.name}")
    try:
        await Worker(agent, connection, namespace).run(stopping)
    finally:
        await connection.close()
