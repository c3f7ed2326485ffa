"""Metrics of the gateway, and its page /metrics; docs/metrics.md says what each of them means."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from heed import __version__
from heed.bus.client.connection import Connection
from heed.kube.metrics.families import counter, gauge, histogram, tally
from heed.kube.metrics.instruments import Histogram, LabelledCounter

DURATION_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
Collect = Callable[[], Iterable[Metric]]


class GatewayMetrics:
    """What the gateway counts. Parts add metrics of their own with `add`.

    `requests` counts by route (its path with placeholders) and HTTP status, `refusals` by route and the problem's code,
    `events` by what became of those sent in: stored, or duplicate where the broker had them already.
    """

    def __init__(self) -> None:
        self.requests = LabelledCounter("route", "code")
        self.refusals = LabelledCounter("route", "reason")
        self.events = LabelledCounter("outcome")
        self.durations: dict[str, Histogram] = {}
        self.connection: Connection | None = None
        self._collects: list[Collect] = []
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def add(self, collect: Collect) -> None:
        """Show further metrics: `collect` is called at every scrape, in a thread."""
        self._collects.append(collect)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self.requests.add(route, str(status))
        self.durations.setdefault(route, Histogram(DURATION_BOUNDS_S)).add((seconds,))

    async def page(self, accept: str) -> tuple[bytes, str]:
        """The page and its content type, by the client's Accept header."""
        encode, content_type = choose_encoder(accept)
        return await asyncio.to_thread(encode, self.registry), content_type

    def describe(self) -> Iterator[Metric]:
        """Every metric, without its series."""
        for metric in self.collect():
            metric.samples.clear()
            yield metric

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client; in any thread."""
        connection = self.connection
        connected = connection is not None and connection.is_connected
        errors = {(kind,): count for kind, count in dict(connection.errors if connection else ()).items()}
        yield gauge(
            "heed_build_info", "The version that runs, as a label", ("version",), [((__version__,), 1)]
        )
        yield gauge("heed_nats_connected", "Whether there is a connection to NATS", (), [((), connected)])
        yield counter("heed_nats_errors_total", "What went wrong with NATS, by kind", ("kind",), errors)
        yield tally("heed_gateway_requests_total", "Requests that were answered", self.requests)
        yield tally(
            "heed_gateway_refusals_total", "Requests that were refused, by the problem", self.refusals
        )
        durations = {(route,): found for route, found in self.durations.copy().items()}
        help = "How long requests took, from their headers to the answer"
        yield histogram("heed_gateway_request_duration_seconds", help, ("route",), durations)
        yield tally("heed_gateway_events_total", "Events that came in and are in the stream", self.events)
        for collect in tuple(self._collects):
            yield from collect()
