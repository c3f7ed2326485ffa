"""Expectations on a simulation: everything expected must be in the transcript, which may have more.

An expectation is a map with any of: `agents` (name to a part of its status), `emitted` (all events in order, as types
or as parts of events), `tasks` (all started tasks in order, as names or as parts of {agent, task, input, spec}),
`deadLetters`, `unheard` (given events that no Agent heeds) and `pending` (a number, or the list of parts), `outcomes`
(outcome to count).
"""

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from pydantic.alias_generators import to_camel

from heed.api.status import (
    AgentStatus,
    Counts,
    Cursor,
    OutboxMessage,
    PendingTask,
    RecentTask,
    Session,
    TaskCause,
    Totals,
)
from heed.core.simulation.report import (
    LETTER_FIELDS,
    OUTCOMES,
    PENDING_FIELDS,
    STARTED_FIELDS,
    UNHEARD_FIELDS,
)
from heed.errors import InvalidManifest, Problem


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = _Missing()
_LISTS: Final = {
    "emitted": "type",
    "tasks": "task",
    "deadLetters": "code",
    "unheard": "type",
    "pending": "task",
}
_FORMS: Final[dict[str, tuple[type, ...]]] = {
    "agents": (dict,),
    "outcomes": (dict,),
    "emitted": (list, int),
    "tasks": (list, int),
    "deadLetters": (list, int),
    "unheard": (list, int),
    "pending": (list, int),
}
_ITEMS: Final = {  # events may have any extension
    "tasks": STARTED_FIELDS,
    "deadLetters": LETTER_FIELDS,
    "unheard": UNHEARD_FIELDS,
    "pending": PENDING_FIELDS,
}
_RECONCILED: Final = (
    "observed_generation",
    "conditions",
    "last_valid_spec",
    "address",
)  # no ledger holds these
_RECORDS: Final[dict[str, type[Any]]] = {"cursor": Cursor, "totals": Totals, "counts": Counts}
_BY_KEY: Final[dict[str, type[Any]]] = {
    "sessions": Session,
    "pendingTasks": PendingTask,
    "outbox": OutboxMessage,
}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A path (`agents.researcher.sessions.a.state.topic`) with what was expected and what was found."""

    path: str
    expected: Any
    found: Any  # NOTHING where there is nothing


def check_expectation(expected: Any, agents: Collection[str] | None = None) -> dict[str, Any]:
    """Validate an expectation's shape and names. Raises InvalidManifest with paths.

    `agents` are the known ones, as namespace/name; None: any. A name that nothing has would be met by null or 0
    whatever happens.
    """
    if not isinstance(expected, dict):
        raise InvalidManifest([Problem("", "an expectation is a map", f"known are {', '.join(_FORMS)}")])
    problems = list(_unknown(expected, _FORMS, "", "expectation"))
    for key, value in expected.items():
        if key in _FORMS:
            problems.extend(_misshaped(key, value) or _strange(key, value, agents))
    if problems:
        raise InvalidManifest(problems)
    return expected


def _misshaped(key: str, value: Any) -> list[Problem]:
    if isinstance(value, _FORMS[key]) and not isinstance(value, bool):
        return []
    form = "a map" if dict in _FORMS[key] else "a list or a number"
    return [Problem(key, f"is not {form}")]


def _strange(key: str, value: Any, agents: Collection[str] | None) -> Iterator[Problem]:
    """Names within an expectation that no transcript has."""
    if key == "outcomes":
        yield from _unknown(value, OUTCOMES.values(), key, "outcome")
    elif key == "agents":
        for name, status in value.items():
            yield from _unknown_agent(str(name), agents) or _strange_status(status, f"{key}.{name}")
    elif isinstance(value, list) and key in _ITEMS:
        for index, item in enumerate(value):
            yield from _unknown(item, _ITEMS[key], f"{key}[{index}]", "field")


def _unknown_agent(name: str, agents: Collection[str] | None) -> list[Problem]:
    if agents is None or name in agents:
        return []
    full = [agent for agent in agents if agent.partition("/")[2] == name]
    if len(full) > 1:
        return [Problem(f"agents.{name}", "is in several namespaces", f"write one of {', '.join(full)}")]
    known = [*agents, *(agent.partition("/")[2] for agent in agents)]
    return [] if full else [Problem(f"agents.{name}", "there is no such Agent", _hint(name, known, agents))]


def _strange_status(status: Any, path: str) -> Iterator[Problem]:
    known = [name for name in _fields(AgentStatus) if name not in map(to_camel, _RECONCILED)]
    yield from _unknown(status, known, path, "field")
    for name, value in status.items() if isinstance(status, dict) else ():
        here = f"{path}.{name}"
        if name in _RECORDS:
            yield from _unknown(value, _fields(_RECORDS[name]), here, "field")
        elif name in _BY_KEY and isinstance(value, dict):
            for key, record in value.items():
                yield from _unknown(record, _fields(_BY_KEY[name]), f"{here}.{key}", "field")
                cause = record.get("cause") if name == "pendingTasks" and isinstance(record, dict) else None
                yield from _unknown(cause, _fields(TaskCause), f"{here}.{key}.cause", "field")
        elif name == "recentTasks" and isinstance(value, list):
            for index, record in enumerate(value):
                yield from _unknown(record, _fields(RecentTask), f"{here}[{index}]", "field")


def _fields(record: type[Any]) -> list[str]:
    return [to_camel(item.name) for item in fields(record)]


def _unknown(found: Any, known: Collection[str], path: str, what: str) -> Iterator[Problem]:
    """The keys of a map that are none of the known ones."""
    for key in found if isinstance(found, dict) else ():
        if key not in known:
            here = f"{path}.{key}" if path else str(key)
            yield Problem(here, f"there is no such {what}", _hint(str(key), known, known))


def _hint(name: str, names: Collection[str], known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=1)
    return f'did you mean "{near[0]}"?' if near else f"known are {', '.join(known)}"


def find_unmet(expected: Mapping[str, Any], transcript: Mapping[str, Any]) -> list[Mismatch]:
    """The mismatches of a transcript with an expectation."""
    found: list[Mismatch] = []
    for key, value in expected.items():
        if key == "agents":
            found.extend(find_mismatches(value, _agents(value, transcript["agents"]), key))
        elif key == "outcomes":
            counts = {name: transcript["outcomes"].get(name, 0) for name in value}
            found.extend(find_mismatches(value, counts, key))
        else:
            items = transcript["letters" if key == "deadLetters" else key]
            found.extend(find_mismatches(value, _shaped(value, items, _LISTS[key]), key))
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


def find_mismatches(expected: Any, found: Any, path: str = "") -> Iterator[Mismatch]:
    """Differences, by path: maps may hold more than expected, lists not. An expected null means nothing there."""
    if isinstance(expected, dict) and isinstance(found, Mapping):
        for key, value in expected.items():
            yield from find_mismatches(value, found.get(key, NOTHING), f"{path}.{key}" if path else str(key))
    elif isinstance(expected, list) and isinstance(found, list):
        for index in range(max(len(expected), len(found))):
            wanted = expected[index] if index < len(expected) else NOTHING
            there = found[index] if index < len(found) else NOTHING
            yield from find_mismatches(wanted, there, f"{path}[{index}]")
    elif not _equal(expected, found):
        yield Mismatch(path, expected, found)


def _equal(expected: Any, found: Any) -> bool:
    if expected is None:
        return found is None or found is NOTHING
    # True == 1 in Python, not in JSON; 1 == 1.0 in both.
    return isinstance(expected, bool) == isinstance(found, bool) and bool(expected == found)
