"""Loads the Agents of a Python file, with what is wrong with it as a line in the user's own code."""

import importlib.util
import sys
import traceback
from pathlib import Path

from heed.sdk.agent import Agent


class ModuleMistake(Exception):
    """A file that cannot be imported, or has no Agent: `place` is its file:line."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place}: {message}")
        self.place, self.message = place, message


def load_agents(path: Path) -> list[Agent]:
    """The Agents that a file defines at its top level. Raises ModuleMistake."""
    name = f"heed_agent_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModuleMistake(f"{path}:1", "is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ModuleMistake(_place(path, error), f"{type(error).__name__}: {_said(error)}") from error
    agents = {id(item): item for item in vars(module).values() if isinstance(item, Agent)}
    if not agents:
        raise ModuleMistake(f"{path}:1", "defines no Agent; write agent = Agent(...) at its top level")
    return list(agents.values())


def _place(path: Path, error: Exception) -> str:
    """The last line of the file itself that the error came through."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{path}:{frames[-1].lineno if frames else 1}"


def _said(error: Exception) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)
