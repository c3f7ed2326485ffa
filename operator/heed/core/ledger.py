"""The ledger: what an Agent has decided and still owes. It is a value; every change makes a new one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic import TypeAdapter

from heed import names
from heed.api.status import Counts, Cursor, Owed, PendingTask, RecentTask, Session, Totals
from heed.core.effects import CancelTask, Effect, Publish, StartTask
from heed.core.values import canonical, merge_patch
from heed.core.window import Window

RECENT_TASKS: Final = 10


@dataclass(frozen=True, slots=True)
class Ledger:
    """The durable side of an Agent. Sessions stand in the order of their latest event."""

    cursor: Cursor = Cursor(names.STREAM)
    totals: Totals = Totals()
    sessions: Mapping[str, Session] = field(default_factory=dict)
    pending_tasks: Mapping[str, PendingTask] = field(default_factory=dict)
    recent_tasks: tuple[RecentTask, ...] = ()
    recent_events: Window = Window()
    outbox: Mapping[str, Owed] = field(default_factory=dict)


_MAPS: Final[dict[str, tuple[str, TypeAdapter[Any]]]] = {
    "sessions": ("sessions", TypeAdapter(Session)),
    "pending_tasks": ("pendingTasks", TypeAdapter(PendingTask)),
    "outbox": ("outbox", TypeAdapter(Owed)),
}
_CURSOR = TypeAdapter(Cursor)
_TOTALS = TypeAdapter(Totals)
_COUNTS = TypeAdapter(Counts)
_RECENT_TASKS = TypeAdapter(tuple[RecentTask, ...])


def load(status: Mapping[str, Any]) -> Ledger:
    """The ledger in an Agent's status, or an empty one where there is none yet."""
    status = canonical(dict(status), stored=True)
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
        recent_events=Window.of(status.get("recentEvents", ())),
        **maps,
    )


def dump(ledger: Ledger) -> dict[str, Any]:
    """The ledger as the JSON of a status."""
    maps = {
        alias: {key: _record(adapter, record) for key, record in getattr(ledger, name).items()}
        for name, (alias, adapter) in _MAPS.items()
    }
    return {**_plain(ledger), **maps}


def patch(base: Ledger, ledger: Ledger) -> dict[str, Any]:
    """The JSON merge patch of a status from `base` to `ledger`; it costs what changed, not what is there."""
    if base.cursor.time is None:
        return dump(ledger)  # nothing was ever written
    before, after = _plain(base), _plain(ledger)
    changes = merge_patch(before, after)
    for name, (alias, adapter) in _MAPS.items():
        if inner := _map_patch(adapter, getattr(base, name), getattr(ledger, name)):
            changes[alias] = inner
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
    return canonical(adapter.dump_python(record, by_alias=True))


def _plain(ledger: Ledger) -> dict[str, Any]:
    """Everything of a status but its maps."""
    counts = Counts(len(ledger.sessions), len(ledger.pending_tasks), len(ledger.outbox))
    return {
        "cursor": _record(_CURSOR, ledger.cursor),
        "totals": _record(_TOTALS, ledger.totals),
        "counts": _record(_COUNTS, counts),
        "recentTasks": [
            canonical(task) for task in _RECENT_TASKS.dump_python(ledger.recent_tasks, by_alias=True)
        ],
        "recentEvents": ledger.recent_events.digests(),
    }


def count(totals: Totals, **more: int) -> Totals:
    """Totals with some of them grown."""
    return replace(totals, **{name: getattr(totals, name) + number for name, number in more.items()})


def without(records: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """A map without some keys."""
    left = dict(records)
    for key in keys:
        left.pop(key, None)
    return left


def cancel(task_id: str, record: PendingTask) -> CancelTask:
    """The effect that stops a task which is Cancelling or Abandoned."""
    return CancelTask(task_id, None if record.phase == "Abandoned" else record)


def owed_effects(ledger: Ledger) -> list[Effect]:
    """Every effect that the ledger still owes, in the order of its decisions. After a crash this is all there is."""
    owed: list[tuple[tuple[int, int], Effect]] = []
    for key, message in ledger.outbox.items():
        owed.append(((message.sequence, message.index), Publish(key, message)))
    for key, task in ledger.pending_tasks.items():
        place = (task.cause.sequence, -1)
        if task.phase == "Owed":
            owed.append((place, StartTask(key, task)))
        elif task.phase in ("Cancelling", "Abandoned"):
            owed.append((place, cancel(key, task)))
    return [effect for _, effect in sorted(owed, key=lambda item: item[0])]


def settle(ledger: Ledger, done: Iterable[Effect]) -> Ledger:
    """The ledger after effects were made: it owes them no more. The same object where nothing changes."""
    outbox, tasks = dict(ledger.outbox), dict(ledger.pending_tasks)
    changed = False
    for effect in done:
        match effect:
            case Publish(id=key) if key in outbox:
                del outbox[key]
            case StartTask(id=key) if key in tasks and tasks[key].phase == "Owed":
                tasks[key] = replace(tasks[key], phase="Started", owed=None)
            case CancelTask(id=key) if key in tasks and tasks[key].phase == "Abandoned":
                del tasks[key]
            case _:
                continue
        changed = True
    return replace(ledger, outbox=outbox, pending_tasks=tasks) if changed else ledger


def total_decided(totals: Totals) -> int:
    """How many events the totals account for: every delivered one is in exactly one of these."""
    return totals.handled + totals.ignored + totals.duplicates + totals.stale + totals.dead_lettered
