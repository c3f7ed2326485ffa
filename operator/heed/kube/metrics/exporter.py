"""The page /metrics of a replica, in Prometheus' format; docs/metrics.md says what each metric means.

What a scrape shows of Agents is read from the loops' memory at that moment, so a quiet Agent costs nothing in between,
and the series of one that is gone are gone with it. The page is made in a thread: for many Agents it takes a while.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from heed import __version__
from heed.bus.client.connection import Connection
from heed.bus.client.stream_rules import StreamFlaw
from heed.core.ledger.ledger import list_queued
from heed.engine.ports import StoredLedger
from heed.kube.leader.election import Leadership
from heed.kube.metrics.collector import AgentSnapshot, OperatorMetrics
from heed.kube.metrics.families import counter, gauge, histogram, tally
from heed.kube.metrics.instruments import Labels
from heed.util.clock import now
from heed.util.http_server import serving

EVENT_OUTCOMES: Final = (
    "handled",
    "ignored",
    "duplicates",
    "stale",
    "dead_lettered",
    "due",
    "retried",
    "turns",
)
AGENT_LABELS: Final = ("namespace", "agent")
METRIC_FAMILIES: Final = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}


class AgentSnapshots(Protocol):
    """The source of snapshots: the controller of the active replica."""

    def snapshots(self) -> Iterable[AgentSnapshot]:
        """One for each Agent, as it is now."""


class MetricsPage:
    """The /metrics page. `connection` and `agents` are set while the replica has them."""

    def __init__(self, metrics: OperatorMetrics, leadership: Leadership) -> None:
        self.connection: Connection | None = None
        self.agents: AgentSnapshots | None = None
        self.flaws: Sequence[StreamFlaw] = ()  # of the streams
        self._metrics, self._leadership = metrics, leadership
        self._sights: Sequence[AgentSnapshot] = ()
        self._turn = asyncio.Lock()
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    async def page(self, accept: str) -> tuple[bytes, str]:
        """The page and its content type, by the client's Accept header. All Agents are shown as of one moment."""
        encode, content_type = choose_encoder(accept)
        async with self._turn:
            self._sights = tuple(self.agents.snapshots()) if self.agents else ()
            try:
                return await asyncio.to_thread(encode, self.registry), content_type
            finally:
                self._sights = ()  # they hold whole ledgers

    def describe(self) -> Iterator[Metric]:
        """Every metric, without its series."""
        for metric in self.collect():
            metric.samples.clear()
            yield metric

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client; in any thread."""
        yield from self._of_the_replica()
        yield from self._of_the_work()
        yield from _of_agents(self._sights)

    def _of_the_replica(self) -> Iterator[Metric]:
        connection = self.connection
        connected = connection is not None and connection.is_connected
        errors = {(kind,): count for kind, count in dict(connection.errors if connection else ()).items()}
        yield gauge(
            "heed_build_info", "The version that runs, as a label", ("version",), [((__version__,), 1)]
        )
        yield gauge("heed_leader", "Whether this is the active replica", (), [((), self._leadership.holds())])
        yield gauge("heed_nats_connected", "Whether there is a connection to NATS", (), [((), connected)])
        yield counter("heed_nats_errors_total", "What went wrong with NATS, by kind", ("kind",), errors)
        flaws = Counter((flaw.stream, flaw.field) for flaw in self.flaws)
        help = "What makes a stream lose or refuse events, by field of its configuration"
        yield gauge("heed_stream_flaws", help, ("stream", "field"), flaws.items())
        requests = "Requests to the API server that were answered, or not (code none)"
        yield tally("heed_api_requests_total", requests, self._metrics.requests)
        answers = {(method,): answers for method, answers in self._metrics.answers.copy().items()}
        yield histogram(
            "heed_api_request_duration_seconds", "How long requests to it took", ("method",), answers
        )

    def _of_the_work(self) -> Iterator[Metric]:
        metrics = self._metrics
        yield histogram(
            "heed_decide_duration_seconds", "How long deciding an event took", (), {(): metrics.decide}
        )
        yield histogram(
            "heed_commit_duration_seconds", "How long writing a ledger took", (), {(): metrics.commit}
        )
        written = "Bytes of the Agents' objects that were written by commits"
        yield counter("heed_status_written_bytes_total", written, (), {(): metrics.written})
        yield tally("heed_effects_total", "Effects that were made", metrics.effects)
        yield tally("heed_tasks_ended_total", "Ends of tasks that were published, by reason", metrics.ends)
        yield tally("heed_dead_letters_total", "Events that could not be decided, by cause", metrics.letters)
        yield tally("heed_troubles_total", "What failed and was to be tried again", metrics.troubles)


def _of_agents(sights: Sequence[AgentSnapshot]) -> Iterator[Metric]:
    """The metrics of every Agent."""
    ready = Counter(sight.ready for sight in sights)
    yield gauge("heed_agents", "Agents by their condition Ready", ("ready", "reason"), ready.items())
    rows = [((sight.agent.namespace, sight.agent.name), sight.ready[0] == "True") for sight in sights]
    refused = "Agents whose status the API server refuses to take"
    yield gauge("heed_refused_statuses", refused, (), [((), sum(sight.refused for sight in sights))])
    yield gauge("heed_agent_ready", "Whether an Agent is Ready", AGENT_LABELS, rows)
    paused = [((sight.agent.namespace, sight.agent.name), sight.suspended) for sight in sights]
    yield gauge("heed_agent_suspended", "Whether an Agent is suspended", AGENT_LABELS, paused)
    limited = [((sight.agent.namespace, sight.agent.name), sight.limited) for sight in sights if sight.stored]
    yield gauge("heed_agent_rate_limited", "Whether spec.rateLimit holds events back", AGENT_LABELS, limited)
    stored = [
        ((sight.agent.namespace, sight.agent.name), sight.stored)
        for sight in sights
        if sight.stored is not None
    ]
    stuck = [((sight.agent.namespace, sight.agent.name), sight.stuck) for sight in sights if sight.stored]
    yield gauge("heed_stuck_tasks", "Started tasks none of whose pods gets to run", AGENT_LABELS, stuck)
    yield from _of_totals(stored)
    yield from _of_sizes(stored)
    yield from _of_lags(sights)


def _of_totals(rows: Sequence[tuple[Labels, StoredLedger]]) -> Iterator[Metric]:
    """What ledgers count. They go on where another replica left off."""
    totals = [(agent, stored.ledger.totals) for agent, stored in rows]
    events = {
        (*agent, outcome): getattr(total, outcome) for agent, total in totals for outcome in EVENT_OUTCOMES
    }
    yield counter("heed_events_total", "Decided events by outcome", (*AGENT_LABELS, "outcome"), events)
    ticks = {
        (*agent, outcome): getattr(total, f"ticks_{outcome}")
        for agent, total in totals
        for outcome in ("fired", "missed", "skipped")
    }
    yield counter("heed_ticks_total", "Ticks of timers by outcome", (*AGENT_LABELS, "outcome"), ticks)
    ended = {
        (*agent, outcome): getattr(total, f"tasks_{outcome}")
        for agent, total in totals
        for outcome in ("completed", "failed")
    }
    yield counter("heed_task_results_total", "Ends of pending tasks", (*AGENT_LABELS, "outcome"), ended)
    for name, field, help in (
        ("heed_events_emitted_total", "emitted", "Events that handlers emitted"),
        (
            "heed_events_expired_total",
            "expired",
            "Places of the stream dropped unread: at most so many events",
        ),
        ("heed_schema_warnings_total", "schema_warnings", "Events that broke an EventType in mode Warn"),
        ("heed_tasks_started_total", "tasks_started", "Tasks that handlers started"),
        ("heed_sessions_expired_total", "sessions_expired", "Sessions forgotten after their idle timeout"),
    ):
        yield counter(name, help, AGENT_LABELS, {agent: getattr(total, field) for agent, total in totals})


def _of_sizes(rows: Sequence[tuple[Labels, StoredLedger]]) -> Iterator[Metric]:
    """What is there now."""
    yield gauge(
        "heed_status_bytes",
        "Bytes of an Agent's whole object",
        AGENT_LABELS,
        [(agent, stored.size) for agent, stored in rows],
    )
    for name, field, help in (
        ("heed_sessions", "sessions", "Sessions that an Agent remembers"),
        ("heed_pending_tasks", "pending_tasks", "Tasks that an Agent waits for"),
        ("heed_waiting_events", "waiting", "Events that wait for room in the status"),
        ("heed_held_events", "held", "Events that a handler's `hold` set aside"),
        ("heed_outbox_messages", "outbox", "Messages that are owed to the broker"),
    ):
        yield gauge(
            name, help, AGENT_LABELS, [(agent, len(getattr(stored.ledger, field))) for agent, stored in rows]
        )
    queued = [(agent, len(list_queued(stored.ledger))) for agent, stored in rows]
    yield gauge("heed_queued_tasks", "Pending tasks that wait for a slot", AGENT_LABELS, queued)


def _of_lags(sights: Sequence[AgentSnapshot]) -> Iterator[Metric]:
    rows = [((item.agent.namespace, item.agent.name), item.lag) for item in sights]
    lags, at = [(agent, lag) for agent, lag in rows if lag is not None], now()
    yield gauge(
        "heed_cursor_lag_events",
        "Events beyond the cursor",
        AGENT_LABELS,
        [(agent, lag.events) for agent, lag in lags],
    )
    help = "How long ago the stream stored the oldest event beyond the cursor; 0 without one"
    yield gauge(
        "heed_cursor_lag_seconds", help, AGENT_LABELS, [(agent, _age(lag.since, at)) for agent, lag in lags]
    )


def _age(since: str | None, now: datetime) -> float:
    return max(0.0, (now - datetime.fromisoformat(since)).total_seconds()) if since else 0.0


@asynccontextmanager
async def serve_metrics(port: int, exposition: MetricsPage) -> AsyncIterator[None]:
    """Serve /metrics on a port (0: do not). Raises InvalidSettings."""

    async def metrics(request: web.Request) -> web.Response:
        page, content_type = await exposition.page(request.headers.get("Accept", ""))
        return web.Response(body=page, headers={"Content-Type": content_type})

    async with serving(port, [web.get("/metrics", metrics)], variable="HEED_METRICS_PORT", what="metrics"):
        yield
