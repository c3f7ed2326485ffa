"""What code names, in its own module and in the others of its project; and the digest of all that."""

import os
import shutil
import sys
import textwrap
from pathlib import Path

import pytest

from heed.sdk.agent import Agent
from heed.sdk.loading import load_agent
from heed.sdk.manifest import build_agent, code_digest

AGENT = """
import rules
from deeper import told
from deeper.told import Teller
from heed.sdk import Agent, Event, Reaction, State, emit
from events import Asked

class Known(State):
    topic: str = ""

agent = Agent("a", state=Known)

@agent.on
def begin(event: Asked, state: Known) -> Reaction:
    return {body}
"""

FILES = {
    "events.py": """
        from heed.sdk import Event
        class Asked(Event, type="com.example.asked"):
            topic: str
        class Answered(Event, type="com.example.answered"): ...
        class Other(Event, type="com.example.other"): ...
    """,
    "rules.py": """
        import json
        from events import Answered, Other
        from heed.sdk import emit
        def conclude():
            return emit(Answered())
        def unused():
            return emit(Other())
    """,
    "deeper/__init__.py": "",
    "deeper/told.py": """
        from events import Answered
        from heed.sdk import emit
        def tell():
            return emit(Answered())
        class Teller:
            def speak(self):
                return tell()
            def shout(self):
                return None
    """,
    "untouched.py": "",
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder with a project."""
    monkeypatch.chdir(tmp_path)
    write("deeper/__init__.py", "")
    for file, text in FILES.items():
        write(file, text)


def write(file: str, text: str) -> None:
    """A file of the project."""
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).write_text(textwrap.dedent(text))


def agent_of(body: str) -> Agent:
    """The Agent whose handler returns this; all modules are imported again."""
    for name in ("rules", "events", "deeper", "deeper.told"):
        sys.modules.pop(name, None)
    write("agent.py", AGENT.format(body=body))
    return load_agent("agent.py")


@pytest.mark.parametrize(
    ("body", "emits"),
    [
        ("None", []),
        ("rules.conclude()", ["com.example.answered"]),
        ("told.tell()", ["com.example.answered"]),
        ("Teller().speak()", ["com.example.answered"]),
        ("Teller().shout()", []),
        ("told.Teller().speak()", ["com.example.answered"]),
        ("[rules.conclude() for _ in range(2)]", ["com.example.answered"]),
        ("(lambda: rules.conclude())()", ["com.example.answered"]),
        ("rules.unused() or rules.conclude()", ["com.example.other", "com.example.answered"]),
        ("rules.json.dumps(event)", []),
    ],
)
def test_what_a_handler_reaches_in_other_modules(body: str, emits: list[str]) -> None:
    (handler,) = build_agent(agent_of(body))["spec"]["handlers"]

    assert handler["call"].get("emits", []) == emits


def test_the_digest_is_of_the_files_that_the_functions_reach() -> None:
    first = code_digest(agent_of("rules.conclude()"))
    assert code_digest(agent_of("rules.conclude()")) == first

    write("untouched.py", "X = 1")
    assert code_digest(agent_of("rules.conclude()")) == first
    write("rules.py", textwrap.dedent(FILES["rules.py"]) + "\n# changed\n")
    second = code_digest(agent_of("rules.conclude()"))
    write("events.py", textwrap.dedent(FILES["events.py"]) + "\n# changed\n")
    third = code_digest(agent_of("rules.conclude()"))

    assert len({first, second, third, code_digest(agent_of("None"))}) == 4


def test_the_digest_is_the_same_wherever_the_files_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = code_digest(agent_of("rules.conclude()"))
    other = tmp_path / "other"
    other.mkdir()
    for entry in os.listdir(tmp_path):
        if entry not in ("other", "__pycache__"):
            move = shutil.copytree if Path(entry).is_dir() else shutil.copy
            move(entry, other / entry)
    monkeypatch.chdir(other)
    monkeypatch.setattr(sys, "path", [item for item in sys.path if item != str(tmp_path)])

    assert code_digest(agent_of("rules.conclude()")) == first
