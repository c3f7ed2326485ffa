"""Mutation testing, package by package: `python -m tests.mutation run`, as `make mutants` starts it.

run        try every mutant that has no verdict yet; stop it at any time, it goes on where it stopped
report     the figures so far, by package
survivors  the mutants that no test noticed, with their keys for equivalent.toml; and its entries of lines that are gone
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from pathlib import Path

from tests.mutation.campaign import Campaign
from tests.mutation.nearest import WIDER_SECONDS
from tests.mutation.results import NOTICED, Results, equivalents, table
from tests.mutation.workspace import PACKAGES, Mutant, Workspace, cache_root

SUITES = ("tests/unit", "tests/integration")


def main() -> int:
    """0, or for `survivors` 1 where there are some that are not listed as equivalent, or entries of no mutant."""
    options = _options()
    root = Path(options.cache or cache_root())
    workspace, results = Workspace(root), Results(root / "results.jsonl")
    print(f"workspace {workspace.folder}", file=sys.stderr)
    everything = workspace.prepare()
    mutants = _chosen(everything, options)
    if options.command == "run":
        campaign = Campaign(workspace, results, options.suite or SUITES, root / "reach.json")
        try:
            campaign.run(mutants, options.workers, again=options.again, wider=options.wider)
        except KeyboardInterrupt:
            print("stopped; run it again to go on", file=sys.stderr)
    if options.command == "survivors":
        return max(_survivors(mutants, results), _outdated(everything))
    print(table(mutants, results))
    return 0


def _chosen(mutants: list[Mutant], options: argparse.Namespace) -> list[Mutant]:
    """What is to be tried: not texts of messages and log lines, unless asked for."""
    chosen = [
        mutant
        for mutant in mutants
        if mutant.package in options.package
        and (options.texts or not mutant.text)
        and options.match in mutant.function
    ]
    if options.sample and options.sample < len(chosen):
        kept = set(random.Random(options.seed).sample(range(len(chosen)), options.sample))
        chosen = [mutant for place, mutant in enumerate(chosen) if place in kept]
    return chosen


def _survivors(mutants: list[Mutant], results: Results) -> int:
    listed, found = equivalents(), 0
    for mutant in mutants:
        verdict = results.get(mutant)
        if verdict and verdict.outcome not in NOTICED and mutant.key not in listed:
            found += 1
            print(
                f"{mutant.key}  {mutant.function} +{mutant.line}\n    - {mutant.before}\n    + {mutant.after}"
            )
    return 1 if found else 0


def _outdated(mutants: list[Mutant]) -> int:
    gone = equivalents().keys() - {mutant.key for mutant in mutants}
    for key in sorted(gone):
        print(f"{key}  is listed as equivalent, and of no mutant any more: {equivalents()[key]}")
    return 1 if gone else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("run", "report", "survivors"))
    parser.add_argument("--package", action="append", choices=PACKAGES, help="only these (default: all)")
    parser.add_argument("--match", default="", help="only functions whose path has this in it")
    parser.add_argument("--sample", type=int, help="only so many, drawn evenly by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--texts", action="store_true", help="also words of messages and log lines")
    parser.add_argument("--again", action="store_true", help="also those that survived before")
    parser.add_argument(
        "--wider",
        type=float,
        default=WIDER_SECONDS,
        metavar="SECONDS",
        help="of tests that are asked beyond the nearest (default: %(default)s; 0: only the nearest)",
    )
    parser.add_argument(
        "--suite", action="append", help="folder or file of tests (default: unit and integration)"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cache", help="folder for workspaces and results")
    options = parser.parse_args()
    options.package = options.package or list(PACKAGES)
    return options


if __name__ == "__main__":
    sys.exit(main())
