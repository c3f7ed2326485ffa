"""The gate, an Agent with a rate limit, and whether it ever let more events through than that allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from heed.core.events import Event
from tests.faults.incarnation import Findings, Incarnation
from tests.faults.spec_parts import DOMAIN, IDLE, emit, handler

NAMESPACE, NAME = "storm-a", "gate"
PASSED = DOMAIN + "gate.passed"
BURST = 2  # events at once, and one a second
CLUMP = 8  # events that come together

GATE = {
    "rateLimit": {"events": 1, "burst": BURST},
    "subscribe": [{"type": PASSED}],
    "session": {"idleTimeout": IDLE},
    "handlers": [handler("let", "gate.passed", emit=[emit("gate.opened", by="${event.id}")])],
}


@dataclass(frozen=True, slots=True)
class Commit:
    """A write of the gate's status, as etcd told of it: when, in seconds since the epoch, and its cursor."""

    at: float
    sequence: int


def limit_findings(item: Incarnation, commits: Sequence[Commit]) -> Findings:
    """Of any events in a row, only so many were let through as the time between the first and the last commit allows.

    An event is decided after the stream has stored it and before it is committed; nothing else is known of when.
    """
    if item.program.agent.name != NAME:
        return []
    passed = [
        (
            datetime.fromisoformat(decision.received.at).timestamp(),
            _committed(commits, decision.received.sequence),
        )
        for decision in item.fold.decisions
        if decision.outcome == "handled"
        and isinstance(decision.received.event, Event)
        and decision.received.event.type == PASSED
    ]
    return [
        f"{item}: {last - first + 1} events were let through in {passed[last][1] - stored:.2f} s"
        for first, (stored, _) in enumerate(passed)
        for last in range(first, len(passed))
        if last - first + 1 > BURST + max(0.0, passed[last][1] - stored)
    ]


def _committed(commits: Sequence[Commit], sequence: int) -> float:
    return next((commit.at for commit in commits if commit.sequence >= sequence), float("inf"))
