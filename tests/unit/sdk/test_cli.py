"""`heed build`, and the commands that take modules as they take manifests."""

import json
import textwrap
from pathlib import Path

import pytest
import yaml

from tests.unit.cli import heed

AGENT = '''
from heed.sdk import Agent, Completed, Event, Failed, Reaction, State, emit, end


class Asked(Event, type="com.example.asked"):
    """A question."""

    topic: str


class Answered(Event, type="com.example.answered"):
    """An answer."""

    text: str


class Known(State):
    topic: str | None = None


agent = Agent("researcher", state=Known)


@agent.task()
def research(topic: str) -> str:
    return topic


@agent.on
def begin(event: Asked, state: Known) -> Reaction:
    return state.set(topic=event.topic), [research.start(topic=event.topic)]


@agent.on(research.completed)
def conclude(done: Completed[str], state: Known) -> Reaction:
    return [emit(Answered(text=done.result)), end()]


@agent.on(research.failed)
def give_up(failed: Failed) -> Reaction:
    return end()
'''

SECOND = """
second = Agent("second")


@second.on
def read(event: Answered) -> Reaction:
    return None
"""

HANDLERS = """
def add(agent, event_class):
    @agent.on(event_class, when="evnt")
    def other(event): ...
"""

POLICY = """
apiVersion: heed.dev/v1alpha1
kind: AgentPolicy
metadata: {name: strict}
spec:
  agentSelector: {}
  emissions: [{type: com.example.other}]
"""


def line_of(text: str, wanted: str) -> int:
    """The line of a text in which another one begins."""
    return text.splitlines().index(wanted) + 1


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the module."""
    monkeypatch.chdir(tmp_path)
    write("agent.py", AGENT)
    return tmp_path


def write(file: str, text: str) -> None:
    """A file in the folder."""
    Path(file).write_text(textwrap.dedent(text))


# ── heed build ──────────────────────────────────────────────────────────────────────────────────────────────────────


def kinds(text: str) -> list[tuple[str, str]]:
    """Kind and name of the documents of a text."""
    return [(item["kind"], item["metadata"]["name"]) for item in yaml.safe_load_all(text)]


def test_it_prints_the_manifests_of_a_module() -> None:
    result = heed("build", "agent.py")

    assert (result.exit_code, result.stderr) == (0, "")
    assert kinds(result.stdout) == [
        ("Agent", "researcher"),
        ("EventType", "com-example-asked"),
        ("EventType", "com-example-answered"),
    ]


@pytest.mark.parametrize("module", ["agent", "agent:agent", "agent.py:researcher", "./agent.py"])
def test_a_module_has_many_names(module: str) -> None:
    assert heed("build", module).stdout == heed("build", "agent.py").stdout


def test_it_prints_what_validate_takes() -> None:
    manifests = heed("build", "agent.py").stdout

    result = heed("validate", "--strict", "-", stdin=manifests)

    assert result.exit_code == 0, result.output
    assert "Agent default/researcher is valid (3 handlers, 1 task)" in result.stdout


def test_without_types_it_is_the_agent_alone() -> None:
    assert kinds(heed("build", "agent.py", "--no-types").stdout) == [("Agent", "researcher")]


def test_json_is_one_object_or_a_list() -> None:
    one = json.loads(heed("build", "agent.py", "-o", "json", "--no-types").stdout)
    many = json.loads(heed("build", "agent.py", "-o", "json").stdout)

    assert one["kind"] == "Agent"
    assert (many["apiVersion"], many["kind"], len(many["items"])) == ("v1", "List", 3)
    assert heed("validate", "-", stdin=json.dumps(many)).exit_code == 0


def test_all_agents_of_a_module_or_the_one_that_is_named() -> None:
    write("agent.py", AGENT + SECOND)

    both = heed("build", "agent.py")
    assert kinds(both.stdout) == [
        ("Agent", "researcher"),
        ("EventType", "com-example-asked"),
        ("EventType", "com-example-answered"),
        ("Agent", "second"),
    ]
    assert kinds(heed("build", "agent.py:second", "--no-types").stdout) == [("Agent", "second")]


@pytest.mark.parametrize("file", ["agent.yaml", "agent.json"])
def test_it_writes_a_file_in_the_form_of_its_name(file: str) -> None:
    result = heed("build", "agent.py", "--output", file)

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"wrote {file}\n")
    assert Path(file).read_text() == heed("build", "agent.py", "-o", Path(file).suffix[1:]).stdout
    assert heed("build", "agent.py", "--check", file).output == ""


def test_a_stale_file_fails_with_what_would_change() -> None:
    heed("build", "agent.py", "--output", "agent.yaml")
    write("agent.py", AGENT.replace('"researcher"', '"librarian"'))

    result = heed("build", "agent.py", "--check", "agent.yaml")

    assert result.exit_code == 1
    assert result.stderr == "not current; run heed build agent.py\n"
    assert result.stdout.startswith("--- agent.yaml\n+++ heed build\n@@ ")
    assert "-  name: researcher\n" in result.stdout
    assert "+  name: librarian\n" in result.stdout
    assert "librarian" not in Path("agent.yaml").read_text()


def test_an_edit_of_the_code_alone_makes_a_file_stale() -> None:
    heed("build", "agent.py", "--output", "agent.yaml")
    write("agent.py", AGENT + "\n# another line\n")

    result = heed("build", "agent.py", "--check", "agent.yaml")

    changed = [line for line in result.stdout.splitlines()[3:] if line[0] in "+-"]
    assert (result.exit_code, [line.split(":")[0].strip("+- ") for line in changed]) == (
        1,
        ["digest", "digest"],
    )


def test_a_file_that_is_not_there_is_stale() -> None:
    result = heed("build", "agent.py", "--check", "agent.yaml")

    assert result.exit_code == 1
    assert not Path("agent.yaml").exists()


def test_a_file_that_is_no_text_is_the_wrong_one() -> None:
    Path("agent.yaml").write_bytes(b"\xff\xfe")

    result = heed("build", "agent.py", "--check", "agent.yaml")

    assert (result.exit_code, result.stderr) == (2, "agent.yaml: is not UTF-8; is it the right file?\n")


def test_asyncapi_is_written_and_checked() -> None:
    heed("build", "agent.py", "--output", "agent.yaml", "--asyncapi", "asyncapi.json")

    assert json.loads(Path("asyncapi.json").read_text())["asyncapi"] == "3.0.0"
    assert heed("build", "agent.py", "--check", "agent.yaml", "--asyncapi", "asyncapi.json").exit_code == 0
    Path("asyncapi.json").write_text("{}")
    result = heed("build", "agent.py", "--check", "agent.yaml", "--asyncapi", "asyncapi.json")
    assert result.exit_code == 1
    assert result.stdout.startswith("--- asyncapi.json\n")


def test_writing_and_checking_exclude_each_other() -> None:
    result = heed("build", "agent.py", "--output", "a.yaml", "--check", "a.yaml")

    assert result.exit_code == 2
    assert "give one of them" in result.stderr


@pytest.mark.parametrize(
    ("module", "code", "message"),
    [
        ("gone.py", 2, "gone.py: there is no such file\n"),
        ("gone", 2, "gone: there is no such module; name a file or a dotted name\n"),
        ("agent.py:gone", 1, 'agent.py:1: has no Agent "gone"; it has: researcher\n'),
        ("wrong.py", 1, "wrong.py:2: NameError: name 'nope' is not defined\n"),
    ],
)
def test_what_cannot_be_loaded(module: str, code: int, message: str) -> None:
    write("wrong.py", "\nnope\n")

    result = heed("build", module)

    assert (result.exit_code, result.stdout, result.stderr) == (code, "", message)


def test_what_the_operator_would_refuse_is_told_with_function_and_line() -> None:
    text = AGENT.replace("@agent.on\ndef begin", "@agent.on(when='evnt.data.x')\ndef begin")
    write("agent.py", text)

    result = heed("build", "agent.py")

    line = line_of(text, "@agent.on(when='evnt.data.x')")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"agent.py:{line}: spec.handlers[0].when: begin(): unknown variable")


def test_an_event_whose_type_is_not_named_is_warned_of() -> None:
    text = AGENT.replace("-> str:\n    return topic", "-> Answered:\n    return Answered(text=topic)")
    text = text.replace("Completed[str]", "Completed[Answered]").replace(
        "Answered(text=done.result)", "done.result"
    )
    write("agent.py", text)

    built = heed("build", "agent.py")
    checked = heed("validate", "agent.py")
    strictly = heed("validate", "--strict", "agent.py")

    line = line_of(text, "@agent.on(research.completed)")
    assert built.exit_code == checked.exit_code == 0
    assert strictly.exit_code == 1
    assert built.stderr.startswith(
        f"agent.py:{line}: warning: spec.handlers[1].call.emits: conclude(): emits"
    )
    assert built.stderr.endswith("; add emits=[Answered] to its decorator\n")
    assert built.stderr in checked.stdout


# ── modules where manifests are taken ───────────────────────────────────────────────────────────────────────────────


def test_validate_takes_a_module() -> None:
    result = heed("validate", "--strict", "agent.py")

    line = line_of(AGENT, 'agent = Agent("researcher", state=Known)')
    assert result.exit_code == 0, result.output
    assert f"agent.py:{line}: Agent default/researcher is valid (3 handlers, 1 task)" in result.stdout


def test_validate_tells_a_mistake_with_file_and_line() -> None:
    write("wrong.py", "\nnope\n")

    result = heed("validate", "-o", "json", "agent.py", "wrong.py")

    (found,) = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (found["file"], found["line"], found["message"]) == (
        "wrong.py",
        2,
        "NameError: name 'nope' is not defined",
    )


def test_validate_tells_which_function_a_policy_refuses() -> None:
    write("policy.yaml", POLICY)

    result = heed("validate", "-o", "json", "agent.py", "policy.yaml")

    (found,) = json.loads(result.stdout)
    line = line_of(AGENT, "@agent.on(research.completed)")
    assert (found["file"], found["line"], found["path"]) == (
        "agent.py",
        line,
        "spec.handlers[1].call.emits[0]",
    )
    assert found["message"].startswith("conclude(): AgentPolicy default/strict allows no emission of")


def test_a_function_of_another_file_is_told_with_its_place() -> None:
    write("handlers.py", HANDLERS)
    write("agent.py", AGENT + "\nimport handlers\nhandlers.add(agent, Asked)\n")

    result = heed("validate", "agent.py")

    line = line_of(AGENT, 'agent = Agent("researcher", state=Known)')
    assert (
        f"agent.py:{line}: spec.handlers[3].when: other() (handlers.py:3): unknown variable" in result.stdout
    )


def test_a_type_that_a_file_declares_wins_over_that_of_code() -> None:
    types = """
        apiVersion: heed.dev/v1alpha1
        kind: EventType
        metadata: {name: com-example-asked}
        spec: {type: com.example.asked, schema: {type: object, required: [topic, depth]}}
    """
    write("types.yaml", types)
    write("events.jsonl", '{"type": "com.example.asked", "data": {"topic": "tides"}}\n')

    assert heed("validate", "agent.py", "types.yaml").exit_code == 0
    alone = heed("simulate", "-f", "agent.py", "events.jsonl")
    result = heed("simulate", "-f", "agent.py", "-f", "types.yaml", "events.jsonl")

    assert alone.exit_code == 0, alone.output
    assert result.exit_code == 1
    assert "SchemaViolation" in result.stdout


def test_two_modules_may_share_a_type() -> None:
    write(
        "other.py",
        "from agent import *\nother = Agent('other')\n\n@other.on\ndef read(event: Answered): ...\n",
    )

    result = heed("validate", "agent.py:agent", "other.py:other")

    assert "Agent default/other is valid" in result.stdout
    assert result.exit_code == 0, result.output


def test_simulate_answers_calls_with_the_modules_functions() -> None:
    write("events.jsonl", '{"type": "com.example.asked", "data": {"topic": "tides"}}\n')

    result = heed(
        "simulate", "-f", "agent.py", "events.jsonl", "--complete", 'research="the Moon"', "-o", "json"
    )

    report = json.loads(result.stdout)
    assert report["agents"]["default/researcher"]["totals"]["handled"] == 2
    emitted = [event for step in report["events"] for each in step["deliveries"] for event in each["emitted"]]
    assert [event["data"] for event in emitted] == [{"text": "the Moon"}]


def test_simulate_says_which_function_did_not_act() -> None:
    write("agent.py", AGENT.replace("    return state.set", "    return None\n    return state.set"))
    write("events.jsonl", '{"type": "com.example.asked", "data": {"topic": "tides"}}\n')

    result = heed("simulate", "-f", "agent.py", "events.jsonl")

    assert "default/researcher: ignored, session line-1: begin() did not act" in result.stdout


def test_folders_are_searched_for_manifests_and_not_for_code() -> None:
    write("agent.yaml", heed("build", "agent.py", "--no-types").stdout)

    result = heed("validate", ".")

    assert result.exit_code == 0, result.output
    assert "agent.py" not in result.stdout


def test_an_image_makes_workers_of_it(tmp_path: Path) -> None:
    file = tmp_path / "agent.py"
    file.write_text(AGENT)

    plain = yaml.safe_load_all(heed("build", str(file)).stdout)
    built = yaml.safe_load_all(heed("build", str(file), "--image", "researcher:1", "--replicas", "2").stdout)
    scaled = yaml.safe_load_all(heed("build", str(file), "--image", "researcher:1").stdout)

    digest = next(plain)["spec"]["worker"]["digest"]
    template = {"spec": {"containers": [{"name": "worker", "image": "researcher:1"}]}}
    assert next(built)["spec"]["worker"] == {"digest": digest, "replicas": 2, "template": template}
    assert next(scaled)["spec"]["worker"] == {"digest": digest, "template": template}
    assert list(built) == list(plain)


def test_replicas_need_an_image(tmp_path: Path) -> None:
    file = tmp_path / "agent.py"
    file.write_text(AGENT)

    refused = heed("build", str(file), "--replicas", "2")

    assert refused.exit_code == 2
    assert "--image" in refused.output
