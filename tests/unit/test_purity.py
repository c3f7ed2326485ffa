"""Below the engine nothing does I/O, reads a clock or draws lots: same inputs, same decision.

import-linter checks which modules are imported. This looks at the rest: standard-library modules by their full
names (a clock hides in `datetime`, which must stay importable), and calls.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

HEED = Path(__file__).parents[2] / "operator" / "heed"
PURE = ["core", "api", "names.py", "errors.py"]

BANNED_MODULES = {
    *("aiohttp", "asyncio", "concurrent", "ctypes", "fcntl", "glob", "http", "kopf", "kubernetes"),
    *("logging", "multiprocessing", "nats", "os", "pathlib", "random", "resource", "secrets", "select"),
    *("shutil", "signal", "socket", "ssl", "subprocess", "sys", "tempfile", "threading", "time"),
    *("urllib", "uuid"),
}
ALLOWED_MODULES = {"urllib.parse"}
BANNED_BUILTINS = {"breakpoint", "eval", "exec", "input", "open", "print", "__import__"}
# What reads the environment, a clock or entropy, whatever name its module was imported under.
BANNED_ATTRIBUTES = {
    *("environ", "getenv", "urandom", "uuid1", "uuid4"),
    *("monotonic", "perf_counter", "time_ns", "getrandbits", "randbytes"),
}
# `moment.now` may be a field that carries the time in; `now()`, and `now` of a class from datetime, is a clock.
CLOCKS = {"now", "utcnow", "today"}
# Same argument, another value in the next process.
BANNED_CALLS = {"hash": "seeded per process; use hashlib", "id": "an address"}


def impurities(source: str) -> list[str]:
    """What in this source could make a decision depend on more than its arguments, as `line: reason`."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [(node.lineno, f"imports {name.name}") for name in names if banned(name.name)]
            case ast.ImportFrom(module=str(module), names=names):
                full = [f"{module}.{name.name}" for name in names]
                if banned(module) and not all(name in ALLOWED_MODULES for name in full):
                    found.append((node.lineno, f"imports {module}"))
            case ast.Attribute(attr=attribute) if attribute in BANNED_ATTRIBUTES:
                found.append((node.lineno, f"uses {ast.unparse(node)}"))
            case ast.Call(func=ast.Attribute(attr=attribute) as clock) if attribute in CLOCKS:
                found.append((node.lineno, f"calls {ast.unparse(clock)}"))
            case ast.Attribute(value=owner, attr=attribute) if attribute in CLOCKS and of_datetime(owner):
                found.append((node.lineno, f"uses {ast.unparse(node)}"))
            case ast.Name(id=name, ctx=ast.Load()) if name in BANNED_BUILTINS:
                found.append((node.lineno, f"uses {name}"))
            case ast.Call(func=ast.Name(id=name)) if name in BANNED_CALLS:
                found.append((node.lineno, f"calls {name}: {BANNED_CALLS[name]}"))
    return [f"{line}: {reason}" for line, reason in sorted(found)]


def of_datetime(owner: ast.expr) -> bool:
    return ast.unparse(owner).split(".")[-1] in {"date", "datetime"}


def banned(module: str) -> bool:
    return module.split(".")[0] in BANNED_MODULES and module not in ALLOWED_MODULES


def pure_files() -> list[Path]:
    files = [
        file
        for name in PURE
        for file in ([HEED / name] if name.endswith(".py") else (HEED / name).rglob("*.py"))
    ]
    return sorted(file.relative_to(HEED) for file in files)


@pytest.mark.parametrize("file", pure_files(), ids=str)
def test_nothing_below_the_engine_reaches_the_world(file: Path) -> None:
    assert impurities((HEED / file).read_text()) == []


def test_the_files_below_the_engine_are_found() -> None:
    assert {Path("names.py"), Path("errors.py"), Path("core/__init__.py"), Path("api/__init__.py")} <= set(
        pure_files()
    )


@pytest.mark.parametrize(
    "snippet",
    [
        "import os",
        "import os.path as p",
        "import json, time",
        "from time import monotonic",
        "from urllib.request import urlopen",
        "from urllib import parse, request",
        "def f():\n    import asyncio",
        "from datetime import datetime\nat = datetime.now()",
        "import datetime as d\nat = d.datetime.utcnow()",
        "from datetime import datetime as d\nat = d.now()",
        "import datetime\nclock = datetime.datetime.now",
        "from datetime import date\nday = date.today()",
        "from uuid import uuid4",
        "key = os.environ['KEY']",
        "text = open('/etc/hostname').read()",
        "print('decided')",
        "say = print",
        "shard = hash('agent') % 8",
    ],
)
def test_an_impurity_is_reported(snippet: str) -> None:
    assert impurities(snippet)


@pytest.mark.parametrize(
    "snippet",
    [
        "from datetime import UTC, datetime, timedelta\nat = datetime.fromisoformat('2026-01-01T00:00:00Z')",
        "import hashlib, json\nname = hashlib.sha256(json.dumps(['a', 1]).encode()).hexdigest()",
        "from urllib.parse import quote",
        "from urllib import parse",
        "def due(timer, moment):\n    return timer.at <= moment.now",
        "def expired(task, now):\n    return task.deadline <= now",
        "class Event:\n    id: str\n    def __hash__(self):\n        return 1",
    ],
)
def test_what_only_depends_on_its_arguments_passes(snippet: str) -> None:
    assert impurities(snippet) == []
