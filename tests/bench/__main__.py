"""`make bench`: what Heed costs on real parts, next to what the raw parts cost in the same run.

Ratios within one run are what counts; the rates themselves say as much about the machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench import measures
from tests.bench.backlogs import LONG, SHORT, backlogs
from tests.bench.gateway import gateway
from tests.bench.rig import Rig
from tests.bench.timers import FEW, MANY, timers
from tests.bench.workers import FEW as FEW_WORKED
from tests.bench.workers import MANY as MANY_WORKED
from tests.bench.workers import workers
from tests.cluster.controlplane.build import Unavailable

Figures = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--events", type=int, default=20_000, help="events of the backlog that is drained (20000)"
    )
    parser.add_argument("--idle", type=int, default=200, help="single events of the latency measure (200)")
    parser.add_argument("--requests", type=int, default=4000, help="requests to the gateway (4000)")
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds at each offered rate (8)")
    parser.add_argument(
        "--backlogs",
        choices=["none", "short", "long"],
        default="short",
        help="of many Agents: 12 and 40 of them (short), or 60 and 200, which takes some minutes (short)",
    )
    parser.add_argument(
        "--timers",
        choices=["none", "few", "many"],
        default="few",
        help="500 timers on 100 Agents (few), or 5000 on 1000, which takes some ten minutes (few)",
    )
    parser.add_argument(
        "--workers",
        choices=["none", "few", "many"],
        default="few",
        help="Agents in Python: at last 20 of them (few), or 200, which takes some minutes (few)",
    )
    parser.add_argument(
        "--only", choices=["backlogs", "gateway", "timers", "workers"], help="measure nothing else"
    )
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")
    arguments = parser.parse_args()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="heed-bench-") as folder,
            Rig.started(Path(folder), _say) as rig,
        ):
            figures = _measure(rig, arguments)
    except Unavailable as unavailable:
        _say(f"no control plane: {unavailable}")
        return 1
    print(json.dumps(figures, indent=2) if arguments.output == "json" else _table(figures))
    return 0


def _measure(rig: Rig, arguments: argparse.Namespace) -> Figures:
    figures: Figures = {}
    measures.ensure_streams_of(rig)
    for name, step in _steps(rig, arguments).items():
        if arguments.only in (None, name):
            _say(f"… {name}")
            figures |= step()
    return figures


def _steps(rig: Rig, arguments: argparse.Namespace) -> dict[str, Callable[[], Figures]]:
    """The measures by their names; that of timers leaves its Agents behind, so it is the last one."""
    steps: dict[str, Callable[[], Figures]] = {
        "raw status patches": lambda: measures.raw_patches(rig, 500),
        "a backlog": lambda: measures.backlog(rig, arguments.events),
        "idle latency": lambda: measures.idle_latency(rig, arguments.idle),
        "gateway": lambda: gateway(rig.nats.url, arguments.requests),
        "API writes at growing rates": lambda: measures.writes_by_rate(rig, arguments.seconds),
    }
    if arguments.backlogs != "none":
        steps["backlogs"] = lambda: backlogs(rig, SHORT if arguments.backlogs == "short" else LONG)
    if arguments.workers != "none":
        agents = FEW_WORKED if arguments.workers == "few" else MANY_WORKED
        steps["workers"] = lambda: workers(rig, arguments.events, arguments.idle // 2, agents)
    if arguments.timers != "none":
        steps["timers"] = lambda: timers(rig, FEW if arguments.timers == "few" else MANY)
    return steps


def _table(figures: Figures) -> str:
    width = max(map(len, figures))
    return "\n".join(f"{name.replace('_', ' '):<{width}}  {value}" for name, value in figures.items())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
