"""`heed demo`: seconds from nothing to the event that follows."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from heed.cli.demo import demo
from tests.integration.local.examples import ANSWERED, write_example
from tests.nats_server import require_nats_server


@pytest.fixture(autouse=True)
def _server() -> None:
    require_nats_server()


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(demo, arguments)
    return done.exit_code, done.output


def test_the_example_runs_from_event_to_event(tmp_path: Path) -> None:
    code, output = run("--example", str(write_example(tmp_path / "example")))

    assert code == 0
    assert "looking up tides" in output
    assert f'\n{ANSWERED} {{"answer": "all about tides", "topic": "tides"}}\n' in output
    assert "tasksCompleted: 1" in output
    assert f"heed dev -f {tmp_path / 'example'}" in output
    assert """heed publish com.example.question.asked --data '{"topic": "tides"}' -n demo""" in output
    assert "\x1b[" not in output


def test_when_nothing_follows_it_says_how_far_it_went(tmp_path: Path) -> None:
    example = write_example(tmp_path / "example", patient=True)

    code, output = run("--example", str(example), "--timeout", "1")

    assert code == 1
    assert "no event followed within 1 s" in output
    assert "demo/researcher: 1 handled, 0 ignored, 0 dead-lettered, pending: research-" in output


def test_an_example_without_a_runnable_agent_says_so(tmp_path: Path) -> None:
    example = write_example(tmp_path / "example")
    (example / "agent.yaml").write_text(
        "apiVersion: heed.dev/v1alpha1\nkind: Agent\nmetadata: {name: x}\nspec: {}\n"
    )

    code, output = run("--example", str(example))

    assert code == 1
    assert f"{example / 'agent.yaml'}:4: spec.handlers: is missing" in output
    assert "has no Agent that could be run" in output


@pytest.mark.parametrize("text", ["{", "[]", '[{"type": ""}]', '["x"]', '{"type": "com.example.other"}'])
def test_an_event_that_leads_nowhere_is_named(tmp_path: Path, text: str) -> None:
    example = write_example(tmp_path / "example")
    (example / "event.json").write_text(text)

    code, output = run("--example", str(example))

    assert code == 2  # a file that cannot be used
    assert "event" in output
    assert "Traceback" not in output


def test_several_events_are_published_in_order(tmp_path: Path) -> None:
    example = write_example(tmp_path / "example")
    events = [
        {"type": "com.example.question.asked", "data": {"topic": topic}} for topic in ("tides", "moons")
    ]
    (example / "event.json").write_text(json.dumps(events))

    code, output = run("--example", str(example))

    assert code == 0
    assert output.index('→ com.example.question.asked {"topic": "tides"}') < output.index(
        '{"topic": "moons"}'
    )
    assert "tasksCompleted: 2" in output
