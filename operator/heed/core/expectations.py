"""Whether a simulation ended as its author expects: everything expected has to be there, more may be.

An expectation is a map with any of: `agents` (name to a part of its status), `emitted` (all events in order, as types
or as parts of events), `tasks` (all started tasks in order, as names or as parts of {agent, task, input, spec}),
`deadLetters` and `pending` (a number, or the list of parts), `outcomes` (outcome to count).
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from heed.errors import InvalidManifest, Problem


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = _Nothing()
_LISTS: Final = {"emitted": "type", "tasks": "task", "deadLetters": "code", "pending": "task"}
_FORMS: Final[dict[str, tuple[type, ...]]] = {
    "agents": (dict,),
    "outcomes": (dict,),
    "emitted": (list, int),
    "tasks": (list, int),
    "deadLetters": (list, int),
    "pending": (list, int),
}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Where (`agents.researcher.sessions.a.state.topic`) something else was found than expected."""

    path: str
    expected: Any
    found: Any  # NOTHING where there is nothing


def check_expectation(expected: Any) -> dict[str, Any]:
    """The expectation, if it has the form of one. Raises InvalidManifest with paths."""
    if not isinstance(expected, dict):
        raise InvalidManifest([Problem("", "an expectation is a map", f"known are {', '.join(_FORMS)}")])
    problems: list[Problem] = []
    for key, value in expected.items():
        if key not in _FORMS:
            near = difflib.get_close_matches(key, _FORMS, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(_FORMS)}"
            problems.append(Problem(key, "there is no such expectation", hint))
        elif not isinstance(value, _FORMS[key]) or isinstance(value, bool):
            form = "a map" if dict in _FORMS[key] else "a list or a number"
            problems.append(Problem(key, f"is not {form}"))
    if problems:
        raise InvalidManifest(problems)
    return expected


def unmet(expected: Mapping[str, Any], transcript: Mapping[str, Any]) -> list[Mismatch]:
    """What a transcript lacks of an expectation."""
    found: list[Mismatch] = []
    for key, value in expected.items():
        if key == "agents":
            found.extend(mismatches(value, _agents(value, transcript["agents"]), key))
        elif key == "outcomes":
            counts = {name: transcript["outcomes"].get(name, 0) for name in value}
            found.extend(mismatches(value, counts, key))
        else:
            items = transcript["letters" if key == "deadLetters" else key]
            found.extend(mismatches(value, _shaped(value, items, _LISTS[key]), key))
    return found


def _agents(expected: Mapping[str, Any], agents: Mapping[str, Any]) -> dict[str, Any]:
    """The status of Agents under the names that the expectation uses: with or without namespace."""
    found = dict(agents)
    for name in expected:
        full = [key for key in agents if key.partition("/")[2] == name]
        if len(full) == 1:
            found[name] = agents[full[0]]
    return found


def _shaped(expected: Any, items: list[Any], name: str) -> Any:
    """The items as the expectation speaks of them: their number, their names, or themselves."""
    if not isinstance(expected, list):
        return len(items)
    plain = [index < len(expected) and isinstance(expected[index], str) for index in range(len(items))]
    brief = all(isinstance(item, str) for item in expected)
    return [item[name] if by_name or brief else item for item, by_name in zip(items, plain, strict=True)]


def mismatches(expected: Any, found: Any, path: str = "") -> Iterator[Mismatch]:
    """Differences, by path: maps may hold more than expected, lists not. An expected null means nothing there."""
    if isinstance(expected, dict) and isinstance(found, Mapping):
        for key, value in expected.items():
            yield from mismatches(value, found.get(key, NOTHING), f"{path}.{key}" if path else str(key))
    elif isinstance(expected, list) and isinstance(found, list):
        for index in range(max(len(expected), len(found))):
            wanted = expected[index] if index < len(expected) else NOTHING
            there = found[index] if index < len(found) else NOTHING
            yield from mismatches(wanted, there, f"{path}[{index}]")
    elif not _equal(expected, found):
        yield Mismatch(path, expected, found)


def _equal(expected: Any, found: Any) -> bool:
    if expected is None:
        return found is None or found is NOTHING
    # True == 1 in Python, not in JSON; 1 == 1.0 in both.
    return isinstance(expected, bool) == isinstance(found, bool) and bool(expected == found)
