"""What a function's code names: the events it may emit, the tasks it may start, whether it reads pending ones.

It is looked for in the functions that it names too, as far as they are the user's own.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from heed.sdk.places import find_project, is_own


@dataclass(frozen=True, slots=True)
class Mentions:
    """The names in some code, attributes included, what those that are known stand for, and the files of all that."""

    names: frozenset[str]
    values: tuple[Any, ...]
    files: frozenset[str]


def find_mentions(function: Callable[..., Any], owner: type | None = None) -> Mentions:
    """What a function names, and the functions, methods and modules of the user's that it reaches.

    `owner` is the class of the state, whose methods may be called.
    """
    plain = inspect.unwrap(function)
    folder = find_project(plain.__module__, plain.__code__.co_filename)
    names: set[str] = set()
    values: dict[int, Any] = {}
    waiting, seen = [plain], {plain}
    while waiting:
        for name, value in _named(waiting.pop(0), owner, folder):
            names.add(name)
            values.setdefault(id(value), value)
            found = inspect.unwrap(value) if callable(value) else None
            if isinstance(found, FunctionType) and found not in seen and _is_own(found, folder):
                seen.add(found)
                waiting.append(found)
    reached = [*seen, *([] if owner is None else [owner]), *values.values()]
    files = {file for item in reached if _is_own(item, folder) and (file := _file(item))}
    return Mentions(frozenset(names), tuple(values.values()), frozenset(files))


def _file(item: Any) -> str | None:
    """The file of a function, a class or a module."""
    if isinstance(item, FunctionType):
        return item.__code__.co_filename
    if isinstance(item, ModuleType):
        return getattr(item, "__file__", None)
    try:
        return inspect.getfile(item) if isinstance(item, type) else None
    except (OSError, TypeError):
        return None


def _is_own(item: Any, folder: Path) -> bool:
    file = _file(item)
    return file is not None and is_own(file, folder)


def _named(function: FunctionType, owner: type | None, folder: Path) -> Iterator[tuple[str, Any]]:
    """The names in a function's code with what they may stand for; None where that is not known.

    An attribute may be one of the state's class, or of the modules and classes that are named beside it.
    """
    closed = inspect.getclosurevars(function).nonlocals
    names = list(dict.fromkeys(_names(function.__code__)))
    variables = {name: found for name in names if (found := _lookup(name, closed, function)) is not None}
    beside = [
        item for item in variables.values() if isinstance(item, ModuleType | type) and _is_own(item, folder)
    ]
    for name in names:
        if name in variables:
            yield name, variables[name]
        else:
            yield from ((name, value) for value in _attributes(name, [owner, *beside]))


def _lookup(name: str, closed: Mapping[str, Any], function: FunctionType) -> Any:
    return closed[name] if name in closed else function.__globals__.get(name)


def _attributes(name: str, owners: Sequence[Any]) -> list[Any]:
    """What an attribute may be: at least one value, which may be None."""
    found = [inspect.getattr_static(item, name, None) for item in owners if item is not None]
    return [item for item in found if item is not None] or [None]


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    yield from code.co_freevars
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
