"""Metric instruments: counters by label, and histograms.

Not those of prometheus_client, which lock and look labels up for every single value: here a whole commit is added at
once, from one thread, and labels cannot become many. The library makes the page of them (`exporter.py`).
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

Labels = tuple[str, ...]
MAX_LABEL_SETS: Final = 200
OTHER_LABEL: Final = "Other"


class LabelledCounter:
    """Counts by label values: at most MAX_LABEL_SETS of them, whatever comes as a label; the rest as OTHER_LABEL."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.counts: dict[Labels, int] = {}

    def add(self, *labels: str, count: int = 1) -> None:
        """Count."""
        if labels not in self.counts and len(self.counts) >= MAX_LABEL_SETS:
            labels = (OTHER_LABEL,) * len(self.names)
        self.counts[labels] = self.counts.get(labels, 0) + count


class Histogram:
    """A histogram: the counts of values by upper bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)  # the last one: beyond all bounds
        self.total = 0.0

    def add(self, values: Iterable[float]) -> None:
        """Take some more."""
        counts, bounds, total = self.counts, self.bounds, self.total
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            total += value
        self.total = total

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as Prometheus wants them."""
        names = [*map(str, self.bounds), "+Inf"]
        return list(zip(names, accumulate(self.counts.copy()), strict=True))
