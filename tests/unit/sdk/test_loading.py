"""Loading of modules: by path and by name, and what is wrong with them in the user's own line."""

import sys
import textwrap
from pathlib import Path

import pytest

from heed.errors import InvalidSettings
from heed.sdk.loading import ModuleFailed, ModuleReference, is_python, load_agent, load_agents

AGENT = """
from heed.sdk import Agent
agent = Agent("{name}")
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def write(file: str, text: str) -> Path:
    """A file in the folder."""
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


@pytest.mark.parametrize(
    ("text", "module", "agent", "is_file"),
    [
        ("agent.py", "agent.py", None, True),
        ("agent.py:research", "agent.py", "research", True),
        ("a/b:c/agent.py", "a/b:c/agent.py", None, True),
        ("company.agents", "company.agents", None, False),
        ("company.agents:give-up", "company.agents", "give-up", False),
        ("agent.py:", "agent.py:", None, True),
        (":agent", ":agent", None, True),
    ],
)
def test_a_reference_is_a_module_and_maybe_an_agent(
    text: str, module: str, agent: str | None, is_file: bool
) -> None:
    found = ModuleReference.parse(text)

    assert (found, found.is_file) == (ModuleReference(module, agent), is_file)


@pytest.mark.parametrize(
    ("text", "expected"), [("a.py", True), ("a.py:b", True), ("a.yaml", False), ("a.b", False)]
)
def test_python_files_end_in_py(text: str, expected: bool) -> None:
    assert is_python(text) is expected


@pytest.mark.parametrize("text", ["one.py", "./one.py", "one", "one.py:agent", "one.py:one", "one:one"])
def test_one_agent_by_any_of_its_names(text: str) -> None:
    write("one.py", AGENT.format(name="one"))

    assert load_agent(text).name == "one"


def test_a_path_may_be_absolute(tmp_path: Path) -> None:
    write("one.py", AGENT.format(name="one"))

    assert load_agent(str(tmp_path / "one.py")).name == "one"


def test_several_agents_are_loaded_together_or_by_name() -> None:
    write("many.py", AGENT.format(name="one") + "other = Agent('two')\nalias = other\n")

    assert [item.name for item in load_agents("many.py")] == ["one", "two"]
    assert load_agent("many.py:other").name == "two"
    assert load_agent("many.py:two").name == "two"
    with pytest.raises(ModuleFailed, match=r"many.py:1: has several Agents: one, two; name one: many.py:one"):
        load_agent("many.py")
    with pytest.raises(ModuleFailed, match=r'many.py:1: has no Agent "three"; it has: one, two'):
        load_agents("many.py:three")


def test_modules_in_packages_and_beside_each_other_can_be_imported() -> None:
    write("company/__init__.py", "")
    write("company/agents/__init__.py", "")
    write("company/names.py", "NAME = 'deep'")
    write("company/agents/deep.py", "from company.names import NAME\n" + AGENT.replace('"{name}"', "NAME"))
    write("flat/names_beside.py", "NAME = 'flat'")
    write("flat/agent.py", "from names_beside import NAME\n" + AGENT.replace('"{name}"', "NAME"))

    assert load_agent("company/agents/deep.py").name == "deep"
    assert load_agent("company.agents.deep").name == "deep"
    assert load_agent("flat/agent.py").name == "flat"


def test_files_of_one_name_are_two_modules() -> None:
    write("a/agent.py", AGENT.format(name="a"))
    write("b/agent.py", AGENT.format(name="b"))

    assert [load_agent(f"{folder}/agent.py").name for folder in ("a", "b", "a")] == ["a", "b", "a"]


@pytest.mark.parametrize("file", ["json.py", "my-agent.py", "2nd.py", "class.py"])
def test_a_file_may_be_called_what_no_module_is(file: str) -> None:
    write(file, "import json\njson.dumps(1)\n" + AGENT.format(name="one"))

    assert load_agent(f"./{file}").name == "one"


def test_a_file_is_read_again() -> None:
    path = write("one.py", AGENT.format(name="one"))
    first = load_agent("one.py")
    path.write_text("# longer than before\n" + AGENT.format(name="two"))

    assert (first.name, load_agent("one.py").name) == ("one", "two")


def test_a_file_that_breaks_leaves_the_last_good_module() -> None:
    path = write("one.py", AGENT.format(name="one"))
    load_agent("one.py")
    good = sys.modules["one"]
    path.write_text("broken = ")

    with pytest.raises(ModuleFailed):
        load_agent("one.py")

    assert sys.modules["one"] is good


MISTAKES = [
    ("x = 1\ny = = 2\n", "wrong.py:2: SyntaxError: invalid syntax"),
    ("def f():\n    return nope\n\nf()\n", "wrong.py:2: NameError: name 'nope' is not defined"),
    ("import json\njson.loads('{')\n", "wrong.py:2: JSONDecodeError: Expecting property name"),
    (
        "\nimport no_such_package\n",
        "wrong.py:2: needs the Python package no_such_package; install it where heed runs",
    ),
    (
        "import sys\nsys.exit(3)\n",
        "wrong.py:2: ends the process while it is imported; put what is for scripts under",
    ),
    ("x = 1\n", "wrong.py:1: has no Agent; write `agent = Agent(…)` at its top level"),
    (
        "from heed.sdk import Agent\nagent = Agent('a')\n\n@agent.on\ndef begin():\n    pass\n",
        "wrong.py:4: begin (wrong.py:4): has no parameter; its first one is the event",
    ),
    ("from heed.sdk import Agent\n\nagent = Agent('A')\n", 'wrong.py:3: "A" is no name of an Agent'),
    ("import beside\n", "beside.py:2: ZeroDivisionError: division by zero"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
@pytest.mark.parametrize("reference", ["wrong.py", "wrong"])
def test_a_mistake_is_told_with_the_users_line(text: str, message: str, reference: str) -> None:
    write("wrong.py", text)
    write("beside.py", "\n1 / 0\n")

    with pytest.raises(ModuleFailed) as caught:
        load_agents(reference)

    expected = message if reference == "wrong.py" else message.replace("wrong.py:1: has", "wrong:1: has")
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("gone.py", "gone.py: there is no such file"),
        ("gone/agent.py", "gone/agent.py: there is no such file"),
        ("gone", "gone: there is no such module; name a file or a dotted name"),
        ("gone.agent", "gone.agent: there is no such module"),
        ("package.gone", "package.gone: there is no such module"),
        ("plain.txt", "plain.txt: is no Python file; its name has to end with .py"),
    ],
)
def test_what_is_not_there_is_a_mistake_of_who_calls(reference: str, message: str) -> None:
    write("package/__init__.py", "")
    write("plain.txt", "")

    with pytest.raises(InvalidSettings) as caught:
        load_agents(reference.replace("plain.txt", "./plain.txt"))

    assert str(caught.value).startswith(message)


def test_a_package_that_needs_what_is_missing_says_so() -> None:
    write("package/__init__.py", "import no_such_package")
    write("package/agent.py", AGENT.format(name="one"))

    with pytest.raises(
        ModuleFailed, match=r"package/__init__.py:1: needs the Python package no_such_package"
    ):
        load_agents("package.agent")


def test_what_a_module_prints_is_no_output_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    write("loud.py", "print('hello')\n" + AGENT.format(name="one"))

    load_agent("loud.py")

    assert capsys.readouterr() == ("", "hello\n")
