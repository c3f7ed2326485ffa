"""What a part of the gateway is: routes, and work beside them. And what all parts share."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from heed.api.agent import AgentMetadata
from heed.bus.client.connection import Connection
from heed.bus.jetstream import JetStreamBus
from heed.gateway.bodies import BodyReader
from heed.gateway.metrics import GatewayMetrics
from heed.gateway.publisher import StreamPublisher
from heed.gateway.rate_limiter import RateLimiter
from heed.kube.client.client import KubeApi
from heed.settings import Settings

log = logging.getLogger("heed.gateway")


@dataclass(frozen=True, slots=True)
class GatewayContext:
    """What the parts of a gateway share. Without an API server (`heed dev`) resources are in the files `manifests`."""

    settings: Settings
    connection: Connection
    bus: JetStreamBus
    publisher: StreamPublisher
    bodies: BodyReader
    limiter: RateLimiter  # of events, by sender
    metrics: GatewayMetrics
    api: KubeApi | None = None
    manifests: Sequence[Path] = ()
    local_agents: Callable[[], Iterable[AgentMetadata]] = tuple  # those that run in `heed dev`


class GatewayPart:
    """A part of the gateway; each overrides the hooks that it needs. Handlers raise RequestRefused."""

    def routes(self) -> Iterable[web.RouteDef]:
        """Its routes."""
        return ()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do its work beside the routes, while the context lasts: entered before any request, left after the last."""
        yield

    def missing(self) -> str | None:
        """Why the gateway cannot take requests yet for this part, or None: what /readyz says."""
        return None

    def broken(self) -> str | None:
        """Why only a restart helps, or None: what /healthz says."""
        return None


class LastingWork:
    """A task that is not to end before it is cancelled. `error` says why it did, which is a mistake of Heed's."""

    def __init__(self, name: str) -> None:
        self.error: str | None = None
        self._name = name

    def begin(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Begin it."""
        task = asyncio.create_task(work, name=self._name)
        task.add_done_callback(self._note_end)
        return task

    def _note_end(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            error = task.exception()
            self.error = f"{self._name} ended: {error!r}"
            log.error(
                "a part of the gateway has ended",
                extra={"part": self._name, "error": repr(error)},
                exc_info=error,
            )
