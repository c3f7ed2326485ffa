"""`heed validate` says what the operator would say, with file and line, before anything is applied."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.cli import heed

VALID = """\
apiVersion: heed.dev/v1alpha1
kind: Agent
metadata:
  name: researcher
spec:
  subscribe:
    - type: com.example.question.asked
  tasks:
    research:
      job:
        template:
          spec:
            containers:
              - name: main
                image: registry:5000/research:1
                command: [research, "${input.topic}"]
  handlers:
    - name: begin
      type: com.example.question.asked
      when: "!has(state.topic)"
      start: [{task: research, input: {topic: "${event.data.topic}"}}]
      state: {topic: "${event.data.topic}"}
    - name: conclude
      type: dev.heed.task.completed
    - name: give-up
      type: dev.heed.task.failed
"""


def validate(folder: Path, text: str, *options: str) -> Result:
    file = folder / "agent.yaml"
    file.write_text(text)
    result = heed("validate", "-f", str(file), *options)
    result.stdout_bytes = result.stdout_bytes.replace(f"{folder}/".encode(), b"")
    return result


def findings(folder: Path, text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(validate(folder, text, "-o", "json").stdout)
    return found


def test_a_valid_agent_gets_one_line(tmp_path: Path) -> None:
    result = validate(tmp_path, VALID, "--strict")

    assert result.exit_code == 0
    assert result.stdout == "agent.yaml:1: Agent default/researcher is valid (3 handlers, 1 task)\n"


def test_a_mistake_has_file_line_path_and_remedy(tmp_path: Path) -> None:
    result = validate(tmp_path, VALID.replace("has(state.topic)", "has(stat.topic)"))

    assert result.exit_code == 1
    assert result.stdout == (
        'agent.yaml:20: spec.handlers[0].when: unknown variable or function "stat"; did you mean "state"?\n'
    )


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = VALID.replace("task: research", "task: reserch").replace('"!has(state.topic)"', "event.data.n >")

    found = {(item["line"], item["path"]) for item in findings(tmp_path, text)}

    assert found == {(20, "spec.handlers[0].when"), (21, "spec.handlers[0].start[0].task")}


def test_json_is_for_machines(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, VALID.replace("when:", "wen:"))

    assert found == {
        "file": "agent.yaml",
        "line": 20,
        "path": "spec.handlers[0].wen",
        "message": "there is no such field",
        "remedy": 'did you mean "when"?',
        "severity": "error",
        "agent": "default/researcher",
    }


def test_yaml_output_holds_the_same(tmp_path: Path) -> None:
    text = VALID.replace(":1\n", "\n")

    assert yaml.safe_load(validate(tmp_path, text, "-o", "yaml").stdout) == findings(tmp_path, text)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("registry:5000/research:1", "registry:5000/research", 15, "may be another image tomorrow"),
        ("registry:5000/research:1", "research:latest", 15, "may be another image tomorrow"),
        ("image: registry:5000/research:1", "tty: true", 14, "is missing; a cluster cannot run this task"),
        ('command: [research, "${input.topic}"]', "tty: true", 14, "`heed dev` cannot run this task"),
        (
            "start: [{task: research,",
            "emit: [{type: a.b}]\n      cancel: [{",
            9,
            "no handler starts this task",
        ),
        (
            "type: dev.heed.task.completed",
            "type: dev.heed.task.progress",
            24,
            "no task may publish its progress",
        ),
        ("type: dev.heed.task.completed", "type: com.exmple.question.asked", 24, "no subscription delivers"),
        (
            "type: dev.heed.task.completed",
            "type: dev.heed.tasks.completed",
            24,
            "did you mean dev.heed.task.completed?",
        ),
        (
            "type: dev.heed.task.completed",
            "type: com.exmple.question.asked",
            24,
            "did you mean com.example.question.asked?",
        ),
    ],
)
def test_what_is_hardly_meant_gives_a_warning(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    text = VALID.replace(old, new)
    if "cancel: [{" in new:
        text = text.replace('{ input: {topic: "${event.data.topic}"}}]', "{task: research}]")

    result = validate(tmp_path, text)

    assert result.exit_code == 0
    assert f"agent.yaml:{line}: warning: spec." in result.stdout
    assert message in result.stdout
    assert "is valid" in result.stdout
    assert validate(tmp_path, text, "--strict").exit_code == 1


@pytest.mark.parametrize(
    ("key", "read"), [("n", "false"), ("y", "true"), ("no", "false"), ("Yes", "true"), ("on", "true")]
)
def test_a_key_that_yaml_reads_as_a_boolean_gives_a_warning(tmp_path: Path, key: str, read: str) -> None:
    text = VALID.replace("input: {topic:", f"input: {{{key}: 1, topic:")

    (found,) = findings(tmp_path, text)

    assert (found["line"], found["severity"]) == (21, "warning")
    assert found["path"] == f"spec.handlers[0].start[0].input.{read}"
    assert found["message"] == f"YAML reads the key {key} as {read}"
    assert found["remedy"] == f'quote it: "{key}"'
    assert findings(tmp_path, text.replace(f"{{{key}:", f'{{"{key}":')) == []


def test_a_key_that_is_written_as_it_is_read_gives_no_warning(tmp_path: Path) -> None:
    assert findings(tmp_path, VALID.replace("input: {topic:", "input: {true: 1, onward: 2, topic:")) == []


@pytest.mark.parametrize("image", ["a/b@sha256:0123", "${input.topic}", "research:v2"])
def test_a_fixed_image_gives_no_warning(tmp_path: Path, image: str) -> None:
    assert findings(tmp_path, VALID.replace("registry:5000/research:1", f'"{image}"')) == []


def test_a_type_that_another_agent_sends_directly_gives_no_warning(tmp_path: Path) -> None:
    text = VALID.replace("type: dev.heed.task.completed", "type: com.example.hint")
    sender = VALID.replace("name: researcher", "name: sender").replace(
        "type: dev.heed.task.completed",
        "type: dev.heed.task.completed\n      emit: [{type: com.example.hint, to: researcher}]",
    )

    assert len(findings(tmp_path, text)) == 1
    assert findings(tmp_path, f"{text}---\n{sender}") == []


def test_a_folder_is_read_and_other_kinds_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("kind: ConfigMap\napiVersion: v1\nmetadata: {name: x}\n---\n" + VALID)
    (tmp_path / "notes.txt").write_text("[")

    result = heed("validate", "-f", str(tmp_path))

    assert result.exit_code == 0
    assert f"{tmp_path}/a.yml:1: ConfigMap x: skipped, not an Agent" in result.stdout
    assert f"{tmp_path}/a.yml:5: Agent default/researcher is valid" in result.stdout


def test_standard_input_is_a_file_too() -> None:
    result = heed("validate", "-f", "-", stdin=VALID.replace("kind: Agent", "kind: agent"))

    assert result.exit_code == 1
    assert result.stdout.startswith("<stdin>:2: kind: is agent; Heed runs")


def test_two_agents_of_one_name_are_a_mistake(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, f"{VALID}---\n{VALID}")

    assert (found["line"], found["path"]) == (31, "metadata.name")
    assert "agent.yaml:1 too" in found["message"]


def test_files_without_an_agent_do_not_pass(tmp_path: Path) -> None:
    result = validate(tmp_path, "kind: ConfigMap\n")

    assert result.exit_code == 1
    assert "there is no Agent" in result.stdout


def test_one_broken_file_does_not_hide_another(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [")
    (tmp_path / "b.yaml").write_text(VALID)

    result = heed("validate", "-f", str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml"))

    assert result.exit_code == 1
    assert "a.yaml:1: expected the node content" in result.stdout
    assert "b.yaml:1: Agent default/researcher is valid" in result.stdout


def test_a_file_that_is_not_there_is_told_in_a_line(tmp_path: Path) -> None:
    result = heed("validate", "-f", str(tmp_path / "none.yaml"))

    assert result.exit_code == 2
    assert result.stderr == f"{tmp_path}/none.yaml: cannot be read: No such file or directory\n"


def test_no_file_is_a_usage_error() -> None:
    assert heed("validate").exit_code == 2


WORDS = st.sampled_from(
    [
        *(line.strip() for line in VALID.splitlines()),
        "spec: 5",
        "- 5",
        "{}",
        "on: 1",
        "metadata: []",
        "handlers: {a: b}",
    ]
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.binary(max_size=40)
    | st.lists(WORDS, max_size=8).map(lambda words: "\n".join(["kind: Agent", *words]).encode())
    | st.tuples(
        st.integers(0, len(VALID)), st.integers(0, 40), st.sampled_from(["", "${", "[", "null", "- ", "é"])
    ).map(lambda cut: (VALID[: cut[0]] + cut[2] + VALID[cut[0] + cut[1] :]).encode())
)
def test_no_manifest_makes_it_break(content: bytes) -> None:
    result = heed("validate", "-f", "-", "-o", "json", stdin=content)

    assert result.exit_code in (0, 1)
    assert "heed broke" not in result.stderr
    assert isinstance(json.loads(result.stdout), list)


def test_policies_beside_event_sources_and_subscriptions_count(tmp_path: Path) -> None:
    text = """\
apiVersion: heed.dev/v1alpha1
kind: AgentPolicy
metadata: {name: strict}
spec:
  agentSelector: {}
  eventSources: [{type: com.github.>}]
  deliveries: []
---
apiVersion: heed.dev/v1alpha1
kind: EventSource
metadata: {name: hook}
spec:
  path: hook
  verify: {none: {}}
  event: {type: com.example.hooked}
---
apiVersion: heed.dev/v1alpha1
kind: Subscription
metadata: {name: sub}
spec:
  types: [com.example.>]
  sink: {url: "https://sink.example/"}
"""

    result = validate(tmp_path, text)

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "agent.yaml:1: AgentPolicy strict is valid",
        "agent.yaml:15: spec.event.type: AgentPolicy default/strict allows no event com.example.hooked of an "
        "EventSource (spec.eventSources); allowed: com.github.>; change it, or ask who may change the policy",
        "agent.yaml:21: spec.types[0]: AgentPolicy default/strict allows no delivery of com.example.> by a "
        "Subscription (spec.deliveries); allowed: nothing; change it, or ask who may change the policy",
    ]


def test_event_sources_and_subscriptions_are_checked_too(tmp_path: Path) -> None:
    text = """\
apiVersion: heed.dev/v1alpha1
kind: EventSource
metadata: {name: hook}
spec:
  path: hook
  verify: {}
  event: {type: com.example.hooked}
---
apiVersion: heed.dev/v1alpha1
kind: Subscription
metadata: {name: sub}
spec:
  types: [com.example.>]
  where: evnt.id == "a"
  sink: {url: "https://sink.example/"}
---
apiVersion: heed.dev/v1alpha1
kind: Subscription
metadata: {name: fine}
spec:
  types: [com.example.>]
  sink: {url: "http://127.0.0.1:8080/"}
---
apiVersion: operators.coreos.com/v1alpha1
kind: Subscription
metadata: {name: other}
"""

    result = validate(tmp_path, text)

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "agent.yaml:24: Subscription other: skipped, not an Agent",
        "agent.yaml:17: Subscription fine is valid",
        "agent.yaml:6: spec.verify: says nothing; give exactly one of hmac, token and none",
        'agent.yaml:14: spec.where: unknown variable or function "evnt"; did you mean "event"?',
    ]
