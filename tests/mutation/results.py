"""What became of each mutant: a line of JSON per trial, appended as it ends, so a run can go on where one stopped."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.mutation.workspace import PACKAGES, Mutant

EQUIVALENT = Path(__file__).with_name("equivalent.toml")
NOTICED = ("noticed", "timeout", "ended")


@dataclass(frozen=True)
class Verdict:
    """`by` is "nearest", "wider" or "nobody"; `outcome` that of the last trial."""

    key: str
    outcome: str
    by: str
    seconds: float


class Results:
    """All verdicts so far; the last one for a mutant counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self._verdicts = {verdict.key: verdict for verdict in (Verdict(**json.loads(line)) for line in lines)}

    def get(self, mutant: Mutant) -> Verdict | None:
        """The verdict on a mutant, None where it has not been tried."""
        return self._verdicts.get(mutant.key)

    def add(self, verdict: Verdict) -> None:
        """Remember it, here and in the file."""
        self._verdicts[verdict.key] = verdict
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(verdict)) + "\n")


def equivalents() -> dict[str, str]:
    """Keys of mutants that change nothing anybody could notice, with the reason."""
    document = tomllib.loads(EQUIVALENT.read_text())
    return {entry["key"]: entry["reason"] for entry in document.get("equivalent", ())}


def table(mutants: Iterable[Mutant], results: Results) -> str:
    """Figures by package, for people."""
    counts: dict[str, Counter[str]] = {package: Counter() for package in (*PACKAGES, "all")}
    known = equivalents()
    for mutant in mutants:
        verdict = results.get(mutant)
        if verdict is None:
            continue
        label = _label(verdict, mutant.key in known)
        for package in (mutant.package, "all"):
            counts[package][label] += 1
    head = "package    tried   nearest   wider  survived  equivalent  noticed  by nearest"
    return "\n".join([head, *(_row(package, count) for package, count in counts.items())])


def _label(verdict: Verdict, equivalent: bool) -> str:
    if equivalent:
        return "equivalent"
    return verdict.by if verdict.outcome in NOTICED else "survived"


def _row(package: str, count: Counter[str]) -> str:
    real = count["nearest"] + count["wider"] + count["survived"]
    noticed, near = (
        ((count["nearest"] + count["wider"]) / real, count["nearest"] / real) if real else (0.0, 0.0)
    )
    return (
        f"{package:8}  {real + count['equivalent']:6}  {count['nearest']:8}  {count['wider']:6}  {count['survived']:8}"
        f"  {count['equivalent']:10}  {noticed:7.1%}  {near:10.1%}"
    )
