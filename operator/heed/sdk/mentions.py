"""What a function's code names: the events it may emit, the tasks it may start, and whether it reads pending ones."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from heed.sdk.places import is_own


@dataclass(frozen=True, slots=True)
class Mentions:
    """The names in some code, attributes included, and what those that are variables stand for, each once."""

    names: frozenset[str]
    values: tuple[Any, ...]


def find_mentions(function: Callable[..., Any], owner: type) -> Mentions:
    """What a function names, and the functions that it names, where they stand in its folder or below.

    Methods of `owner`, the class of the state, are among them.
    """
    plain = inspect.unwrap(function)
    folder = Path(plain.__code__.co_filename).parent
    names: dict[str, None] = {}
    values: dict[int, Any] = {}
    waiting, seen = [plain], {plain}
    while waiting:
        current = waiting.pop(0)
        for name, value in _variables(current, owner):
            names[name] = None
            values.setdefault(id(value), value)
            found = inspect.unwrap(value) if callable(value) else None
            if isinstance(found, FunctionType) and found not in seen:
                seen.add(found)
                waiting += [found] if is_own(found.__code__.co_filename, folder) else []
    return Mentions(frozenset(names), tuple(values.values()))


def _variables(function: Any, owner: type) -> Iterator[tuple[str, Any]]:
    """The names in a function's code with what they stand for, None where that is not known."""
    closed = inspect.getclosurevars(function).nonlocals
    for name in _names(function.__code__):
        if name in closed:
            yield name, closed[name]
        elif name in function.__globals__:
            yield name, function.__globals__[name]
        else:
            yield name, inspect.getattr_static(owner, name, None)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    yield from code.co_freevars
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
