"""What there was in a storm, counted: decisions, tasks, ticks, what people answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from heed.core.decision.model import Decision
from heed.core.effects import StartTask
from tests.faults.bureau import verdict
from tests.faults.judging import World


def count(world: World) -> dict[str, int]:
    """The figures of a report, in its order."""
    decisions = [decision for item in world.incarnations for decision in item.fold.decisions]
    outcomes = Counter(decision.outcome for decision in decisions)
    return {
        "decisions": outcomes.total(),
        **_below(outcomes),
        "events held": len({_place(item) for item in decisions if item.outcome == "held"}),
        **_tasks(decisions),
        **_ticks(world),
        **_functions(world),
        "answers to approvals": len(world.answers),
        **_below(Counter(verdict(answer)[1] for answer in world.answers)),
        "jobs made": sum(world.made.values()),
        "widgets made": sum(world.widgets_made.values()),
        "events emitted": len(world.emitted),
        "dead letters": len(world.letters),
        **_below(Counter(item.letter.code for item in decisions if item.letter is not None)),
    }


def _below(counted: Mapping[Any, int]) -> dict[str, int]:
    return {f"  {name}": number for name, number in sorted(counted.items())}


def _place(decision: Decision) -> tuple[int, str]:
    return decision.received.sequence, decision.session or ""


def _tasks(decisions: list[Decision]) -> dict[str, int]:
    effects = [effect for decision in decisions for effect in decision.effects]
    starts = [effect for effect in effects if isinstance(effect, StartTask)]
    kinds = Counter(f"{effect.record.kind} tasks" for effect in starts if effect.record.attempt == 1)
    again = sum(effect.record.attempt > 1 for effect in starts)
    return {"tasks decided": kinds.total(), **_below(kinds), "attempts after the first": again}


def _ticks(world: World) -> dict[str, int]:
    totals = [item.fold.ledger.totals for item in world.incarnations]
    return {
        "ticks fired": sum(item.ticks_fired for item in totals),
        "  missed": sum(item.ticks_missed for item in totals),
        "  skipped": sum(item.ticks_skipped for item in totals),
    }


def _functions(world: World) -> dict[str, int]:
    runs = Counter(run.what for run in world.runs)
    written = [data for item in world.incarnations for data in item.written.values()]
    return {
        "answers that acted and were committed": len(written),
        "  of so many editions": len({data["edition"] for data in written}),
        "runs of functions": runs["began"],
        "  that came to their end": runs["done"],
    }
