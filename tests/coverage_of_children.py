"""A plugin of pytest for `make coverage`: Python processes that are given an environment of their own are measured too.

coverage.py hands its settings to child processes in a variable. The workers of Heed's sandbox, among others, start with
next to no environment; where such a child is a Python, that one variable is added.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from typing import Any

SETTINGS = "COVERAGE_PROCESS_CONFIG"


def pytest_configure() -> None:
    """Let `subprocess.Popen`, which asyncio uses as well, add the settings to a given environment."""
    begin = subprocess.Popen.__init__

    @functools.wraps(begin)
    def begin_measured(self: subprocess.Popen[Any], args: Any, *more: Any, **options: Any) -> None:
        environment = options.get("env")
        if environment is not None and SETTINGS in os.environ and _is_python(args):
            options["env"] = {SETTINGS: os.environ[SETTINGS], **environment}
        begin(self, args, *more, **options)

    subprocess.Popen.__init__ = begin_measured  # type: ignore[method-assign]


def _is_python(args: Any) -> bool:
    return isinstance(args, list | tuple) and bool(args) and args[0] == sys.executable
