"""Which tests to ask about a mutant, in which order: the nearest first, then what else reaches its function."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NEAREST_FILES = 3
NEAREST_TESTS = 90
WIDER_SECONDS = 240.0


@dataclass(frozen=True)
class Choice:
    """Tests by their node ids, and how many seconds they take without a mutant."""

    nearest: tuple[str, ...]
    nearest_seconds: float
    wider: tuple[str, ...]
    wider_seconds: float


class Nearest:
    """Knows what each test reaches. It is the nearer to a module, the more of what it reaches is of that module."""

    def __init__(self, reach: Mapping[str, Mapping[str, Any]], wider_seconds: float = WIDER_SECONDS) -> None:
        self._wider_seconds = wider_seconds
        # A second pytest in a process does not find tests by names with escapes.
        usable = {test: noted for test, noted in reach.items() if noted["passed"] and "\\" not in test}
        self._seconds = {test: float(noted["seconds"]) for test, noted in usable.items()}
        self._shares = {test: Counter(map(_module, noted["functions"])) for test, noted in usable.items()}
        self._files: dict[str, Counter[str]] = defaultdict(Counter)
        self._by_function: dict[str, list[str]] = defaultdict(list)
        for test, noted in usable.items():
            self._files[_file(test)].update(self._shares[test])
            for function in noted["functions"]:
                self._by_function[function].append(test)

    def of(self, function: str) -> Choice:
        """The tests for a function, by its mangled name."""
        module = _module(function)

        def distance(test: str) -> tuple[float, float]:
            return -_share(self._shares[test], module), self._seconds[test]

        ordered = sorted(self._by_function.get(function, ()), key=distance)
        files = sorted({_file(test) for test in ordered}, key=lambda file: -_share(self._files[file], module))
        nearest = [test for test in ordered if _file(test) in files[:NEAREST_FILES]][:NEAREST_TESTS]
        wider, left = [], self._wider_seconds
        for test in ordered:
            if test not in nearest and self._seconds[test] <= left:
                wider.append(test)
                left -= self._seconds[test]
        return Choice(tuple(nearest), self._total(nearest), tuple(wider), self._total(wider))

    def _total(self, tests: list[str]) -> float:
        return sum(self._seconds[test] for test in tests)


def _share(counts: Counter[str], module: str) -> float:
    return counts[module] / counts.total()


def _module(function: str) -> str:
    return function.rpartition(".")[0]


def _file(test: str) -> str:
    return test.split("::")[0]
