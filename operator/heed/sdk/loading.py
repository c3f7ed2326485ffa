"""Loads Agents from Python modules: by the path of a file or a dotted name, `:agent` naming one of several.

A file is executed each time it is loaded; a mistake in it is told with the line of the user's own code.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

from heed.errors import InvalidManifest, InvalidSettings, Problem
from heed.sdk.agent import Agent
from heed.sdk.errors import DeclarationError
from heed.sdk.places import is_own, show_path

SUFFIX: Final = ".py"

_AGENT: Final = re.compile(r"[A-Za-z0-9_][-A-Za-z0-9_]*")
_MODULE: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class ModuleFailed(InvalidManifest):
    """A module that cannot be imported, or has no Agents to load. `line` counts from 1."""

    def __init__(self, source: str, line: int, message: str, remedy: str = "") -> None:
        super().__init__([Problem(f"{source}:{line}", message, remedy)])
        self.source, self.line, self.message, self.remedy = source, line, message, remedy


@dataclass(frozen=True, slots=True)
class ModuleReference:
    """A module as people name it, `agent.py:researcher` or `company.agents`, and the Agent in it that is meant."""

    module: str
    agent: str | None = None

    @classmethod
    def parse(cls, text: str) -> "ModuleReference":
        """The reference in a text."""
        module, colon, agent = text.rpartition(":")
        return cls(module, agent) if colon and module and _AGENT.fullmatch(agent) else cls(text)

    @property
    def is_file(self) -> bool:
        """Whether it is the path of a file, and no dotted name."""
        return self.module.endswith(SUFFIX) or not _MODULE.fullmatch(self.module)


def is_python(text: str) -> bool:
    """Whether a text names a Python file, with or without an Agent."""
    return ModuleReference.parse(text).module.endswith(SUFFIX)


def load_agent(text: str) -> Agent:
    """The Agent that `module[:agent]` names: the only one, or the one of this name. Raises as `load_agents` does."""
    found = load_agents(text)
    if len(found) > 1:
        module = ModuleReference.parse(text).module
        known = ", ".join(agent.name for agent in found)
        raise ModuleFailed(module, 1, f"has several Agents: {known}", f"name one: {module}:{found[0].name}")
    return found[0]


def load_agents(text: str) -> list[Agent]:
    """All Agents of `module`, or the one that `module:agent` names by its variable or its own name.

    Raises InvalidSettings where there is no such module, ModuleFailed where it has a mistake.
    """
    reference = ModuleReference.parse(text)
    agents = find_agents(load_module(reference.module))
    if not agents:
        remedy = "write `agent = Agent(…)` at its top level"
        raise ModuleFailed(reference.module, 1, "has no Agent", remedy)
    if reference.agent is None:
        return list(dict.fromkeys(agents.values()))
    for variable, agent in agents.items():
        if reference.agent in (variable, agent.name):
            return [agent]
    known = ", ".join(dict.fromkeys(agent.name for agent in agents.values()))
    raise ModuleFailed(reference.module, 1, f'has no Agent "{reference.agent}"', f"it has: {known}")


def find_agents(module: ModuleType) -> Mapping[str, Agent]:
    """The Agents at the top level of a module, by their variables."""
    return {name: value for name, value in vars(module).items() if isinstance(value, Agent)}


def load_module(name: str) -> ModuleType:
    """A module, imported. What it prints goes to standard error. Raises InvalidSettings, ModuleFailed."""
    if ModuleReference(name).is_file:
        return _load_file(Path(name))
    _put_first(Path.cwd())
    with _explained(name, Path.cwd()):
        if _is_missing(name):
            raise InvalidSettings(f"{name}: there is no such module; name a file or a dotted name")
        return importlib.import_module(name)


def _is_missing(name: str) -> bool:
    """Whether there is no module of this name. Raises what its packages raise when they are imported."""
    try:
        return importlib.util.find_spec(name) is None
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            return True
        raise


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InvalidSettings(f"{path}: there is no such file")
    name, folder = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InvalidSettings(f"{path}: is no Python file; its name has to end with {SUFFIX}")
    _put_first(folder)
    module, before = importlib.util.module_from_spec(spec), sys.modules.get(name)
    sys.modules[name] = module  # where annotations are looked up
    try:
        with _explained(str(path), folder):
            spec.loader.exec_module(module)
    except ModuleFailed:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        raise
    return module


def _module_name(path: Path) -> tuple[str, Path]:
    """The name that a file is imported by, and the folder to import from: above the packages that it stands in.

    A file that has the name of a module of another place gets one of its own.
    """
    full = path.resolve()
    parts, folder = [full.stem], full.parent
    while (folder / "__init__.py").is_file():
        parts, folder = [folder.name, *parts], folder.parent
    name = ".".join(parts)
    known = sys.modules.get(name)
    taken = (
        name in sys.stdlib_module_names if known is None else getattr(known, "__file__", None) != str(full)
    )
    if name.replace(".", "_").isidentifier() and not taken:
        return name, folder
    return f"{full.stem}_{hashlib.sha256(str(full).encode()).hexdigest()[:8]}", folder


def _put_first(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@contextlib.contextmanager
def _explained(source: str, folder: Path) -> Iterator[None]:
    """Import within: what goes wrong is a ModuleFailed, and what is printed goes to standard error."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except InvalidSettings:
        raise
    except (Exception, SystemExit) as error:
        raise _explain(source, folder, error) from error


def _explain(source: str, folder: Path, error: BaseException) -> ModuleFailed:
    """What went wrong, in the last line of the user's own code that it came through."""
    if isinstance(error, SyntaxError):
        return ModuleFailed(
            show_path(error.filename or source), error.lineno or 1, f"SyntaxError: {error.msg}"
        )
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_own(frame.filename, folder)]
    place, line = (show_path(own[-1].filename), own[-1].lineno or 1) if own else (source, 1)
    match error:
        case DeclarationError():
            return ModuleFailed(place, line, str(error))
        case ModuleNotFoundError(name=str(name)):
            return ModuleFailed(place, line, f"needs the Python package {name}", "install it where heed runs")
        case SystemExit():
            remedy = 'put what is for scripts under `if __name__ == "__main__":`'
            return ModuleFailed(place, line, "ends the process while it is imported", remedy)
    return ModuleFailed(place, line, f"{type(error).__name__}: {error}")
