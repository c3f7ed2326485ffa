"""Which tests to ask about a mutant, in which order: the nearest first, then what else reaches its function."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NEAREST_FILES = 3
NEAREST_TESTS = 60
WIDER_SECONDS = 240


@dataclass(frozen=True)
class Choice:
    """Tests by their node ids, and how many seconds they take without a mutant."""

    nearest: tuple[str, ...]
    nearest_seconds: float
    wider: tuple[str, ...]
    wider_seconds: float


class Nearest:
    """Knows what each test reaches. The fewer other functions a test reaches, the nearer it is to each of them."""

    def __init__(self, reach: Mapping[str, Mapping[str, Any]], wider_seconds: float = WIDER_SECONDS) -> None:
        self._wider_seconds = wider_seconds
        self._seconds = {test: float(noted["seconds"]) for test, noted in reach.items()}
        self._by_function: dict[str, list[tuple[int, float, str]]] = defaultdict(list)
        for test, noted in reach.items():
            if (
                noted["passed"] and "\\" not in test
            ):  # a second pytest in a process does not find escaped names
                breadth = len(noted["functions"])
                for function in noted["functions"]:
                    self._by_function[function].append((breadth, self._seconds[test], test))
        for tests in self._by_function.values():
            tests.sort()

    def of(self, function: str) -> Choice:
        """The tests for a function, by its mangled name."""
        ordered = [test for _, _, test in self._by_function.get(function, ())]
        files = list(dict.fromkeys(test.split("::")[0] for test in ordered))[:NEAREST_FILES]
        nearest = [test for test in ordered if test.split("::")[0] in files][:NEAREST_TESTS]
        wider, left = [], self._wider_seconds
        for test in ordered:
            if test not in nearest and self._seconds[test] <= left:
                wider.append(test)
                left -= self._seconds[test]
        return Choice(tuple(nearest), self._total(nearest), tuple(wider), self._total(wider))

    def _total(self, tests: list[str]) -> float:
        return sum(self._seconds[test] for test in tests)
