"""The probes: /healthz is about this process alone, /readyz about all that it needs.

Liveness never speaks of the broker or the API server: a restart brings neither back. Readiness is the same for the
active replica and its standby, as either does what it is there for; the word says which one it is.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from heed.bus.client.connection import Connection
from heed.kube.leader.election import Leadership
from heed.kube.watch import ClusterWatch
from heed.util.http_server import serving
from heed.util.probes import probe_routes


class ProbeState:
    """The state behind the probes. `connection` is set once there is one; `obstacle` is what the leader waits for.

    `detail` tells of what is wrong for some Agents: no reason to be unready for the others.
    """

    def __init__(self, leadership: Leadership, watch: ClusterWatch) -> None:
        self._leadership, self._watch = leadership, watch
        self.connection: Connection | None = None
        self.obstacle: str | None = None
        self.detail: Callable[[], str | None] = lambda: None
        self.keyless: str | None = None  # why there are no keys for the broker, which comes before it
        self.concern: str | None = None  # what is wrong, and no reason to take it for unready

    def stuck(self) -> str | None:
        """Why this process needs a restart, or None."""
        return self._watch.stuck()

    def missing(self) -> str | None:
        """What is missing now, as a sentence, or None."""
        connected = self.connection is not None and self.connection.is_connected
        active = self._leadership.holds()
        wrong = (
            None if connected else self.keyless or "not connected to NATS",
            self._leadership.missing(),
            self.obstacle or self._watch.missing() if active else None,
        )
        return "; ".join(filter(None, wrong)) or None

    def role(self) -> str:
        """`active` or `standby`, with problems that do not affect readiness."""
        role = "active" if self._leadership.holds() else "standby"
        return "; ".join(filter(None, (role, self.concern, self.detail())))


@asynccontextmanager
async def serve_probes(port: int, health: ProbeState) -> AsyncIterator[None]:
    """Serve the probes on a port (0: do not). Raises InvalidSettings."""
    routes = probe_routes(
        lambda: health.stuck() or health.missing(), broken=lambda: health.stuck(), ready=health.role
    )
    async with serving(port, routes, variable="HEED_HEALTH_PORT", what="probes"):
        yield
