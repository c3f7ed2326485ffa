"""The real operator with a death wish: SIGKILL to itself at a named point of the loop. `dying_operator.py POINT`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from unittest.mock import patch

from heed.core.decision.decide import Decision
from heed.core.effects import AgentRef, Effect
from heed.core.ledger.ledger import Ledger
from heed.engine.observer import LogObserver
from heed.kube import manager
from heed.kube.client.client import ApiResponse
from heed.kube.leader.fencing import FencedKubeApi
from heed.kube.manager import run_operator
from heed.logging import configure_logging
from heed.settings import Settings


class Dying(LogObserver):
    """Watches the loop, which tells it of commits before it acts on them and of effects before it commits them."""

    def __init__(self, point: str) -> None:
        self._point = point

    def committed(self, agent: AgentRef, decisions: Sequence[Decision], ledger: Ledger) -> None:
        super().committed(agent, decisions, ledger)
        if self._point == "before-effects" and any(decision.effects for decision in decisions):
            _die()

    def performed(self, agent: AgentRef, effect: Effect) -> None:
        super().performed(agent, effect)
        if self._point == f"after-{type(effect).__name__}":
            _die()


class Faltering(FencedKubeApi):
    """Dies around the requests that give a Job its credentials."""

    point = ""

    async def create(self, path: str, body: Mapping[str, Any]) -> ApiResponse:
        if self.point == "before-secret" and path.endswith("/secrets"):
            _die()
        answer = await super().create(path, body)
        if self.point == "after-secret" and path.endswith("/secrets"):
            _die()
        return answer

    async def merge(self, path: str, patch: Mapping[str, Any]) -> ApiResponse:
        answer = await super().merge(path, patch)
        if self.point == "after-release" and "/jobs/" in path:
            _die()
        return answer


def _die() -> None:
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    settings = Settings.from_environment()
    configure_logging("text", settings.log_level)
    Faltering.point = sys.argv[1]
    with patch.object(manager, "FencedKubeApi", Faltering):
        asyncio.run(run_operator(settings, Dying(sys.argv[1])))
