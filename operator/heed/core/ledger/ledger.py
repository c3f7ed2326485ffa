"""The ledger: an Agent's durable state, as an immutable value."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from pydantic import TypeAdapter

from heed import names
from heed.api.status import (
    Counts,
    Cursor,
    HeldEvent,
    ModelBudget,
    OutboxMessage,
    PendingTask,
    RecentTask,
    Session,
    TaskRate,
    TimerState,
    Totals,
)
from heed.core.codec.canonical_json import canonicalize, merge_patch
from heed.core.effects import CancelTask, Effect, Publish, StartTask
from heed.core.ledger.dedup_window import DedupWindow
from heed.core.ledger.deferred import DeferredEvents
from heed.core.ledger.held import HeldEvents

MAX_RECENT_TASKS: Final = 10


# Not frozen, though never changed: freezing makes a record three times as slow to construct, and this one is made
# for every event.
@dataclass(slots=True)
class Ledger:
    """The durable state of an Agent. Sessions are in the order of their latest event."""

    cursor: Cursor = Cursor(names.STREAM)
    totals: Totals = Totals()
    sessions: Mapping[str, Session] = field(default_factory=dict)
    pending_tasks: Mapping[str, PendingTask] = field(default_factory=dict)
    waiting: DeferredEvents = DeferredEvents()
    recent_tasks: tuple[RecentTask, ...] = ()
    recent_events: DedupWindow = DedupWindow()
    outbox: Mapping[str, OutboxMessage] = field(default_factory=dict)
    task_rate: TaskRate | None = None
    timers: Mapping[str, TimerState] = field(default_factory=dict)
    held: HeldEvents = HeldEvents()
    budgets: Mapping[str, ModelBudget] = field(default_factory=dict)

    @property
    def next_tick(self) -> str | None:
        """The earliest tick of all timers (RFC 3339); None where there is none."""
        return min((item.next_at for item in self.timers.values() if item.next_at is not None), default=None)


_MAPS: Final[dict[str, tuple[str, TypeAdapter[Any]]]] = {
    "sessions": ("sessions", TypeAdapter(Session)),
    "pending_tasks": ("pendingTasks", TypeAdapter(PendingTask)),
    "outbox": ("outbox", TypeAdapter(OutboxMessage)),
    "timers": ("timers", TypeAdapter(TimerState)),
    "budgets": ("budgets", TypeAdapter(ModelBudget)),
}
_NAMES: Final = tuple(item.name for item in fields(Totals))
_CURSOR = TypeAdapter(Cursor)
_TOTALS = TypeAdapter(Totals)
_COUNTS = TypeAdapter(Counts)
_TASK_RATE = TypeAdapter(TaskRate | None)
_RECENT_TASKS = TypeAdapter(tuple[RecentTask, ...])
_HELD: Final[TypeAdapter[Any]] = TypeAdapter(HeldEvent)


def load_ledger(written: Mapping[str, Any]) -> Ledger:
    """Parse the ledger of an Agent's status; an empty one where there is none yet.

    Where the cursor was removed by hand to start with another stream, events deferred or held in the old one are lost.
    """
    status: dict[str, Any] = canonicalize(dict(written), stored=True)
    waiting, held = status.get("waiting", {}), status.get("held", {})
    if "cursor" not in status and (waiting or held):
        totals = dict(status.get("totals", {}))
        status["totals"] = {**totals, "expired": totals.get("expired", 0) + len(waiting) + len(held)}
        waiting, held = {}, {}
    maps = {
        name: {key: adapter.validate_python(record) for key, record in status.get(alias, {}).items()}
        for name, (alias, adapter) in _MAPS.items()
    }
    maps["sessions"] = dict(
        sorted(maps["sessions"].items(), key=lambda item: (item[1].last_event_at, item[0]))
    )
    return Ledger(
        cursor=_CURSOR.validate_python(status.get("cursor", {"stream": names.STREAM})),
        totals=_TOTALS.validate_python(status.get("totals", {})),
        recent_tasks=_RECENT_TASKS.validate_python(status.get("recentTasks", ())),
        recent_events=DedupWindow.of(status.get("recentEvents", ())),
        waiting=DeferredEvents.of({int(place): key for place, key in waiting.items()}),
        task_rate=_TASK_RATE.validate_python(status.get("taskRate")),
        held=HeldEvents.of({int(place): _HELD.validate_python(item) for place, item in held.items()}),
        **maps,
    )


def dump_ledger(ledger: Ledger) -> dict[str, Any]:
    """The JSON of a status that holds the ledger."""
    maps = {
        alias: {key: _record(adapter, record) for key, record in getattr(ledger, name).items()}
        for name, (alias, adapter) in _MAPS.items()
    }
    held = {key: _record(_HELD, item) for key, item in _held(ledger).items()}
    return {**_plain(ledger), **maps, "waiting": _places(ledger), "held": held}


def make_patch(base: Ledger, ledger: Ledger) -> dict[str, Any]:
    """The JSON merge patch from `base` to `ledger`. Its cost grows with what changed, not with the ledger."""
    plain = _plain(ledger)
    # Where the cursor was never written, or was removed by hand, anything else may be missing, too.
    changes = plain if base.cursor.time is None else merge_patch(_plain(base), plain)
    if base.task_rate is not None and ledger.task_rate is None:
        changes["taskRate"] = None
    if base.next_tick is not None and ledger.next_tick is None:
        changes["nextTick"] = None
    for name, (alias, adapter) in _MAPS.items():
        if inner := _map_patch(adapter, getattr(base, name), getattr(ledger, name)):
            changes[alias] = inner
    if base.waiting is not ledger.waiting and (inner := merge_patch(_places(base), _places(ledger))):
        changes["waiting"] = inner
    if base.held is not ledger.held and (inner := _map_patch(_HELD, _held(base), _held(ledger))):
        changes["held"] = inner
    return dict(changes)


def _map_patch(adapter: TypeAdapter[Any], base: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    if base is new:
        return {}
    changes: dict[str, Any] = {key: None for key in base if key not in new}
    for key, record in new.items():
        if key not in base:
            changes[key] = _record(adapter, record)
        elif base[key] is not record:
            inner = merge_patch(_record(adapter, base[key]), _record(adapter, record))
            if inner:
                changes[key] = inner
    return changes


def _record(adapter: TypeAdapter[Any], record: Any) -> Any:
    return canonicalize(adapter.dump_python(record, by_alias=True))


def _places(ledger: Ledger) -> dict[str, str]:
    return {str(place): key for place, key in ledger.waiting.places.items()}


def _held(ledger: Ledger) -> dict[str, HeldEvent]:
    return {str(place): item for place, item in ledger.held.places.items()}


def _plain(ledger: Ledger) -> dict[str, Any]:
    """The members of a status that are no maps."""
    counts = Counts(
        len(ledger.sessions),
        len(ledger.pending_tasks),
        len(ledger.outbox),
        len(ledger.waiting),
        len(ledger.held),
        len(list_queued(ledger)),
    )
    rate = {} if ledger.task_rate is None else {"taskRate": _record(_TASK_RATE, ledger.task_rate)}
    next_tick = {} if ledger.next_tick is None else {"nextTick": ledger.next_tick}
    return {
        **rate,
        **next_tick,
        "cursor": _record(_CURSOR, ledger.cursor),
        "totals": _record(_TOTALS, ledger.totals),
        "counts": _record(_COUNTS, counts),
        "recentTasks": [
            canonicalize(task) for task in _RECENT_TASKS.dump_python(ledger.recent_tasks, by_alias=True)
        ],
        "recentEvents": ledger.recent_events.digests(),
    }


def add_to_totals(totals: Totals, **more: int) -> Totals:
    """The totals with some counters increased."""
    return Totals(*[getattr(totals, name) + more.get(name, 0) for name in _NAMES])  # faster than `replace`


def list_queued(ledger: Ledger) -> list[str]:
    """The ids of the tasks that wait for a slot."""
    return [task_id for task_id, task in ledger.pending_tasks.items() if task.phase == "Queued"]


def drop_keys(records: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """A copy of a map without some keys."""
    left = dict(records)
    for key in keys:
        left.pop(key, None)
    return left


def abandon_task(record: PendingTask) -> PendingTask:
    """The record of a task whose end is decided and which is still to be stopped, reduced to what that takes."""
    return replace(
        record,
        phase="Abandoned",
        input=None,
        owed=None,
        due=None,
        attempt_deadline=None,
        queue=None,
        loop=None,
        tools=None,
    )


def list_busy_sessions(ledger: Ledger) -> set[str]:
    """The sessions that wait for something, and so are not idle: for their tasks, or with events that are held."""
    busy = {task.session for task in ledger.pending_tasks.values() if task.phase != "Abandoned"}
    return busy | ledger.held.sessions.keys() if ledger.held.places else busy


def make_cancel(task_id: str, record: PendingTask) -> CancelTask:
    """The effect that stops a task which is Cancelling or Abandoned."""
    return CancelTask(task_id, None if record.phase == "Abandoned" else record, record.attempt)


def end_task(ledger: Ledger, recent: RecentTask, *, may_run: bool) -> Ledger:
    """The ledger with a pending task moved to the recent ones.

    What `may_run` all the same stays in it, Abandoned, until it is stopped.
    """
    tasks, task_id = ledger.pending_tasks, recent.id
    left = {**tasks, task_id: abandon_task(tasks[task_id])} if may_run else drop_keys(tasks, [task_id])
    total = "tasks_completed" if recent.outcome == "Completed" else "tasks_failed"
    return replace(
        ledger,
        pending_tasks=left,
        recent_tasks=(*ledger.recent_tasks, recent)[-MAX_RECENT_TASKS:],
        totals=add_to_totals(ledger.totals, **{total: 1}),
    )


def list_owed_effects(ledger: Ledger) -> list[Effect]:
    """All effects that the ledger owes, in the order of their decisions: what a restart performs."""
    owed: list[tuple[tuple[int, int], Effect]] = []
    for key, message in ledger.outbox.items():
        owed.append(((message.sequence, message.index), Publish(key, message)))
    for key, task in ledger.pending_tasks.items():
        place = (task.cause.sequence, -1)
        if task.phase == "Owed":
            owed.append((place, StartTask(key, task)))
        elif task.phase in ("Cancelling", "Abandoned"):
            owed.append((place, make_cancel(key, task)))
    return [effect for _, effect in sorted(owed, key=lambda item: item[0])]


def settle(ledger: Ledger, done: Iterable[Effect]) -> Ledger:
    """The ledger without effects that were made. The same object where nothing changes."""
    outbox, tasks = dict(ledger.outbox), dict(ledger.pending_tasks)
    changed = False
    for effect in done:
        match effect:
            case Publish(id=key) if key in outbox:
                del outbox[key]
            case StartTask(id=key) if owes_start(ledger, effect):
                tasks[key] = begin_task(tasks[key])
            case CancelTask(id=key) if key in tasks and tasks[key].phase == "Abandoned":
                del tasks[key]
            case _:
                continue
        changed = True
    return replace(ledger, outbox=outbox, pending_tasks=tasks) if changed else ledger


def owes_start(ledger: Ledger, start: StartTask) -> bool:
    """Whether the ledger owes a start, and of the same attempt."""
    task = ledger.pending_tasks.get(start.id)
    return (
        task is not None
        and task.phase == start.record.phase == "Owed"
        and task.attempt == start.record.attempt
    )


def begin_task(record: PendingTask) -> PendingTask:
    """The record of a task that has started. What it takes to start is kept while it may be started again."""
    again = may_retry(record) or record.loop is not None
    return replace(record, phase="Started", owed=record.owed if again else None)


def may_retry(record: PendingTask) -> bool:
    """Whether attempts are left."""
    return record.attempt < (record.attempts or 1)


def bind_to_stream(ledger: Ledger, created: str) -> Ledger:
    """The ledger with the stream's creation time in its cursor. The same object where it has that."""
    if ledger.cursor.created is not None:
        return ledger
    return replace(ledger, cursor=replace(ledger.cursor, created=created))


def skip_expired(ledger: Ledger, floor: int, gone: int = 0) -> Ledger:
    """The ledger with its cursor at `floor` at least: what the stream dropped before that is counted as expired.

    So are `gone` events that the stream dropped from its middle, unless that many are missing at its beginning. The
    same object where nothing is. A ledger without a cursor has missed nothing else: it begins where the stream does.
    """
    missed = max(0, floor - ledger.cursor.sequence) if ledger.cursor.sequence else 0
    if not (expired := max(missed, gone)):
        return ledger
    cursor = replace(ledger.cursor, sequence=floor) if missed else ledger.cursor
    return replace(ledger, cursor=cursor, totals=add_to_totals(ledger.totals, expired=expired))


def drop_deferred(ledger: Ledger, sequences: Iterable[int]) -> Ledger:
    """The ledger without deferred events that the stream dropped, which are counted as expired."""
    waiting = ledger.waiting
    for sequence in sequences:
        waiting = waiting.without_event(sequence)
    missed = len(ledger.waiting) - len(waiting)
    return replace(ledger, waiting=waiting, totals=add_to_totals(ledger.totals, expired=missed))


def recall_held(ledger: Ledger, generation: int) -> Ledger:
    """The ledger with held events ready that another generation looked at last; the same object without any."""
    held = ledger.held.recall_older(generation)
    return ledger if held is ledger.held else replace(ledger, held=held)


def drop_held(ledger: Ledger, sequences: Iterable[int]) -> Ledger:
    """The ledger without held events that the stream dropped, which are counted as expired."""
    held = ledger.held.without_events(sequences)
    missed = len(ledger.held) - len(held)
    return replace(ledger, held=held, totals=add_to_totals(ledger.totals, expired=missed))


def count_decided(totals: Totals) -> int:
    """How many events were decided: the sum of the totals of which each event increases exactly one."""
    return (
        totals.handled
        + totals.ignored
        + totals.duplicates
        + totals.stale
        + totals.dead_lettered
        + totals.due
        + totals.retried
        + totals.turns
    )
