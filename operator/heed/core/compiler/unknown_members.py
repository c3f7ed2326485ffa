"""Lint of reads of members that never exist: of variables, events, state and inputs."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from heed import names
from heed.core.cel.ast import Call, Constant, Literal, Node, UnknownSyntax
from heed.core.cel.member_paths import EACH, Path, format_path
from heed.core.cel.template import Template
from heed.core.cel.variables import suggest_name
from heed.core.compiler.expression_sites import ExpressionSite
from heed.core.compiler.program import Program
from heed.core.compiler.timers import find_tick_members
from heed.core.type_patterns import matches
from heed.errors import Problem

EVENT_MEMBERS: Final = ("id", "source", "type", "specversion", "correlationid", "data")  # of every event
OPTIONAL_MEMBERS: Final = ("subject", "time", "datacontenttype", "dataschema")
END_MEMBERS: Final = {
    names.TASK_COMPLETED: ("task", "result", "message", "attempt"),
    names.TASK_FAILED: (
        "task",
        "reason",
        "message",
        "exitCode",
        "cause",
        "container",
        "pod",
        "attempt",
        "retryable",
        "retryAfter",
    ),
}
EXPIRY_MEMBERS: Final = {  # of the data that are there in each of them
    names.HOLD_EXPIRED: ("event", "handler", "heldSince", "heldUntil"),
    names.SESSION_EXPIRED: ("key", "startedAt", "lastEventAt", "reason"),
}
_EXTENSION: Final = re.compile(r"[a-z0-9]+")
Names = frozenset[str] | None  # None: which ones, only events can tell


@dataclass(frozen=True, slots=True)
class KnownMembers:
    """The names an Agent may set in its state, and in each task's input."""

    state: Names
    inputs: dict[str, Names]
    publishes: bool  # whether a task may send progress, whose data are its own
    ticks: Names  # in the data of ticks of the common type

    @classmethod
    def of(cls, program: Program) -> "KnownMembers":
        """From an Agent's manifest."""
        spec = program.manifest.spec
        reactions = list(zip(spec.handlers, program.reactions, strict=True))
        calls = [handler.call for handler in spec.handlers if handler.call is not None]
        state = None if calls else _union(_names(handler.state, made.state) for handler, made in reactions)
        inputs: dict[str, list[Names]] = {name: [] for name in spec.tasks}
        for name in (name for call in calls for name in call.starts if name in inputs):
            inputs[name].append(None)
        starts = [pair for handler, made in reactions for pair in zip(handler.start, made.start, strict=True)]
        for start, compiled in starts:
            if start.task in inputs:
                inputs[start.task].append(_names(start.input, compiled.input))
        dynamic = any(start.from_ is not None for start, _ in starts)
        known = {name: None if dynamic else _union(found) for name, found in inputs.items()}
        ticks = _union(find_tick_members(program.timers.values()))
        return cls(state, known, any(task.publish or task.function for task in spec.tasks.values()), ticks)

    def input_at(self, place: ExpressionSite) -> Names:
        """The names that `input` may have at a site."""
        return self.inputs.get(place.task) if place.task is not None else _union(self.inputs.values())


def find_unknown_members(place: ExpressionSite, members: KnownMembers) -> Iterator[Problem]:
    """Warnings for unknown members, each once; those that cannot compile are reported by the compiler."""
    paths = [path[:3] for path in place.reads.all() if len(path) > 1 and path[1] != EACH]
    yield from dict.fromkeys(problem for path in paths for problem in _unknown(place, path, members))


def _unknown(place: ExpressionSite, path: Path, members: KnownMembers) -> Iterator[Problem]:
    variable, name = path[:2]
    fixed = place.known.members(variable)
    if fixed is not None:
        if name not in fixed:
            yield Problem(place.path, f'{variable} never has a member "{name}"', suggest_name(name, fixed))
    elif variable == "event":
        yield from _of_event(place, path, members)
    elif variable == "state" and members.state is not None and name not in members.state:
        known = sorted(members.state)
        remedy = suggest_name(name, known) if known else "write it in the `state` of a handler"
        yield Problem(place.path, f"no handler sets {format_path(path[:2])}", remedy)
    elif variable == "input" and (given := members.input_at(place)) and name not in given:
        yield Problem(
            place.path, f"no start gives {format_path(path[:2])}", suggest_name(name, sorted(given))
        )


def _of_event(place: ExpressionSite, path: Path, members: KnownMembers) -> Iterator[Problem]:
    name, known = path[1], (*EVENT_MEMBERS, *OPTIONAL_MEMBERS)
    has_member = len(path) > 2 and path[2] != EACH
    if name == "data":
        if place.of_tasks and has_member:
            yield from _of_end(place, path, members)
        elif place.pattern == names.TIMER_FIRED and has_member and members.ticks:
            if path[2] not in members.ticks:
                remedy = suggest_name(path[2], sorted(members.ticks))
                yield Problem(place.path, f"no tick has {format_path(path)}", remedy)
    elif name in known:
        if has_member:
            yield Problem(
                place.path, f"{format_path(path[:2])} is a text, which has no members", "read it as a whole"
            )
    elif not _EXTENSION.fullmatch(name):
        message = f'no event has an attribute "{name}": their names are of lower-case letters and digits'
        yield Problem(place.path, message, suggest_name(name.lower(), known))
    elif has_member:
        message = f"{format_path(path[:2])} would be an extension attribute, which has no members"
        yield Problem(place.path, message, suggest_name(name, known))
    elif path not in place.reads.asked and (near := [item for item in known if _one_slip(name, item)]):
        message = f'"{name}" is no attribute of CloudEvents, so it would be an extension that senders set'
        yield Problem(place.path, message, f'did you mean "{near[0]}"?')


def _of_end(place: ExpressionSite, path: Path, members: KnownMembers) -> Iterator[Problem]:
    """A member of the data of a task's end that no such event has."""
    heard = [type_ for type_ in names.HANDLED_TASK_TYPES if matches(place.pattern or "", type_)]
    if names.TASK_PROGRESS in heard and (members.publishes or len(heard) == 1):
        return
    known = tuple(dict.fromkeys(name for type_ in heard for name in END_MEMBERS.get(type_, ())))
    if path[2] not in known:
        yield Problem(
            place.path, f"the end of a task has no {format_path(path)}", suggest_name(path[2], known)
        )


def _one_slip(one: str, other: str) -> bool:
    """Whether they differ by a letter more or less, or by the order of letters."""
    return sorted(one) == sorted(other) or one in _shorter(other) or other in _shorter(one)


def _shorter(name: str) -> set[str]:
    return {name[:index] + name[index + 1 :] for index in range(len(name))}


# ── what handlers set and give ──────────────────────────────────────────────────────────────────────────────────────


def _union(sets: Iterable[Names]) -> Names:
    result: frozenset[str] = frozenset()
    for each in sets:
        if each is None:
            return None
        result |= each
    return result


def _names(written: Any, compiled: Template | None) -> Names:
    """The names in the map that a template yields, as far as they stand there."""
    if written is None:
        return frozenset()
    if isinstance(written, dict):
        return frozenset(written)
    if compiled is None or len(compiled.expressions) != 1:
        return None
    try:
        return _keys(compiled.expressions[0][1].syntax())
    except UnknownSyntax:
        return None


def _keys(syntax: Node) -> Names:
    match syntax:
        case Literal(items=items, is_list=False):
            keys = [key for key in items[::2] if isinstance(key, Constant) and key.kind == "string"]
            return frozenset(key.text.decode() for key in keys) if 2 * len(keys) == len(items) else None
        case Call(function="_?_:_", arguments=(_, yes, no)):
            return _union((_keys(yes), _keys(no)))
    return None
