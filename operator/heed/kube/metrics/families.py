"""Metric families for prometheus_client, made of plain values at the moment of a scrape."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from heed.kube.metrics.instruments import Histogram, LabelledCounter, Labels

Series = tuple[Sequence[str], float]


def gauge(name: str, help: str, labels: Labels, series: Iterable[Series]) -> Metric:
    """A gauge: what there is now, by labels."""
    family = GaugeMetricFamily(name, help, labels=labels)
    for values, value in series:
        family.add_metric(values, value)
    return family


def counter(name: str, help: str, labels: Labels, series: Mapping[Any, float]) -> Metric:
    """A counter: what it has come to, by labels."""
    family = CounterMetricFamily(name, help, labels=labels)
    for values, value in series.items():
        family.add_metric(values, value)
    return family


def tally(name: str, help: str, tally: LabelledCounter) -> Metric:
    """A counter of a LabelledCounter."""
    return counter(name, help, tally.names, tally.counts.copy())


def histogram(name: str, help: str, labels: Labels, series: Mapping[Any, Histogram]) -> Metric:
    """A histogram, by labels."""
    family = HistogramMetricFamily(name, help, labels=labels)
    for values, distribution in series.items():
        family.add_metric(values, distribution.buckets(), distribution.total)
    return family
