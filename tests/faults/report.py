"""What happened in a storm, in figures: as a table for people and as JSON for comparisons."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.plan import RANDOM

COMMIT = "after commit"
SHOWN = 30


@dataclass(frozen=True, slots=True)
class Kill:
    """A death of the operator.

    `recovered` is seconds until the first commit after it; None where the next death came before that. `disturbed`: a
    server was away or a wire broken meanwhile.
    """

    point: str
    at: float
    recovered: float | None = None
    disturbed: bool = False


@dataclass(slots=True)
class Report:
    """All figures. Times are in seconds."""

    seed: int
    events: int
    kills: list[Kill] = field(default_factory=list)
    missed: list[str] = field(
        default_factory=list
    )  # points that no operator came to, not even the second time
    restarts: dict[str, int] = field(default_factory=dict)
    api: dict[str, int] = field(default_factory=dict)
    wires: dict[str, int] = field(default_factory=dict)
    people: dict[str, int] = field(default_factory=dict)
    workers: dict[str, int] = field(default_factory=dict)
    deletions: list[dict[str, Any]] = field(default_factory=list)
    outcome: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """As JSON."""
        recoveries = {name: row for name, *row in recovery_rows(self.kills)}
        path.write_text(json.dumps(asdict(self) | {"recoveries": recoveries}, indent=2) + "\n")

    def __str__(self) -> str:
        points = Counter(kill.point for kill in self.kills)
        lines = [f"storm  seed {self.seed}, {self.events} events, {len(self.kills)} kills"]
        for title, figures in (
            ("kills", points),
            ("restarts", self.restarts),
            ("API requests", self.api),
            ("wires", self.wires),
            ("people", self.people),
            ("workers", self.workers),
            ("outcome", self.outcome),
            ("seconds", {name: round(value, 1) for name, value in self.seconds.items()}),
        ):
            lines += ["", title, *(f"  {name:<32} {value:>9}" for name, value in figures.items())]
        lines += ["", f"recovery, from kill to first commit{'':<8} kills  median   worst   worst in calm"]
        lines += [
            f"  {row[0]:<38} {row[1]:>8}" + "".join(f"{_seconds(value):>9}" for value in row[2:])
            for row in recovery_rows(self.kills)
        ]
        if self.missed:
            lines += ["", f"never come to: {', '.join(self.missed)}"]
        lines += ["", *(self.findings[:SHOWN] or ["the model holds"])]
        if len(self.findings) > SHOWN:
            lines.append(f"and {len(self.findings) - SHOWN} findings more")
        return "\n".join(lines)


Row = tuple[str, int, float | None, float | None, float | None]


def recovery_rows(kills: Sequence[Kill]) -> list[Row]:
    """Of all, and by kind of kill: how many, the median, the worst, and the worst of those that nothing disturbed."""
    kinds = sorted({kill.point for kill in kills} - {RANDOM})
    groups = [("all", kills)] + [
        (kind, [kill for kill in kills if kill.point == kind]) for kind in (*kinds, RANDOM)
    ]
    return [_row(name, group) for name, group in groups if group]


def _row(name: str, kills: Sequence[Kill]) -> Row:
    times = [kill.recovered for kill in kills if kill.recovered is not None]
    calm = [kill.recovered for kill in kills if kill.recovered is not None and not kill.disturbed]
    median = statistics.median(times) if times else None
    return name, len(kills), median, max(times, default=None), max(calm, default=None)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def recoveries(
    deaths: Iterable[tuple[str, float]], passed: str, disturbances: Sequence[tuple[float, float]]
) -> list[Kill]:
    """The deaths (point and time) with how long it took until the first commit, as `passed` (see Doors) tells."""
    commits = [at for at, what in _lines(passed) if what == COMMIT]
    kills, deaths = [], sorted(deaths, key=lambda death: death[1])
    ends = [at for _, at in deaths[1:]] + [float("inf")]
    for (point, at), end in zip(deaths, ends, strict=True):
        first = next((commit for commit in commits if commit > at), float("inf"))
        recovered = first - at if first < end else None
        disturbed = any(begin < min(first, end) and at < over for begin, over in disturbances)
        kills.append(Kill(point, at, recovered, disturbed))
    return kills


def own_deaths(passed: str) -> list[tuple[str, float]]:
    """The deaths that operators brought about themselves: point and time."""
    died = "died "
    return [(what[len(died) :], at) for at, what in _lines(passed) if what.startswith(died)]


def _lines(passed: str) -> list[tuple[float, str]]:
    parts = (line.partition(" ") for line in passed.splitlines())
    return [(float(at), what) for at, _, what in parts]
