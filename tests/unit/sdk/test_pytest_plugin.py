"""The plugin of pytest, as runs of pytest in a folder of a user see it."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.markdown import ROOT

AGENT = """
from heed.sdk import Agent, Event, Reaction, emit


class Asked(Event, type="com.example.asked"):
    topic: str


class Answered(Event, type="com.example.answered"):
    text: str


agent = Agent("researcher")


@agent.on
def begin(event: Asked) -> Reaction:
    if event.topic == "broken":
        raise LookupError("no such topic")
    return emit(Answered(text=f"all about {event.topic}"))
"""


def run(folder: Path, test: str, *options: str) -> str:
    """What pytest prints for a file of tests, with the plugin."""
    (folder / "agent.py").write_text(AGENT)
    (folder / "test_it.py").write_text(test)
    plugins = [
        *("-p", "no:heed", "-p", "heed.pytest_plugin"),  # by its name, whether it is installed or not
        *("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:timeout"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "operator"), "PYTHONDONTWRITEBYTECODE": "1"}
    for variable in ("PYTEST_ADDOPTS", "CI"):  # under CI hypothesis shows the test case twice
        environment.pop(variable, None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout + done.stderr


def sections(output: str) -> list[str]:
    """The headings of the report that are about simulations."""
    return re.findall(r"^-+ (simulation of .+?) -+$", output, re.MULTILINE)


FAILING = """
from agent import Asked, Answered, agent

def test_fine(simulation):
    simulation(agent).publish(Asked(topic="comets"))

def test_wrong(simulation):
    one = simulation(agent)
    one.publish(Asked(topic="tides"), session="q-1")
    one.publish(Asked(topic="broken"), session="q-2")
    one.assert_emitted(Answered(text="nothing"))
"""


@pytest.mark.parametrize("options", [(), ("-n", "1", "--dist", "load")], ids=["alone", "xdist"])
def test_a_test_that_fails_shows_what_happened_in_its_simulation(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    output = run(tmp_path, FAILING, *options)

    assert "1 failed, 1 passed" in output
    assert sections(output) == ["simulation of researcher"]
    shown = output[output.index("simulation of researcher") :].splitlines()[1:8]
    assert shown == [
        '#1 2026-01-01T00:00:01 com.example.asked event-1 {"topic": "tides"}',
        "    researcher: handled by begin, session q-1",
        '      emits com.example.answered {"text": "all about tides"}',
        shown[3],
        "    no Agent here heeds it",
        '#3 2026-01-01T00:00:03 com.example.asked event-2 {"topic": "broken"}',
        "    researcher: dead lettered",
    ]
    assert re.fullmatch(r'#2 \S+ com.example.answered \S+ {"text": "all about tides"} \(emitted\)', shown[3])
    assert "HandlerFailed: begin (agent.py:" in output
    assert "comets" not in output


def test_the_simulation_of_a_falsifying_example_is_shown_alone(tmp_path: Path) -> None:
    test = """
from agent import Asked, agent
from heed.sdk.testing.strategies import orders
from hypothesis import given, settings

@settings(deadline=None)
@given(plan=orders([Asked(topic=topic) for topic in ("a", "b", "broken", "c")], duplicates=2, crashes=1))
def test_it(simulation, plan):
    one = simulation(agent)
    one.play(plan)
    assert one.dead_letters == []
"""
    output = run(tmp_path, test, "-p", "no:hypothesispytest")

    assert "1 failed" in output
    assert sections(output) == ["simulation of researcher"]
    found = output[output.index("Failing test case") :]
    assert re.findall(r"Publish\(Asked\(topic='(\w+)'\), id='event-\d'\),", found) == [
        "a",
        "b",
        "broken",
        "c",
    ]
    assert found.count("researcher: dead lettered\n") == 1
    assert "<DeadLetter com.example.asked: HandlerFailed: begin (agent.py:" in output


def test_nothing_of_heed_is_imported_before_a_fixture_is_used(tmp_path: Path) -> None:
    test = """
import sys

def loaded():
    return sorted(name for name in sys.modules if name.partition(".")[0] in ("heed", "pydantic", "asyncio"))

def test_before():
    assert loaded() == ["heed", "heed.pytest_plugin"]

def test_after(simulation):
    assert "heed.sdk.testing.simulation" in loaded()
"""
    output = run(tmp_path, test, "-p", "no:hypothesispytest", "-p", "no:xdist", "-W", "error")

    assert "2 passed" in output


def test_the_fixtures_are_listed_with_what_they_are(tmp_path: Path) -> None:
    output = run(tmp_path, "", "--fixtures")

    assert "Make a simulation of Agents: `simulation(agent)`" in output
    assert "A real nats-server with JetStream" in output


def test_it_is_an_entry_point_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["entry-points"]["pytest11"] == {"heed": "heed.pytest_plugin"}


SERVER = """
import asyncio, socket
import nats

def test_it_answers(heed_server):
    async def ask():
        client = await nats.connect(heed_server.url)
        await client.jetstream().add_stream(name="X", subjects=["x"])
        acknowledged = await client.jetstream().publish("x", b"1")
        await client.close()
        return acknowledged.seq
    assert asyncio.run(ask()) == 1

async def is_shared(url):
    client = await nats.connect(url)
    info = await client.jetstream().stream_info("X")
    await client.close()
    return info.state.messages

def test_it_is_shared(heed_server):
    assert asyncio.run(is_shared(heed_server.url)) == 1
    assert heed_server.url.startswith("nats://127.0.0.1:")
    print(f"pid {heed_server.pid}")
"""


def test_a_server_is_started_for_those_who_ask_and_ends_with_the_run(tmp_path: Path) -> None:
    output = run(tmp_path, SERVER, "-s", "-W", "error")

    assert "2 passed" in output, output
    (pid,) = re.findall(r"pid (\d+)", output)
    assert not Path(f"/proc/{pid}").exists()


def test_without_a_server_tests_are_skipped_and_say_what_is_missing(tmp_path: Path) -> None:
    test = """
import pytest
import heed.local.nats_server

@pytest.fixture(scope="session", autouse=True)
def none_there():
    heed.local.nats_server.os.access = lambda *_: False
    heed.local.nats_server.shutil.which = lambda *_: None

def test_it(heed_server): ...
"""
    output = run(tmp_path, test, "-rs")

    assert "1 skipped" in output
    assert "there is no nats-server; install one with" in output
