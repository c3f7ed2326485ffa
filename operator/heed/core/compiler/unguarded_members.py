"""Lint of conditions that read optional members of events without a guard, with the guard to write."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from heed import names
from heed.core.cel.member_paths import EACH, Path, format_path
from heed.core.compiler.expression_sites import ExpressionSite
from heed.core.compiler.program import Program
from heed.core.compiler.timers import find_tick_members
from heed.core.compiler.unknown_members import END_MEMBERS, EVENT_MEMBERS, EXPIRY_MEMBERS
from heed.core.schema.required_members import is_required
from heed.core.type_patterns import matches, may_overlap
from heed.errors import Problem

_DATA = ("event", "data")
_IN_EVERY_END = {names.TASK_COMPLETED: ("task", "result"), names.TASK_FAILED: ("task", "reason")}


@dataclass(frozen=True, slots=True)
class MemberGuards:
    """The members that an Agent's conditions test or read: by subscription, in order, and by handler."""

    program: Program
    wheres: tuple[frozenset[Path] | None, ...]
    whens: dict[int, frozenset[Path]]

    @classmethod
    def of(cls, program: Program, places: Sequence[ExpressionSite]) -> "MemberGuards":
        """From the expression sites of an Agent."""
        conditions = [place for place in places if place.condition]
        wheres = {item.path: _with_parts(item.reads.all()) for item in conditions if item.handler is None}
        whens = {
            item.handler: _with_parts(item.reads.values) for item in conditions if item.handler is not None
        }
        paths = (f"spec.subscribe[{index}].where" for index in range(len(program.subscriptions)))
        return cls(program, tuple(wheres.get(path) for path in paths), whens)

    def is_tested_before(self, path: Path, place: ExpressionSite) -> bool:
        """Whether every subscription that a handler's events come through tests or reads a member."""
        if place.handler is None or place.pattern is None:
            return False
        bringing = [
            known
            for item, known in zip(self.program.subscriptions, self.wheres, strict=True)
            if may_overlap(item.pattern, place.pattern)
        ]
        return bool(bringing) and all(known is not None and path in known for known in bringing)

    def is_in_every_tick(self, name: str) -> bool:
        """Whether the data of all ticks of the common type hold a member."""
        ticks = find_tick_members(self.program.timers.values())
        return bool(ticks) and all(members is not None and name in members for members in ticks)

    def other_handlers(self, place: ExpressionSite) -> list[int]:
        """The other handlers that the events of a handler may come to."""
        return [
            index
            for index, reaction in enumerate(self.program.reactions)
            if place.handler not in (None, index) and may_overlap(reaction.pattern, place.pattern or "")
        ]

    def do_all_read(self, handlers: list[int], path: Path) -> bool:
        """Whether the conditions of these handlers, if there are any, all need a member."""
        return bool(handlers) and all(path in self.whens.get(handler, ()) for handler in handlers)


def _with_parts(paths: Iterable[Path]) -> frozenset[Path]:
    """Paths, and all that they begin with."""
    return frozenset(path[:length] for path in paths for length in range(1, len(path) + 1))


def find_unguarded(place: ExpressionSite, guards: MemberGuards) -> Iterator[Problem]:
    """Warnings for conditions that fail, and so dead-letter an event, where it lacks a member.

    Where all of several handlers read it in their conditions they tell events apart by it, and it is to be there.
    """
    if not place.condition:
        return
    told, others = set[Path](), guards.other_handlers(place)
    for path in place.reads.values:
        missing = next((part for part in _parts(path) if not _is_there(part, place, guards)), None)
        if missing is None or missing in told:
            continue
        told.add(missing)
        if not guards.do_all_read(others, missing):
            yield Problem(
                place.path,
                f"reads {format_path(missing)}, {_which_need_not(missing)}: an event without it is dead-lettered"
                + (f", although spec.handlers[{others[0]}] may react to it" if others else ""),
                f"write {suggest_guard(path)} && …",
            )


def _parts(path: Path) -> Iterator[Path]:
    """The members on the way to one, as far as they depend on the event; not those of elements."""
    end = path.index(EACH) if EACH in path else len(path)
    first = 3 if path[:2] == _DATA else 2
    if path[0] in ("event", "task"):
        yield from (path[:length] for length in range(first, end + 1))


def _is_there(path: Path, place: ExpressionSite, guards: MemberGuards) -> bool:
    """Whether a member is asked for, or has to be there when the condition is evaluated."""
    if path in place.reads.asked:
        return True
    if path[0] == "task":
        return place.of_tasks
    if place.of_tasks:
        return path[:2] != _DATA or _in_every_end(path, place)
    if path[:2] == _DATA and len(path) == 3 and path[2] in EXPIRY_MEMBERS.get(place.pattern or "", ()):
        return True
    if place.pattern == names.TIMER_FIRED and path[:2] == _DATA:
        known = len(path) == 3 and guards.is_in_every_tick(path[2])
    elif path[:2] == _DATA:
        known = is_required(guards.program.schemas.rules, place.pattern or "", path[2:])
    else:
        known = path[1] in EVENT_MEMBERS
    return known or guards.is_tested_before(path, place)


def _in_every_end(path: Path, place: ExpressionSite) -> bool:
    """Whether the data of all ends that come here have a member; what a result or progress holds is the task's."""
    ends = [type_ for type_ in END_MEMBERS if matches(place.pattern or "", type_)]
    known = {name for end in END_MEMBERS.values() for name in end}
    return len(path) > 3 or path[2] not in known or all(path[2] in _IN_EVERY_END[end] for end in ends)


def _which_need_not(path: Path) -> str:
    if path[0] == "task":
        return "which only events of tasks have"
    if path[:2] == _DATA:
        return "which nothing asks for and no EventType here requires"
    return "which not every event has"


def suggest_guard(path: Path) -> str:
    """A guard expression for a member that is safe for null and texts on the path to it."""
    parts = list(_parts(path))
    asked = [f"has({format_path(part)})" for part in parts]
    maps = [f"type({format_path(part)}) == map" for part in parts[:-1]]
    return " && ".join(item for pair in zip(asked, [*maps, ""], strict=True) for item in pair if item)


def find_nullable_parents(place: ExpressionSite, program: Program) -> Iterator[Problem]:
    """Warnings for members that are asked for or read where their parent, only asked for, may be null or a text."""
    told = set[Path]()
    reads = place.reads
    for path in (*reads.asked, *reads.values):
        if path[:2] != _DATA or place.of_tasks or EACH in path:
            continue
        for length in range(3, len(path)):
            part = path[:length]
            required = is_required(program.schemas.rules, place.pattern or "", path[2 : length + 1])
            if part not in reads.asked or part in reads.maps or part in told or required:
                continue
            told.add(part)
            optional = f"{format_path(part[:-1])}.?{part[-1]}.orValue(null)"
            yield Problem(
                place.path,
                f"reads {format_path(path[: length + 1])}, an error where {format_path(part)} is null or a text",
                f"ask for type({optional}) == map first",
            )
