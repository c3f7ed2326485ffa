"""Policies, grants and event types that stand in the same files count: for `heed validate` and for `heed simulate`."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from heed.api.agent import Agent
from heed.api.event_grant import EventGrant
from heed.api.event_type import EventType
from heed.api.policy import AgentPolicy
from heed.core.cel import template
from heed.core.cel.expression import Expression, compile_expression
from heed.core.compiler import validation
from heed.core.schema import registry
from heed.core.schema.validator import SchemaValidator
from tests.unit.cli import heed

AGENT = """\
apiVersion: heed.dev/v1alpha1
kind: Agent
metadata: {name: clerk, namespace: demo, labels: {team: a}}
spec:
  subscribe:
    - type: com.example.order
  handlers:
    - name: answer
      type: com.example.order
      emit: [{type: "${event.data}"}]
    - name: note
      type: com.example.order
      emit: [{type: com.example.noted}]
"""
NEIGHBOUR = AGENT.replace("- type: com.example.order", "- {type: com.example.order, namespace: shop}", 1)


def rule_text(kind: str, spec: str, name: str = "it", namespace: str = "demo") -> str:
    """A document of one of the other kinds."""
    return (
        f"apiVersion: heed.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec: {spec}\n"
    )


def policy_text(spec: str, **more: Any) -> str:
    return rule_text("AgentPolicy", f"{{agentSelector: {{}}, {spec}}}", **more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "agent.yaml").write_text(AGENT)
    return tmp_path


def validate(folder: Path, *options: str) -> Result:
    result = heed("validate", "-f", str(folder), *options)
    result.stdout_bytes = result.stdout_bytes.replace(f"{folder}/".encode(), b"")
    return result


def test_a_policy_beside_an_agent_is_what_it_is_checked_by(folder: Path) -> None:
    (folder / "policy.yaml").write_text(policy_text("emissions: [{type: com.example.answered}]"))

    result = validate(folder)

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "policy.yaml:1: AgentPolicy it is valid",
        "agent.yaml:13: spec.handlers[1].emit[0].type: AgentPolicy demo/it allows no emission of "
        "com.example.noted; allowed: com.example.answered; change it, or ask who may change the policy",
    ]


@pytest.mark.parametrize(
    "document",
    [
        policy_text("emissions: [{type: com.example.*}]"),
        policy_text("emissions: []", namespace="shop"),
        rule_text("AgentPolicy", "{agentSelector: {matchLabels: {team: b}}, emissions: []}"),
        "apiVersion: example.org/v1\nkind: AgentPolicy\nmetadata: {name: x}\nspec: {emissions: []}\n",
    ],
)
def test_a_policy_that_does_not_concern_it_changes_nothing(folder: Path, document: str) -> None:
    (folder / "policy.yaml").write_text(document)

    assert validate(folder).exit_code == 0


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            rule_text("AgentPolicy", "{agentSelector: {}, emission: []}"),
            'rules.yaml:4: spec.emission: there is no such field; did you mean "emissions"?',
        ),
        (rule_text("AgentPolicy", "{emissions: []}"), "rules.yaml:4: spec.agentSelector: is missing; add it"),
        (policy_text("emissions: [{type: a..b}]"), "'a..b' is not a type pattern"),
        (policy_text("limits: {sessions: many}"), "spec.limits.sessions: is a string, not a whole number"),
        (policy_text("limits: {sessions: -1}"), "spec.limits.sessions: is -1; write at least 0"),
        (policy_text("tasks: {kinds: [jobs]}"), "spec.tasks.kinds[0]: "),
        (rule_text("EventGrant", "{from: [], types: [a]}"), "spec.from: is empty; give at least one"),
        (rule_text("EventGrant", "{from: [{namespace: demo}]}"), "spec.types: is missing; add it"),
        (rule_text("EventType", "{type: a.*, schema: {}}"), "spec.type: "),
        (
            f"{policy_text('')}---\n{policy_text('')}",
            "rules.yaml:8: metadata.name: demo/it is in rules.yaml:1 too",
        ),
        (
            policy_text("").replace("heed.dev/v1alpha1", "heed.dev/v2"),
            "apiVersion: is heed.dev/v2; Heed runs heed.dev/v1alpha1 AgentPolicy",
        ),
    ],
)
def test_a_mistake_in_a_rule_has_its_line(folder: Path, document: str, said: str) -> None:
    (folder / "rules.yaml").write_text(document)

    result = validate(folder)

    assert result.exit_code == 1
    assert said in result.stdout
    assert heed("simulate", "-f", str(folder), str(folder / "none")).exit_code == 1


def test_rules_alone_may_be_checked_too(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(policy_text("emissions: []"))

    assert validate(tmp_path, "--strict").stdout == "rules.yaml:1: AgentPolicy it is valid\n"


def test_a_grant_that_is_not_there_is_a_warning_since_it_may_be_in_the_cluster(folder: Path) -> None:
    (folder / "agent.yaml").write_text(NEIGHBOUR)

    (found,) = json.loads(validate(folder, "-o", "json").stdout)

    assert (found["severity"], found["path"], found["line"]) == ("warning", "spec.subscribe[0].namespace", 6)
    assert validate(folder).exit_code == 0
    assert "is valid" in validate(folder).stdout
    assert validate(folder, "--strict").exit_code == 1


def test_a_grant_beside_it_counts(folder: Path) -> None:
    (folder / "agent.yaml").write_text(NEIGHBOUR)
    grant = rule_text("EventGrant", "{from: [{namespace: demo}], types: [com.example.>]}", namespace="shop")
    (folder / "grant.yaml").write_text(grant)

    assert validate(folder, "--strict").exit_code == 0


def simulate(folder: Path, events: str, *options: str) -> Any:
    (folder / "events.jsonl").write_text(events)
    result = heed("simulate", "-f", str(folder), str(folder / "events.jsonl"), "-o", "json", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_simulated_agents_keep_to_their_policies(folder: Path) -> None:
    (folder / "policy.yaml").write_text(policy_text("emissions: [{type: com.example.*}]"))
    events = "".join(
        f'{{"type": "com.example.order", "data": "{type_}"}}\n' for type_ in ("com.example.a", "b")
    )

    report = simulate(folder, events, "--allow-dead-letters")

    (letter,) = report["letters"]
    assert letter["code"] == "PolicyViolation"
    assert letter["message"] == "AgentPolicy demo/it allows no emission of b; allowed: com.example.*"
    assert report["agents"]["demo/clerk"]["totals"]["emitted"] == 2


def test_simulated_events_may_be_those_of_a_namespace_that_grants_them(folder: Path) -> None:
    (folder / "agent.yaml").write_text(NEIGHBOUR)
    grant = rule_text("EventGrant", "{from: [{namespace: demo}], types: [com.example.>]}", namespace="shop")
    (folder / "grant.yaml").write_text(grant)
    order = '{"type": "com.example.order", "data": "com.example.a"}\n'

    theirs, ours = simulate(folder, order, "-n", "shop"), simulate(folder, order, "--allow-unheard")

    assert theirs["agents"]["demo/clerk"]["totals"]["handled"] == 1
    assert ours["agents"]["demo/clerk"]["totals"]["handled"] == 0
    (unheard,) = ours["unheard"]
    assert unheard["why"] == "no Agent heeds it in namespace demo; demo/clerk does in shop (-n shop)"


def test_without_the_grant_such_an_agent_is_not_simulated(folder: Path) -> None:
    (folder / "agent.yaml").write_text(NEIGHBOUR)
    (folder / "events.jsonl").write_text("{}")

    result = heed("simulate", "-f", str(folder / "agent.yaml"), str(folder / "events.jsonl"))

    assert result.exit_code == 1
    assert "no EventGrant of namespace shop grants com.example.order to demo" in result.stderr


# ── event types ─────────────────────────────────────────────────────────────────────────────────────────────────────

STRING = "{type: com.example.order, schema: {type: string}, examples: [a]}"


def test_an_event_type_beside_an_agent_is_what_its_events_are_checked_by(folder: Path) -> None:
    (folder / "type.yaml").write_text(rule_text("EventType", STRING))
    events = '{"type": "com.example.order", "data": "a.b"}\n{"type": "com.example.order", "data": 7}\n'

    (letter,) = simulate(folder, events, "--allow-dead-letters")["letters"]

    assert (letter["code"], letter["sequence"]) == ("SchemaViolation", 2 + 2)  # the first one led to two more
    assert validate(folder).exit_code == 0


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (rule_text("EventType", "{type: a, schema: {type: nothing}}"), "types.yaml:4: spec.schema"),
        (rule_text("EventType", "{type: a, schema: {type: string}, examples: [7]}"), "spec.examples[0]"),
        (
            f"{rule_text('EventType', STRING)}---\n{rule_text('EventType', STRING, name='other')}",
            "types.yaml:9: spec.type: EventType it describes com.example.order already; the oldest one counts",
        ),
    ],
)
def test_a_mistake_in_an_event_type_has_its_line(folder: Path, document: str, said: str) -> None:
    (folder / "types.yaml").write_text(document)

    result = validate(folder)

    assert result.exit_code == 1
    assert said in result.stdout


# ── each once ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is parsed, and what is compiled, of everything that stands in files."""
    seen: list[str] = []
    for model in (Agent, AgentPolicy, EventGrant, EventType):
        original = model.model_validate

        def parsing(
            document: Any, original: Any = original, kind: str = model.__name__, **more: Any
        ) -> object:
            seen.append(f"parse {kind}")
            return original(document, **more)

        monkeypatch.setattr(model, "model_validate", parsing)

    class Counted(SchemaValidator):
        def __init__(self, schema: Any) -> None:
            seen.append(f"compile {schema['title']}")
            super().__init__(schema)

    def compiling(source: str, **more: Any) -> Expression:
        seen.append(f"compile {source}")
        return compile_expression(source, **more)

    monkeypatch.setattr(registry, "SchemaValidator", Counted)
    monkeypatch.setattr(template, "compile_expression", compiling)
    monkeypatch.setattr(validation, "compile_expression", compiling)
    return seen


def test_everything_is_parsed_and_compiled_once(folder: Path, made: list[str]) -> None:
    (folder / "agent.yaml").write_text(
        AGENT.replace(
            '[{type: "${event.data}"}]', '[{from: "${[event.data]}"}]\n      state: "${event.data}"'
        )
    )
    good = "{type: com.example.order, schema: {title: once-good, type: object}}"
    bad = "{type: com.example.bad, schema: {title: once-bad, type: strange}}"
    documents = [
        policy_text("emissions: [{type: com.example.*}]"),
        rule_text("EventGrant", "{from: [{namespace: shop}], types: [com.example.>]}"),
        rule_text("EventType", good, name="good"),
        rule_text("EventType", bad, name="bad"),
    ]
    (folder / "rules.yaml").write_text("---\n".join(documents))

    validate(folder)

    assert sorted(made) == [
        "compile [event.data]",
        "compile event.correlationid",
        "compile event.data",
        "compile once-bad",
        "compile once-good",
        "parse Agent",
        "parse AgentPolicy",
        "parse EventGrant",
        "parse EventType",
        "parse EventType",
    ]
