"""Writes docs/python-reference.md: what Agents in Python import, with the docstrings of the code.

python -m tests.python_reference [--check]
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from pydantic import BaseModel

import heed.sdk
import heed.sdk.testing
import heed.sdk.testing.strategies

TARGET: Final = Path(__file__).parents[1] / "docs/python-reference.md"
HEADER: Final = """# Agents in Python: reference

Generated from the docstrings by `make generate`; do not edit. [Agents in Python](python.md) is the tutorial.
"""
MODULES: Final[Mapping[ModuleType, tuple[str, ...]]] = {
    heed.sdk: tuple(heed.sdk.__all__),
    heed.sdk.testing: tuple(heed.sdk.testing.__all__),
    heed.sdk.testing.strategies: ("orders",),
}

_MODULE_PREFIX: Final = re.compile(
    r"\b(?:heed|typing|collections|datetime|pydantic|hypothesis)\.(?:\w+\.)*(?=\w)|[~+](?=[A-Z])"
)


def write_reference() -> str:
    """The page."""
    parts = [HEADER]
    for module, names in MODULES.items():
        parts.append(f"## {module.__name__}\n")
        for name in names:
            parts.extend(_describe(name, getattr(module, name)))
    return "\n".join(parts)


def _describe(name: str, value: Any) -> Iterator[str]:
    yield f"### {name}\n"
    if not callable(value) or not hasattr(value, "__doc__") or not hasattr(value, "__module__"):
        yield f"`{_plain(str(value))}`\n"
        return
    if not isinstance(value, type) and not inspect.isfunction(value):
        yield f"`{_plain(str(value))}`\n"
        return
    yield f"```python\n{name}{_signature(value)}\n```\n"
    yield f"{_text(value)}\n"
    if isinstance(value, type):
        yield from _members(value)


def _members(kind: type) -> Iterator[str]:
    """The public methods and properties that the project's own classes define, each once."""
    seen: set[str] = set()
    for base in kind.__mro__:
        if not base.__module__.startswith("heed.") or base is BaseModel:
            continue
        for name, member in vars(base).items():
            found = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            if name.startswith("_") or name in seen:
                continue
            if isinstance(found, property):
                seen.add(name)
                yield f"- **`{name}`**: {_indented(found)}\n"
            elif inspect.isfunction(found):
                seen.add(name)
                yield f"- **`{name}{_signature(found, of_class=True)}`**: {_indented(found)}\n"


def _signature(value: Any, *, of_class: bool = False) -> str:
    try:
        found = inspect.signature(value)
    except ValueError:
        return "(…)"
    parameters = list(found.parameters.values())
    if of_class and parameters and not isinstance(value, staticmethod):
        parameters = parameters[1:]
    return _plain(str(found.replace(parameters=parameters)).replace(" -> None", ""))


def _plain(text: str) -> str:
    short = (
        _MODULE_PREFIX.sub("", text).replace("'", '"').replace("NoneType", "None").replace("<factory>", "…")
    )
    return re.sub(
        r"TaskOptions\([^()]*\(\)[^()]*\)", "TaskOptions()", re.sub(r'<class "(\w+)">', r"\1", short)
    )


def _text(value: Any) -> str:
    return inspect.cleandoc(value.__doc__ or "")


def _indented(value: Any) -> str:
    return re.sub(r"\n(?=.)", "\n  ", _text(value))


def main() -> int:
    """Write the page, or say whether it is current."""
    text = write_reference()
    if "--check" not in sys.argv:
        TARGET.write_text(text)
        return 0
    if TARGET.exists() and TARGET.read_text() == text:
        return 0
    print("docs/python-reference.md is not what the docstrings say: run `make generate`")
    return 1


if __name__ == "__main__":
    sys.exit(main())
