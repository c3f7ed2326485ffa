"""Which tests reach which functions: a pytest plugin. Load it with `-p tests.mutation.reach`, in a workspace."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mutation.children import FOLDER, Listener, children_file


class Reach:
    """Notes the functions that each test runs, here and in its processes, how long it takes, and whether it passes."""

    def __init__(self, folder: Path, workspace: Path) -> None:
        self._folder, self._listener = folder, Listener(workspace, self)
        self._now: set[str] = set()
        self._tests: dict[str, dict[str, Any]] = defaultdict(
            lambda: {"functions": [], "seconds": 0.0, "passed": True}
        )

    def add(self, name: str) -> None:
        """A function runs."""
        self._now.add(name)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
        """One test, its fixtures included."""
        self._now.clear()
        self._listener.listen()  # a test may have ended it, for its thread or for all
        result = yield
        elsewhere = children_file(self._folder, item.nodeid)
        if elsewhere.exists():
            self._now.update(elsewhere.read_text().split())
        self._tests[item.nodeid]["functions"] = sorted(self._now)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of a test: a skipped one has not passed."""
        noted = self._tests[report.nodeid]
        noted["seconds"] += report.duration
        noted["passed"] = noted["passed"] and report.passed

    def pytest_sessionfinish(self) -> None:
        """All is known."""
        (self._folder / "reach.json").write_text(json.dumps(self._tests))


def pytest_configure(config: pytest.Config) -> None:
    """Listen from the first test on."""
    config.pluginmanager.register(Reach(Path(os.environ[FOLDER]), config.rootpath), "heed-reach")
