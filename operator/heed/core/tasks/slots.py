"""Slots: how many tasks run at once, and which of those that wait gets a slot that is free.

Queued tasks stand in lines: one for each session and priority, of each task that has a limit of its own and of all the
others together. A free slot goes to the highest priority, within it to the line whose turn it is; then that line's turn
comes after all others'. So sessions take turns: for every task that a line is given, each other line is given one at
most. Everything is in the records, so a restart changes nothing.
"""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from heed.api.status import PendingTask, QueuePlace
from heed.core.tasks.kinds import LEDGER_KINDS
from heed.core.tasks.work import begin_attempt

Tasks = Mapping[str, PendingTask]
LineKey = tuple[str, str, int]  # session, the task with a limit of its own or "", priority


@dataclass(frozen=True, slots=True)
class SlotLimits:
    """How many tasks may run at once: in all, and by their name. None, or no entry: any number."""

    total: int | None = None
    by_task: Mapping[str, int] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return self.total is not None or bool(self.by_task)

    def covers(self, record: PendingTask) -> bool:
        """Whether a task needs a slot to run."""
        limited = self.total is not None or record.task in self.by_task
        return limited and record.kind not in LEDGER_KINDS and record.tools is None


def is_idle(record: PendingTask) -> bool:
    """Whether nothing of a task runs: it is queued, between attempts or waits for tools, or was when cancelled."""
    if record.kind in LEDGER_KINDS:
        return False
    return record.queue is not None or record.due is not None or record.tools is not None


def holds_slot(record: PendingTask) -> bool:
    """Whether a task takes a slot: it runs, or may. Abandoned ones do not: how long they stay depends on the world."""
    return record.kind not in LEDGER_KINDS and record.phase != "Abandoned" and not is_idle(record)


def enqueue(limits: SlotLimits, tasks: Tasks, starting: Tasks, at: str) -> dict[str, PendingTask]:
    """The tasks that are to start, in order; those that need a slot are Queued behind all others."""
    place = max((task.queue.place for task in tasks.values() if task.queue is not None), default=0)
    records: dict[str, PendingTask] = {}
    for task_id, record in starting.items():
        if limits.covers(record):
            place += 1
            record = replace(
                record, phase="Queued", due=None, attempt_deadline=None, queue=QueuePlace(at, place)
            )
        records[task_id] = record
    return records


def grant_slots(limits: SlotLimits, before: Tasks, tasks: Tasks, at: str) -> tuple[Tasks, list[str]]:
    """The tasks with all free slots given, and the ids of those that got one. The same object where nothing changes.

    `before` are the tasks before what was decided now: a line keeps its turn where its first task was cancelled.
    """
    queue = _Queue.of(tasks)
    if not queue.waiting:
        return tasks, []
    lines = _lines(limits, queue)
    turns = _turns(limits, before, lines)
    chosen = _choose(_FreeSlots(limits, queue.running, queue.running.total()), lines, turns)
    granted = [heapq.heappop(lines[key])[1] for key in chosen]
    changed = {task_id: begin_attempt(tasks[task_id], at) for task_id in granted}
    kept = {line[0][1]: turns[key] for key, line in lines.items() if line}
    for task_id in (kept.keys() | queue.marked) - changed.keys():
        changed |= _placed(task_id, tasks[task_id], kept.get(task_id))
    return ({**tasks, **changed} if changed else tasks), granted


def find_grantable(limits: SlotLimits, tasks: Tasks) -> str | None:
    """Since when the first task waits that could have a slot now; None where there is none, as after each decision."""
    queue = _Queue.of(tasks)
    if not queue.waiting:
        return None
    free = _FreeSlots(limits, queue.running, queue.running.total())
    return min(
        (place.since for _, record, place in queue.waiting if free.has_room(record.task)), default=None
    )


@dataclass(slots=True)
class _Queue:
    """What one pass over all tasks finds: those that wait, how many others run by their name, whose record has a turn.

    A ledger may have thousands of tasks, and each that comes or goes asks for this: so there is one pass only.
    """

    waiting: list[tuple[str, PendingTask, QueuePlace]]
    running: Counter[str]
    marked: set[str]

    @classmethod
    def of(cls, tasks: Tasks) -> "_Queue":
        waiting: list[tuple[str, PendingTask, QueuePlace]] = []
        running, marked = Counter[str](), set[str]()
        for task_id, record in tasks.items():
            place = record.queue
            if place is not None and record.phase == "Queued":
                waiting.append((task_id, record, place))
                if place.turn is not None:
                    marked.add(task_id)
            elif holds_slot(record):
                running[record.task] += 1
        return cls(waiting, running, marked)


@dataclass(slots=True)
class _FreeSlots:
    limits: SlotLimits
    running: Counter[str]
    total: int

    def has_room(self, task: str) -> bool:
        """Whether one more task may run; "" is one without a limit of its own."""
        limit = self.limits.by_task.get(task)
        if self.limits.total is not None and self.total >= self.limits.total:
            return False
        return limit is None or self.running[task] < limit

    def take(self, task: str) -> None:
        self.running[task] += 1
        self.total += 1


def _key(limits: SlotLimits, record: PendingTask) -> LineKey:
    return record.session, record.task if record.task in limits.by_task else "", record.priority


def _lines(limits: SlotLimits, queue: _Queue) -> dict[LineKey, list[tuple[int, str]]]:
    """The places and ids of queued tasks by their line, each a heap."""
    lines: dict[LineKey, list[tuple[int, str]]] = {}
    for task_id, record, place in queue.waiting:
        key = _key(limits, record)
        if (line := lines.get(key)) is None:
            line = lines[key] = []
        line.append((place.place, task_id))
    for line in lines.values():
        heapq.heapify(line)
    return lines


def _turns(
    limits: SlotLimits, before: Tasks, lines: Mapping[LineKey, list[tuple[int, str]]]
) -> dict[LineKey, int]:
    """Each line's turn: the one it had, and for lines that are new the next ones, in the order of their places."""
    had: dict[LineKey, int] = {}
    for record in before.values():
        place = record.queue
        if place is not None and place.turn is not None and record.phase == "Queued":
            key = _key(limits, record)
            had[key] = min(place.turn, had.get(key, place.turn))
    turns = {key: had[key] for key in lines if key in had}
    latest = max(turns.values(), default=0)
    for key in sorted(lines.keys() - turns.keys(), key=lambda key: lines[key][0]):
        turns[key] = latest = latest + 1
    return turns


def _choose(
    free: _FreeSlots, lines: Mapping[LineKey, list[tuple[int, str]]], turns: dict[LineKey, int]
) -> Iterator[LineKey]:
    """The lines whose first task gets a slot, one after the other. The caller takes it out before it asks for more.

    Moves a line's turn behind all others'.
    """
    heaps: dict[str, list[tuple[int, int, LineKey]]] = {}
    for key, turn in turns.items():
        heapq.heappush(heaps.setdefault(key[1], []), (-key[2], turn, key))
    latest = max(turns.values())
    while open_ := [(heap[0], name) for name, heap in heaps.items() if heap and free.has_room(name)]:
        _, name = min(open_)
        _, _, key = heapq.heappop(heaps[name])
        yield key
        free.take(name)
        if lines[key]:
            turns[key] = latest = latest + 1
            heapq.heappush(heaps[name], (-key[2], latest, key))


def _placed(task_id: str, record: PendingTask, turn: int | None) -> dict[str, PendingTask]:
    """The record with its line's turn, where that changes anything."""
    if record.queue is None or record.queue.turn == turn:
        return {}
    return {task_id: replace(record, queue=replace(record.queue, turn=turn))}
