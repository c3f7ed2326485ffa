"""Calls of an Agent under `heed dev`, made in its own process, with the Secrets among the manifests."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from heed.bus.client.connection import Connection
from heed.core.compiler.program import Program
from heed.core.tasks.kinds import CALL_KINDS
from heed.local.secrets import ManifestSecrets
from heed.util.aio import stop
from heed.worker.call_items import CallWorker

DRAIN_GRACE_S: Final = 2.0  # for calls under way when it stops; others are looked at by the next life


class LocalCaller:
    """Makes the calls of one Agent until it is closed."""

    def __init__(self, program: Program, connection: Connection, paths: Sequence[Path]) -> None:
        agent, self._stopping = program.agent, asyncio.Event()
        secrets = ManifestSecrets(paths, agent.namespace)
        worker = CallWorker(connection, agent.namespace, agent.name, secrets)
        self._task = asyncio.create_task(worker.run(self._stopping), name=f"calls of {agent}")

    async def close(self) -> None:
        """End it; what it has begun is finished, for DRAIN_GRACE_S at most."""
        self._stopping.set()
        await asyncio.wait({self._task}, timeout=DRAIN_GRACE_S)
        await stop(self._task)


def makes_calls(program: Program) -> bool:
    """Whether an Agent has tasks that are calls."""
    return any(task.kind in CALL_KINDS for task in program.tasks.values())
