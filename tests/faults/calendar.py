"""The clock, an Agent with timers of every policy, and whether each of its ticks happened when it had to.

When a timer is to tick is counted here once more, from the schedule as a person reads it and from when the stream
stored the event by which the timers were scheduled. What is said of ticks that were late is only what their policy lets
go; how late they may be, chance says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from heed import names
from heed.core.decision.model import Decision
from heed.core.effects import CancelTask, Publish, StartTask
from heed.core.events import Event
from heed.core.ledger.ledger import Ledger
from heed.core.schedule.ticks import MAX_LATE_TICKS
from tests.faults.incarnation import Findings, Incarnation
from tests.faults.spec_parts import DEADLINE, DOMAIN, IDLE, PACK, emit, handler

NAME = "clock"
TICK = DOMAIN + "clock.tick"
ON_TIME_S = {
    "none": 4,
    "lapse": 1,
}  # of timers that make up for nothing: longer than until the next tick, and shorter
ALL_S = 2  # between two ticks of the timer that makes up for all
PUNCTUAL_S = 3  # seconds; a clock that is further behind has not caught up
TEND_S, HUM_S = 7, 20  # longer than until the next tick

CLOCK = {
    "session": {"idleTimeout": IDLE},
    "timers": {
        "all": {"every": f"{ALL_S}s", "missed": "All", "type": TICK},
        "latest": {"cron": "*/3 * * * * *", "timeZone": "Europe/Berlin", "type": TICK},
        "none": {"every": "3s", "missed": "None", "startingDeadline": f"{ON_TIME_S['none']}s", "type": TICK},
        "lapse": {
            "every": "7s",
            "missed": "None",
            "startingDeadline": f"{ON_TIME_S['lapse']}s",
            "type": TICK,
        },
        "skip": {"every": "4s", "overlap": "Skip", "session": "timer.name", "type": TICK},
        "replace": {"cron": "5-59/6 * * * * *", "overlap": "Replace", "session": "timer.name", "type": TICK},
    },
    "tasks": {
        "tend": {"wait": {"for": f"{TEND_S}s"}},
        "hum": {"wait": {"for": f"{HUM_S}s"}},
        "ring": {"job": PACK, "timeout": "10m", "retention": "1h"},
        "stuck": {"job": PACK, "timeout": DEADLINE},
    },
    "handlers": [
        handler(
            "ticked",
            "clock.tick",
            emit=[emit("clock.ticked", of="${event.data}")],
        ),
        handler("tend", "clock.tick", "event.data.timer == 'skip'", start=[{"task": "tend"}]),
        handler(
            "ring",
            "clock.tick",
            "event.data.timer == 'replace'",
            start=[
                {"task": "hum"},
                {"task": "ring", "input": {"play": "succeed", "value": "${event.data.missed}"}},
                {"task": "stuck", "input": {"play": "hang", "value": 0}},
            ],
        ),
        handler("done", names.TASK_COMPLETED, emit=[emit("clock.done", task="${task.id}")]),
        handler("failed", names.TASK_FAILED, emit=[emit("clock.failed", reason="${event.data.reason}")]),
    ],
}

SECOND = timedelta(seconds=1)


def intervals(seconds: int) -> Callable[[datetime], Iterator[datetime]]:
    """The ticks of `every`, from when it was scheduled on."""

    def ticks(anchor: datetime) -> Iterator[datetime]:
        moment = anchor
        while True:
            moment += seconds * SECOND
            yield moment

    return ticks


def seconds_of_minutes(*wanted: int) -> Callable[[datetime], Iterator[datetime]]:
    """The ticks of six fields with nothing but seconds, whatever the time zone."""

    def ticks(anchor: datetime) -> Iterator[datetime]:
        moment = anchor
        while True:
            moment += SECOND
            if moment.second in wanted:
                yield moment

    return ticks


SCHEDULES = {
    "all": intervals(ALL_S),
    "latest": seconds_of_minutes(*range(0, 60, 3)),
    "none": intervals(3),
    "lapse": intervals(7),
    "skip": intervals(4),
    "replace": seconds_of_minutes(*range(5, 60, 6)),
}


@dataclass(slots=True)
class Timer:
    """What is known of one timer while the events of its Agent are gone through.

    `due` are the ticks of its schedule that were neither fired nor passed over yet; `tasks` those that the last tick
    started and that have not ended.
    """

    name: str
    due: Iterator[datetime]
    fired: list[datetime] = field(default_factory=list)
    missed: int = 0
    skipped: int = 0
    tasks: set[str] = field(default_factory=set)
    next: datetime = datetime.max.replace(tzinfo=UTC)

    def __post_init__(self) -> None:
        self.next = next(self.due)

    def go_to(self, until: datetime) -> list[datetime]:
        """The ticks until then that were still due; none of them comes any more."""
        found = []
        while self.next <= until:
            found.append(self.next)
            self.next = next(self.due)
        return found

    def tick(self, decision: Decision, event: Event) -> Iterator[str]:
        """What is wrong with a decision on an event that says to be a tick."""
        data, stored = _data(event), _time(decision.received.at)
        at, acted = _time(data["scheduledAt"]), "ticked" in decision.handlers
        if at < self.next:  # a copy, or one that was passed over
            if acted:
                yield f"acted on {at} once more"
            return
        *passed, last = self.go_to(at)
        self.missed += len(passed)
        yield from self._passed(passed, stored, at)
        if last != at or at > stored:
            yield f"is not due at {at}, or not yet when it was said at {stored}"
        told = {
            "timer": self.name,
            "scheduledAt": _format(at),
            "previousAt": self._last(),
            "missed": len(passed),
        }
        if acted and (said := _said(decision)) != told:
            yield f"said {said}, should have said {told}"
        if acted is (skips := self.name == "skip" and bool(self.tasks)):
            yield f"{'acted' if acted else 'did not act'} on {at} with {len(self.tasks)} tasks of the one before"
        self.skipped += skips
        if not skips:
            yield from self._fire(decision, at)

    def _fire(self, decision: Decision, at: datetime) -> Iterator[str]:
        stopped = {effect.id for effect in decision.effects if isinstance(effect, CancelTask)}
        if stopped != (self.tasks if self.name == "replace" else set()):
            yield f"stopped {stopped} at {at}, of {self.tasks}"
        self.tasks = {effect.id for effect in decision.effects if isinstance(effect, StartTask)}
        self.fired.append(at)

    def drop(self, decision: Decision, until: datetime) -> Iterator[str]:
        """What is wrong with a decision on an event that says that ticks were too late."""
        passed = self.go_to(until)
        self.missed += len(passed)
        yield from self._passed(passed, _time(decision.received.at), until)

    def _passed(self, passed: list[datetime], now: datetime, at: datetime) -> Iterator[str]:
        """What its policy does not let go: of all, what comes before the last hundred until now."""
        if self.name == "all" and passed and now < at + (MAX_LATE_TICKS - 1) * ALL_S * SECOND:
            yield f"left out {len(passed)} ticks from {passed[0]} on"
        if self.name in ON_TIME_S and passed and now <= passed[-1] + ON_TIME_S[self.name] * SECOND:
            yield f"let go {passed[-1]} at {now}, which is not late"

    def _last(self) -> str | None:
        return _format(self.fired[-1]) if self.fired else None

    def state(self) -> tuple[str | None, str]:
        """What the ledger has to say of it: its last tick, and the next one."""
        return self._last(), _format(self.next)


def tick_findings(item: Incarnation) -> Findings:
    """Every tick of the clock is accounted for: fired once and in its turn, or let go as its policy says."""
    if item.program.agent.name != NAME:
        return []
    timers: dict[str, Timer] = {}
    wrong = []
    for decision in item.fold.decisions:
        event = decision.received.event
        if not isinstance(event, Event):
            continue
        if event.type == names.DUE_TIMERS_CHANGED and not timers:
            timers = _scheduled(_time(decision.received.at))
        wrong += [f"{item}: timer {name} {amiss}" for name, amiss in _amiss(timers, decision, event)]
    return wrong + [f"{item}: {amiss}" for amiss in _unlike(timers, item.ledger)]


def _scheduled(now: datetime) -> dict[str, Timer]:
    anchor = now.replace(microsecond=0)
    return {name: Timer(name, schedule(anchor)) for name, schedule in SCHEDULES.items()}


def _amiss(timers: dict[str, Timer], decision: Decision, event: Event) -> Iterator[tuple[str, str]]:
    data = _data(event)
    if event.type == TICK:
        timer = timers[str(event.extensions[names.TIMER_EXTENSION])]
        yield from ((timer.name, amiss) for amiss in timer.tick(decision, event))
    elif event.type == names.DUE_TICKS_DROPPED:
        timer, until = timers[data["timer"]], _time(data["until"])
        yield from ((timer.name, amiss) for amiss in timer.drop(decision, until))
    elif event.type in (names.TASK_COMPLETED, names.TASK_FAILED):
        for timer in timers.values():
            timer.tasks.discard(event.subject or "")


def _unlike(timers: dict[str, Timer], ledger: Ledger) -> Iterator[str]:
    """Where the ledger counts otherwise."""
    totals, all_ = ledger.totals, timers.values()
    for what, count, should in (
        ("fired", totals.ticks_fired, sum(len(timer.fired) for timer in all_)),
        ("missed", totals.ticks_missed, sum(timer.missed for timer in all_)),
        ("skipped", totals.ticks_skipped, sum(timer.skipped for timer in all_)),
    ):
        if count != should:
            yield f"{count} ticks {what} in the totals, by the schedules {should}"
    for name, timer in timers.items():
        state = ledger.timers[name]
        if (state.previous_at, state.next_at) != timer.state():
            yield f"timer {name} is at {state}, should be at {timer.state()}"


def list_late(ledger: Ledger, now: datetime) -> list[str]:
    """The clock's timers that have not caught up with the time."""
    if not ledger.timers:
        return ["all"]
    return [
        name
        for name, state in ledger.timers.items()
        if state.next_at is None or _time(state.next_at) < now - PUNCTUAL_S * SECOND
    ]


def _said(decision: Decision) -> Any:
    """What the handler of a tick emitted of its data."""
    owed = [effect.owed.event for effect in decision.effects if isinstance(effect, Publish)]
    return json.loads(owed[0] or "{}").get("data", {}).get("of") if owed else None


def _data(event: Event) -> dict[str, Any]:
    return event.data if isinstance(event.data, dict) else {}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _format(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
