"""Timers in the ledger: when each ticks next, the event that a tick is, and what a tick changes.

Timers are scheduled by an event, too, as everything in a ledger comes of what the stream holds: one that tells the
Agent that its timers are not those of its program. Which tick an engine publishes depends on how late it is; what the
decision makes of that depends on the event alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from heed import names
from heed.api.status import TimerState
from heed.core.compiler.program import Program
from heed.core.compiler.timers import CompiledTimer
from heed.core.effects import AgentRef
from heed.core.events import Event
from heed.core.ledger.ledger import Ledger, add_to_totals
from heed.core.schedule.schedule import next_after
from heed.core.schedule.ticks import TimerClock, choose_tick

_SECOND: Final = timedelta(seconds=1)
_RESOLUTION: Final = timedelta.resolution


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick of a timer, as its event says it. Times are RFC 3339; `missed` counts those before it that do not fire."""

    timer: str
    scheduled_at: str
    previous_at: str | None
    missed: int

    @property
    def variable(self) -> dict[str, Any]:
        """The `timer` of expressions."""
        return {"name": self.timer, **self._times}

    @property
    def data(self) -> dict[str, Any]:
        """The data of its event, unless the timer has some of its own."""
        return {"timer": self.timer, **self._times}

    @property
    def _times(self) -> dict[str, Any]:
        return {"scheduledAt": self.scheduled_at, "previousAt": self.previous_at, "missed": self.missed}


@dataclass(frozen=True, slots=True)
class DroppedTicks:
    """The ticks of a timer until a time are too late, and not fired."""

    timer: str
    until: str


def format_time(instant: datetime) -> str:
    """A tick's time in RFC 3339."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """A time of the ledger. Raises ValueError."""
    return datetime.fromisoformat(text).astimezone(UTC)


def needs_scheduling(program: Program, ledger: Ledger) -> bool:
    """Whether the ledger's timers are not those of the program."""
    if not program.timers and not ledger.timers:
        return False
    return program.timers.keys() != ledger.timers.keys() or any(
        _is_outdated(timer, ledger.timers[name]) for name, timer in program.timers.items()
    )


def schedule_timers(program: Program, ledger: Ledger, now: datetime) -> Ledger:
    """The ledger with the program's timers. Those that are new or were edited go on from now."""
    if not needs_scheduling(program, ledger):
        return ledger
    timers = {name: _scheduled(timer, ledger.timers.get(name), now) for name, timer in program.timers.items()}
    return replace(ledger, timers=timers)


def _is_outdated(timer: CompiledTimer, state: TimerState) -> bool:
    return state.schedule != timer.digest or bool(state.suspended) != timer.suspended


def _scheduled(timer: CompiledTimer, state: TimerState | None, now: datetime) -> TimerState:
    if state is not None and not _is_outdated(timer, state):
        return state
    anchor, previous_at = now.replace(microsecond=0), state.previous_at if state else None
    if state is not None and state.schedule == timer.digest:
        anchor = parse_time(state.anchor)
    after = max(now, parse_time(previous_at)) if previous_at else now
    tick = None if timer.suspended else next_after(timer.schedule, after, anchor)
    return TimerState(
        schedule=timer.digest,
        anchor=format_time(anchor),
        next_at=None if tick is None else format_time(tick),
        previous_at=previous_at,
        session=state.session if state else None,
        suspended=True if timer.suspended else None,
    )


def list_next_ticks(program: Program, ledger: Ledger) -> Iterator[tuple[str, str]]:
    """The next tick of each timer that is as in the program: the timer's name, and when (RFC 3339)."""
    for name, state in ledger.timers.items():
        timer = program.timers.get(name)
        if state.next_at is not None and timer is not None and not _is_outdated(timer, state):
            yield name, state.next_at


def choose_event(program: Program, ledger: Ledger, name: str, now: datetime) -> Event | None:
    """The event that is due of a timer, which may be late: a tick, or that ticks are dropped. None: nothing is due."""
    timer, state = program.timers[name], ledger.timers[name]
    choice = choose_tick(_clock(timer, state), timer.late, now)
    if choice.tick is not None:
        tick = Tick(name, format_time(choice.tick), state.previous_at, choice.missed)
        return _tick_event(program.agent, timer, state, tick)
    if choice.missed:
        return _dropped_event(program.agent, state, DroppedTicks(name, format_time(now)))
    return None


def _clock(timer: CompiledTimer, state: TimerState) -> TimerClock:
    next_at = None if state.next_at is None else parse_time(state.next_at)
    return TimerClock(timer.schedule, parse_time(state.anchor), next_at)


def _tick_event(agent: AgentRef, timer: CompiledTimer, state: TimerState, tick: Tick) -> Event:
    """A tick's event: its id derives from the timer, since when it is scheduled, and the scheduled time."""
    return Event(
        id=names.digest("timer", agent.uid, tick.timer, state.anchor, tick.scheduled_at),
        source=names.agent_source(agent.namespace, agent.name),
        type=timer.type,
        time=tick.scheduled_at,
        datacontenttype="application/json",
        data=tick.data,
        extensions={names.TIMER_EXTENSION: tick.timer},
    )


def _dropped_event(agent: AgentRef, state: TimerState, dropped: DroppedTicks) -> Event:
    return Event(
        id=names.digest(
            "dropped", agent.uid, dropped.timer, state.anchor, state.next_at or "", dropped.until
        ),
        source=names.agent_source(agent.namespace, agent.name),
        type=names.DUE_TICKS_DROPPED,
        time=dropped.until,
        datacontenttype="application/json",
        data={"timer": dropped.timer, "until": dropped.until},
    )


def scheduling_event(program: Program, ledger: Ledger) -> Event:
    """The event that has an Agent's timers scheduled.

    Another place of the ledger gives another id, as it may be needed again for the same timers.
    """
    agent, cursor = program.agent, ledger.cursor
    return Event(
        id=names.digest("timers", agent.uid, program.generation, cursor.created or "", cursor.sequence),
        source=names.agent_source(agent.namespace, agent.name),
        type=names.DUE_TIMERS_CHANGED,
        datacontenttype="application/json",
        data={"generation": program.generation},
    )


def read_tick(event: Event) -> Tick | None:
    """The tick that an event of the Agent's own is; None where it is none, or says nothing that could be one."""
    name, data = event.extensions.get(names.TIMER_EXTENSION), event.data
    if not isinstance(name, str) or not isinstance(data, dict):
        return None
    return _read(data, name)


def _read(data: Mapping[str, Any], name: str) -> Tick | None:
    scheduled_at, previous_at, missed = data.get("scheduledAt"), data.get("previousAt"), data.get("missed")
    if not _is_time(scheduled_at) or not (previous_at is None or _is_time(previous_at)):
        return None
    return Tick(name, str(scheduled_at), previous_at, missed) if isinstance(missed, int) else None


def read_dropped(event: Event) -> DroppedTicks | None:
    """The dropped ticks that an event of the Agent's own tells of; None where it tells of none."""
    data = event.data
    if (
        not isinstance(data, dict)
        or not isinstance(data.get("timer"), str)
        or not _is_time(data.get("until"))
    ):
        return None
    return DroppedTicks(data["timer"], data["until"])


def _is_time(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return format_time(parse_time(value)) == value
    except (ValueError, OverflowError):
        return False


def fire_tick(program: Program, ledger: Ledger, tick: Tick) -> Ledger | None:
    """The ledger after a tick, past the ones before it. None for one that is not due any more."""
    moved = _moved(program, ledger, tick.timer, parse_time(tick.scheduled_at))
    if moved is None:
        return None
    state, totals = moved.timers[tick.timer], add_to_totals(moved.totals, ticks_fired=1)
    timers = {**moved.timers, tick.timer: replace(state, previous_at=tick.scheduled_at, session=None)}
    return replace(moved, timers=timers, totals=totals)


def restate_tick(before: Ledger, after: Ledger, tick: Tick) -> Tick:
    """A tick that moved its timer on, with what the ledger knows of the ones before it.

    One of them may have been in the stream already when the event of this one was published.
    """
    missed = after.totals.ticks_missed - before.totals.ticks_missed
    return replace(tick, previous_at=before.timers[tick.timer].previous_at, missed=missed)


def skip_tick(program: Program, ledger: Ledger, tick: Tick) -> Ledger | None:
    """The ledger past a tick that is not fired, as the one before it has not ended. None as in `fire_tick`."""
    moved = _moved(program, ledger, tick.timer, parse_time(tick.scheduled_at))
    return None if moved is None else replace(moved, totals=add_to_totals(moved.totals, ticks_skipped=1))


def drop_ticks(program: Program, ledger: Ledger, dropped: DroppedTicks) -> Ledger | None:
    """The ledger past ticks that were too late. None where none of them was due."""
    return _moved(program, ledger, dropped.timer, parse_time(dropped.until) + _RESOLUTION)


def note_session(ledger: Ledger, name: str, key: str) -> Ledger:
    """The ledger with the key of the session that a timer's last tick belongs to."""
    state = ledger.timers[name]
    return replace(ledger, timers={**ledger.timers, name: replace(state, session=key)})


def _moved(program: Program, ledger: Ledger, name: str, until: datetime) -> Ledger | None:
    """The ledger with a timer past all ticks `until` a time, those before it counted as missed."""
    timer, state = program.timers.get(name), ledger.timers.get(name)
    if timer is None or state is None or state.next_at is None or _is_outdated(timer, state):
        return None
    clock = _clock(timer, state)
    if clock.next_at is None or until < clock.next_at:
        return None
    following = clock.next_after(until)
    next_at = None if following is None else format_time(following)
    return replace(
        ledger,
        timers={**ledger.timers, name: replace(state, next_at=next_at)},
        totals=add_to_totals(ledger.totals, ticks_missed=clock.count_missed(until)),
    )
