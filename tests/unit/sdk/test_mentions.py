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
from heed.sdk.places import find_project, is_own

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


def test_the_digest_is_the_same_where_a_package_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = []
    for folder in ("source", "lib/python3.11/site-packages"):
        root = tmp_path / folder / "company"
        root.mkdir(parents=True)
        (root / "__init__.py").write_text("")
        for file in ("events.py", "rules.py"):
            text = textwrap.dedent(FILES[file]).replace("from events", "from company.events")
            (root / file).write_text(text)
        (root / "agent.py").write_text(
            "from heed.sdk import Agent\nfrom company import events, rules\nagent = Agent('a')\n"
            "@agent.on\ndef begin(event: events.Asked):\n    return rules.conclude()\n"
        )
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", [str(root.parent), *sys.path])
            for name in [name for name in sys.modules if name.partition(".")[0] == "company"]:
                del sys.modules[name]
            agent = load_agent("company.agent")
        assert build_agent(agent)["spec"]["handlers"][0]["call"]["emits"] == ["com.example.answered"]
        digests.append(code_digest(agent))
        (root / "rules.py").write_text("# changed")
        assert code_digest(agent) != digests[-1]

    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("module", "file", "project"),
    [
        ("agent", "/app/agent.py", "/app"),
        ("company.agent", "/app/company/agent.py", "/app/company"),
        ("company.agents.deep", "/app/company/agents/deep.py", "/app/company"),
        ("company", "/app/company/__init__.py", "/app/company"),
        ("company.agents", "/app/company/agents/__init__.py", "/app/company"),
        ("agent", "/v/site-packages/agent.py", "/v/site-packages/agent.py"),
        ("company.agent", "/v/site-packages/company/agent.py", "/v/site-packages/company"),
        ("a.b.c.d.e", "/x.py", "/"),
    ],
)
def test_a_project_is_a_package_or_the_modules_of_a_folder(module: str, file: str, project: str) -> None:
    assert find_project(module, file) == Path(project)


@pytest.mark.parametrize(
    ("file", "folder", "expected"),
    [
        ("/app/rules.py", "/app", True),
        ("/app/deep/rules.py", "/app", True),
        ("/other/rules.py", "/app", False),
        ("/app/.venv/lib/python3.11/site-packages/x.py", "/app", False),
        ("/v/site-packages/company/rules.py", "/v/site-packages/company", True),
        (os.__file__, "/", False),
        (build_agent.__code__.co_filename, "/", False),
    ],
)
def test_what_is_installed_below_a_folder_is_not_the_users(file: str, folder: str, expected: bool) -> None:
    assert is_own(file, Path(folder)) is expected
