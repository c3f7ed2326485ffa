"""What in an Agent's expressions compiles and can hardly be meant, told before any event comes."""

from collections.abc import Callable, Iterator, Sequence

from heed import names
from heed.core.members import ATTRIBUTES, OF_ENDS, Members, unknown_members
from heed.core.paths import EACH, Comparison, Path, shown
from heed.core.patterns import matches, overlap
from heed.core.places import Place, places_of
from heed.core.precision import imprecise
from heed.core.program import Program
from heed.core.required import is_required
from heed.core.trial import tried
from heed.core.vocabulary import suggestion
from heed.errors import Problem

_DATA = ("event", "data")


def doubts(
    program: Program, go_on: Callable[[], bool] = lambda: True, *, knows_types: bool = True
) -> Iterator[Problem]:
    """Warnings about an Agent that compiles. Whoever is in a hurry ends the look by `go_on`.

    `knows_types`: the program has been given the event types that there are; else nothing is said of data.
    """
    places, members = list(places_of(program)), Members.of(program)
    for place in places:
        if not go_on():
            return
        yield from (unknown := list(unknown_members(place, members)))
        yield from _never_equal(place, program)
        if knows_types:
            yield from _unasked(place, places, program)
            yield from _null_on_the_way(place, program)
        yield from imprecise(place)
        yield from () if unknown else tried(program, place)
    yield from _unheard_failures(program, places)


# ── comparisons that never hold ─────────────────────────────────────────────────────────────────────────────────────


def _never_equal(place: Place, program: Program) -> Iterator[Problem]:
    """Names of tasks and types of events that are compared with what they never are."""
    for item in place.reads.comparisons:
        for value in item.values:
            if item.path == ("task", "name") and value not in program.tasks:
                yield Problem(
                    place.path,
                    f'compares task.name with "{value}", which is no task',
                    suggestion(value, sorted(program.tasks)),
                )
            elif item.path == ("event", "type") and place.pattern and not matches(place.pattern, value):
                yield Problem(
                    place.path,
                    f'compares event.type with "{value}", and sees events of {place.pattern} only',
                    "correct one of them",
                )


# ── conditions on what need not be there ────────────────────────────────────────────────────────────────────────────


def _unasked(place: Place, places: Sequence[Place], program: Program) -> Iterator[Problem]:
    """Conditions that break, and so make a dead letter, where an event lacks a member; each by its first one.

    Where all of several handlers read it in their conditions they tell events apart by it, and it is to be there.
    """
    if not place.condition:
        return
    told = set[Path]()
    for path in place.reads.values:
        missing = next((part for part in _parts(path) if not _is_there(part, place, places, program)), None)
        if missing is None or missing in told:
            continue
        told.add(missing)
        others = _others(place, program)
        if not others or not all(_reads(other, missing, places) for other in others):
            yield Problem(
                place.path,
                f"reads {shown(missing)}, {_which_need_not(missing)}: an event without it is dead-lettered"
                + (f", although spec.handlers[{others[0]}] may react to it" if others else ""),
                f"write {guard(path)} && …",
            )


def _parts(path: Path) -> Iterator[Path]:
    """The members on the way to one, as far as they depend on the event; not those of elements."""
    end = path.index(EACH) if EACH in path else len(path)
    first = 3 if path[:2] == _DATA else 2
    if path[0] in ("event", "task"):
        yield from (path[:length] for length in range(first, end + 1))


def _is_there(path: Path, place: Place, places: Sequence[Place], program: Program) -> bool:
    """Whether a member is asked for, or has to be there when the condition is evaluated."""
    if path in place.reads.asked:
        return True
    if path[0] == "task":
        return place.of_tasks
    if place.of_tasks:
        return path[:2] != _DATA or _in_every_end(path, place)
    if path[:2] != _DATA:
        return path[1] in ATTRIBUTES or _asked_before(path, place, places, program)
    required = is_required(program.schemas.rules, place.pattern or "", path[2:])
    return required or _asked_before(path, place, places, program)


def _in_every_end(path: Path, place: Place) -> bool:
    """Whether the data of all ends that come here have a member; what a result or progress holds is the task's."""
    ends = [type_ for type_ in OF_ENDS if matches(place.pattern or "", type_)]
    sure = {names.TASK_COMPLETED: ("task", "result"), names.TASK_FAILED: ("task", "reason")}
    known = {name for end in OF_ENDS.values() for name in end}
    return len(path) > 3 or path[2] not in known or all(path[2] in sure[end] for end in ends)


def _asked_before(path: Path, place: Place, places: Sequence[Place], program: Program) -> bool:
    """Whether every subscription that brings events to a handler has asked for a member, or read it, before."""
    if place.handler is None or place.pattern is None:
        return False
    bringing = [
        f"spec.subscribe[{index}].where"
        for index, item in enumerate(program.subscriptions)
        if overlap(item.pattern, place.pattern)
    ]
    wheres = {item.path: item.reads for item in places if item.path in bringing}
    return bool(bringing) and all(
        where in wheres and any(path == read[: len(path)] for read in wheres[where].all())
        for where in bringing
    )


def _which_need_not(path: Path) -> str:
    if path[0] == "task":
        return "which only events of tasks have"
    if path[:2] == _DATA:
        return "which nothing asks for and no EventType here requires"
    return "which not every event has"


def _others(place: Place, program: Program) -> list[int]:
    """The other handlers that events of a handler may come to."""
    return [
        index
        for index, reaction in enumerate(program.reactions)
        if place.handler not in (None, index) and overlap(reaction.pattern, place.pattern or "")
    ]


def _reads(handler: int, path: Path, places: Sequence[Place]) -> bool:
    """Whether a handler's condition has to have a member."""
    conditions = [place.reads for place in places if place.condition and place.handler == handler]
    return any(path == read[: len(path)] for reads in conditions for read in reads.values)


def guard(path: Path) -> str:
    """A condition that holds for what has a member, whatever stands on the way to it."""
    parts = list(_parts(path))
    asked = [f"has({shown(part)})" for part in parts]
    maps = [f"type({shown(part)}) == map" for part in parts[:-1]]
    return " && ".join(item for pair in zip(asked, [*maps, ""], strict=True) for item in pair if item)


def _null_on_the_way(place: Place, program: Program) -> Iterator[Problem]:
    """Members that are asked for where what they are of may be null, or a text."""
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
            optional = f"{shown(part[:-1])}.?{part[-1]}.orValue(null)"
            yield Problem(
                place.path,
                f"reads {shown(path[: length + 1])}, an error where {shown(part)} is null or a text",
                f"ask for type({optional}) == map first",
            )


# ── tasks whose failure nobody hears of ─────────────────────────────────────────────────────────────────────────────


def _may_be(comparisons: Sequence[Comparison], task: str) -> bool:
    """Whether a condition may hold for the failure of a task, as far as it compares names and types."""
    for path, wanted in ((("task", "name"), task), (("event", "type"), names.TASK_FAILED)):
        found = [item for item in comparisons if item.path == path]
        equal = {value for item in found if item.equal for value in item.values}
        unequal = {value for item in found if not item.equal for value in item.values}
        if wanted in unequal or (equal and wanted not in equal):
            return False
    return True


def _unheard_failures(program: Program, places: Sequence[Place]) -> Iterator[Problem]:
    conditions = {place.handler: place.reads for place in places if place.condition}
    hearing = [
        conditions.get(index)
        for index, reaction in enumerate(program.reactions)
        if matches(reaction.pattern, names.TASK_FAILED)
    ]
    for name in program.tasks:
        if not any(reads is None or _may_be(reads.comparisons, name) for reads in hearing):
            yield Problem(
                f"spec.tasks.{name}",
                "no handler reacts to its failure",
                f"add one with the type {names.TASK_FAILED}, or {names.TASK_EVENTS}*",
            )
