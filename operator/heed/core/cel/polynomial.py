"""Polynomials in the extent and list length of data: upper bounds of a decision's work.

The unit of work is about a nanosecond or a byte, whichever is more.
"""

import marshal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

NODE_EXTENT: Final = 32  # the extent of a value beside its text
WORK_BUDGET: Final = 100_000_000  # work that may be done in the operator's own process for one event
TOO_MUCH: Final = 1e30  # for any data

_DEGREE: Final = 5
_MAX_FACTOR: Final = 1e60  # products of what is beyond all bounds stay numbers
_MAX_EXTENT: Final = 1 << 24  # of an event of 1 MiB

Bound = Mapping[tuple[int, int], float]
"""A polynomial: coefficients, none of them negative, by the powers of the data's extent and of their longest list."""

NO_WORK: Final[Bound] = {}
EXTENT: Final[Bound] = {(1, 0): 1.0}
LENGTH: Final[Bound] = {(0, 1): 1.0}


def constant(value: float) -> Bound:
    """A bound that does not depend on data."""
    return {(0, 0): value}


def plus(*bounds: Bound) -> Bound:
    """Their sum."""
    result: dict[tuple[int, int], float] = {}
    for bound in bounds:
        for powers, factor in bound.items():
            result[powers] = result.get(powers, 0.0) + factor
    return result


def times(one: Bound, other: Bound) -> Bound:
    """Their product; what is of too high a degree is too much for any data."""
    result: dict[tuple[int, int], float] = {}
    for (i, j), first in one.items():
        for (k, n), second in other.items():
            powers, more = ((i + k, j + n), 1.0) if i + j + k + n <= _DEGREE else ((0, 0), TOO_MUCH)
            result[powers] = min(result.get(powers, 0.0) + first * second * more, _MAX_FACTOR)
    return result


def scale(bound: Bound, factor: float) -> Bound:
    """A bound multiplied by a factor."""
    return {powers: min(item * factor, _MAX_FACTOR) for powers, item in bound.items()}


def peak(*bounds: Bound) -> Bound:
    """The coefficient-wise maximum: no less than any of the bounds."""
    result: dict[tuple[int, int], float] = {}
    for bound in bounds:
        for powers, factor in bound.items():
            result[powers] = max(result.get(powers, 0.0), factor)
    return result


def without(bound: Bound, other: Bound) -> Bound:
    """What a bound has beyond another one, coefficient by coefficient; none of them is negative."""
    return {
        powers: factor - other.get(powers, 0.0)
        for powers, factor in bound.items()
        if factor > other.get(powers, 0)
    }


def _within(bound: Bound, extent: float, length: float) -> bool:
    return sum(factor * extent**i * length**j for (i, j), factor in bound.items()) <= WORK_BUDGET


@dataclass(frozen=True, slots=True)
class DataLimit:
    """The data on which some work stays within WORK_BUDGET."""

    work: Bound
    always: int  # the largest extent at which it does, however long its lists are; -1: none

    @classmethod
    def of(cls, work: Bound) -> "DataLimit":
        """The limit of a bound on work."""
        low, high = -1, _MAX_EXTENT
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if _within(work, middle, middle / NODE_EXTENT) else (low, middle - 1)
        return cls(work, low)

    @property
    def is_none(self) -> bool:
        """Whether it allows all data that an event can have."""
        return self.always >= _MAX_EXTENT

    def allows(self, *values: Any) -> bool:
        """Whether the work on these JSON values together stays within the budget."""
        return self.always >= _roughly(values) or _within(self.work, *measure_extent(list(values)))


class RemainingLimit:
    """A DataLimit for values of which some are fixed, with a quick check of their marshalled size first."""

    __slots__ = ("_fixed", "_left", "_limit")

    def __init__(self, limit: DataLimit, fixed: Any) -> None:
        self._limit, self._fixed = limit, fixed
        self._left = limit.always - _roughly(fixed)

    def allows(self, changing: Any) -> bool:
        """Whether a value and the fixed ones together stay within the budget."""
        return self._left >= _roughly(changing) or self._limit.allows(self._fixed, changing)


def _roughly(value: Any) -> int:
    """No less than the extent of a JSON value: every value in it is a byte at least."""
    return (NODE_EXTENT + 1) * len(marshal.dumps(value, 2))


def max_repetitions(numbers: Iterable[str] | Iterable[bytes]) -> int:
    """The largest repetition of a pattern's counts such as {2,5}; a number left out is empty."""
    return max([1, *(int(number) for number in numbers if number)])


def measure_extent(value: Any) -> tuple[int, int]:
    """The extent of a JSON value (its characters, and NODE_EXTENT per value and key), and its longest list or map."""
    if isinstance(value, str):
        return NODE_EXTENT + len(value) * (1 if value.isascii() else 4), 0
    if isinstance(value, bytes):
        return NODE_EXTENT + 2 * len(value), 0
    if not isinstance(value, list | Mapping):
        return NODE_EXTENT, 0
    extent, longest = NODE_EXTENT, len(value)
    if isinstance(value, Mapping):
        extent += sum(NODE_EXTENT + len(key) for key in value)
        value = value.values()
    for item in value:
        more, length = measure_extent(item)
        extent, longest = extent + more, max(longest, length)
    return extent, longest
