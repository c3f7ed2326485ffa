"""The full run: `python -m tests.faults --seed 1 --events 20000`, as `make faults` starts it."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.cluster.controlplane.build import Unavailable
from tests.cluster.helm import Unavailable as NoHelm
from tests.faults.plan import Size
from tests.faults.storm import storm


def main() -> int:
    """0 where the model holds, 1 where it does not, 2 where a storm cannot be had here."""
    options = _options()
    if options.folder is not None:
        Path(options.folder).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"heed-faults-{options.seed}-", dir=options.folder))
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", file=sys.stderr, flush=True)

    size = Size(options.events, options.kills, options.restarts, options.errors)
    say(f"seed {options.seed}: replay with {_replay(options)}; logs in {folder}")
    try:
        report = asyncio.run(storm(options.seed, size, folder, say))
    except (Unavailable, NoHelm) as unavailable:
        print(unavailable, file=sys.stderr)
        return 2
    print(report)
    report.write(Path(options.report or folder / "report.json"))
    if report.findings:
        return 1
    if options.folder is None:
        shutil.rmtree(folder)
    return 0


def _replay(options: argparse.Namespace) -> str:
    """The command that makes the same storm again."""
    rest = f"--kills {options.kills} --restarts {options.restarts} --errors {options.errors}"
    return f'make faults SEED={options.seed} EVENTS={options.events} ARGS="{rest}"'


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--events", type=int, default=20_000, help="messages to publish")
    parser.add_argument("--kills", type=int, default=50, help="deaths of the operator")
    parser.add_argument("--restarts", type=int, default=10, help="of each server")
    parser.add_argument("--errors", type=float, default=0.05, help="share of API requests that go wrong")
    parser.add_argument(
        "--folder", help="where a new folder for the logs is made, and kept also if all is well"
    )
    parser.add_argument("--report", help="JSON file for the figures; beside the logs if not given")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
