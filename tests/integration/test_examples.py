"""The examples: what their READMEs tell people to type is what is typed here, without a cluster."""

import asyncio
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from heed import names
from heed.bus.client.connection import connect
from heed.bus.client.streams import ensure_streams
from heed.bus.jetstream import JetStreamBus
from heed.cli.main import main
from heed.cli.manifest_files import load_agents
from heed.cli.simulate.scenario import read_events
from heed.core.events import Event
from heed.core.ledger.ledger import dump_ledger
from heed.core.simulation.assertions import find_mismatches
from heed.core.simulation.report import build_report
from heed.core.simulation.simulator import simulate
from heed.local.ledger_store import KeyValueLedgerStore, open_ledgers
from heed.settings import Settings
from tests.integration.local.examples import Life, life
from tests.markdown import ROOT, blocks, commands, section
from tests.nats_server import NatsServer, require_nats_server
from tests.patience import PATIENCE

HEED = [sys.executable, "-c", "from heed.cli.main import main; main()"]
ACTIVATED = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))  # as in a venv
PLAYED = {"github-triage": ("Let GitHub deliver",)}  # whose second block of commands a test of its own runs
EXAMPLES = ("research", "questions", "orders", "progress", "join", "nightly-report", "github-triage")
TIMED = ("nightly-report",)  # what comes of them depends on the clock
MANIFESTS = {
    "research": "agent.yaml",
    "questions": "agents.yaml",
    "orders": "agent.yaml",
    "progress": "agent.yaml",
    "join": "agent.yaml",
    "nightly-report": "agent.yaml",
    "github-triage": "agent.yaml",
}

# What is broadcast in the end once the commands under "Run it on your machine" were typed.
OUTCOMES: dict[str, list[dict[str, Any]]] = {
    "research": [
        {
            "type": "com.example.question.answered",
            "data": {"topic": "tides", "answer": "The Moon pulls the sea, and the Earth turns under it."},
        },
        {
            "type": "com.example.question.failed",
            "data": {"topic": "atlantis", "reason": "nobody knows about atlantis; try comets or tides"},
        },
    ],
    "questions": [
        {
            "type": "com.example.trip.planned",
            "data": {"stops": 3, "route": "Oslo: the Opera, then Bygdøy, then Frognerseteren"},
        },
        {"type": "com.example.trip.rejected", "data": {"city": "Atlantis"}},
    ],
    "github-triage": [
        {
            "type": "com.example.issue.triaged",
            "data": {"repository": "example/app", "number": 8, "labels": ["question"]},
        },
    ],
    "progress": [
        {
            "type": "com.example.report.written",
            "data": {"topic": "tides", "lines": 2000, "first": "1: all about tides"},
        },
    ],
    "join": [
        {
            "type": "com.example.delivery.complete",
            "data": {
                "shipment": "s-7",
                "truck": "OSL-7",
                "parcels": [{"parcel": "rug", "kg": 5}, {"parcel": "mug", "kg": 3}],
            },
        },
    ],
    "nightly-report": [
        {"type": "com.example.report.written", "data": {"text": "2 sales, 42 in all"}},
    ],
    "orders": [
        {
            "type": "com.example.order.completed",
            "data": {
                "order": "7",
                "complete": True,
                "items": [{"sku": "rug", "parcel": "7/rug"}, {"sku": "mug", "parcel": "7/mug"}],
            },
        },
        {
            "type": "com.example.order.completed",
            "data": {
                "order": "8",
                "complete": False,
                "items": [{"sku": "lamp", "problem": "only 2 in stock"}, {"sku": "mug", "parcel": "8/mug"}],
            },
        },
    ],
}


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> str:
    """Each of them."""
    return str(request.param)


@pytest.fixture
def in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """READMEs say that commands are typed in the repository's root."""
    monkeypatch.chdir(ROOT)


def readme(example: str) -> str:
    return (ROOT / "examples" / example / "README.md").read_text()


def typed(example: str, *verbs: str, where: str | None = None) -> list[list[str]]:
    """The arguments of the README's `heed` commands of these kinds."""
    text = readme(example) if where is None else section(readme(example), where)
    return [words[1:] for words in commands(text) if words[0] == "heed" and words[1] in verbs]


def expected(example: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "examples" / example / "simulate" / "expected.yaml").read_text()))


def test_there_is_no_other_example() -> None:
    told_elsewhere = (
        "purchase-approval",  # test_purchase_example.py: people are in it
        "http",  # test_http_example.py: a service is in it
        "worker-typescript",  # test_typescript_worker.py: Node is in it
    )
    in_python = ("chat", "graph", "languages")  # test_code_examples.py: they have no agent.yaml
    of_workers = ("workers",)  # test_worker_examples.py: it scales the workers of research
    known = sorted((*EXAMPLES, *told_elsewhere))
    assert sorted(path.parent.name for path in ROOT.glob("examples/*/README.md")) == sorted(
        (*known, *in_python, *of_workers)
    )
    assert sorted(path.parent.name for path in ROOT.glob("examples/*/agent*.yaml")) == known


def test_its_readme_shows_every_way_to_run_it(example: str) -> None:
    kinds = {tuple(words[:2]) for words in commands(readme(example))}

    assert kinds >= {
        ("heed", "validate"),
        ("heed", "simulate"),
        ("heed", "dev"),
        ("heed", "publish"),
        ("kubectl", "apply"),
    }
    shown = readme(example)
    for title in PLAYED.get(example, ()):
        shown = shown.replace(blocks(section(shown, title), "sh")[1], "")
    for words in commands(shown):
        assert words[0] in ("heed", "kubectl"), f"{words} is typed by no test"
        for path in (word for word in words if word.startswith("examples/")):
            assert (ROOT / path).is_file()


@pytest.mark.usefixtures("in_root")
def test_it_is_valid_and_nothing_about_it_is_odd(example: str) -> None:
    for words in typed(example, "validate"):
        done = CliRunner().invoke(main, [*words, "--strict"])
        assert (done.exit_code, done.stderr) == (0, ""), done.output


@pytest.mark.usefixtures("in_root")
def test_it_simulates_to_its_expectation(example: str) -> None:
    simulations = typed(example, "simulate")

    assert any("--expect" in words for words in simulations)
    for words in simulations:
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        assert done.output.endswith("as expected\n") == ("--expect" in words)


@pytest.mark.usefixtures("in_root")
def test_an_order_comes_out_the_same_in_whatever_order_its_jobs_end() -> None:
    (words,) = (words for words in typed("orders", "simulate") if "--shuffle" in words)
    seen: set[tuple[str, ...]] = set()
    for seed in range(100):
        done = CliRunner().invoke(main, [*words[:-1], str(seed), "-o", "json"])
        assert done.exit_code == 0, done.stderr
        ends = (item["event"] for item in json.loads(done.stdout)["events"] if item["origin"] == "task")
        seen.add(tuple(event["subject"] for event in ends))
        if len(seen) == 6:  # all orders that three Jobs can end in
            return

    pytest.fail(f"only {len(seen)} of 6 orders were tried")


def test_a_shipment_comes_out_the_same_in_whatever_order_its_events_come() -> None:
    (item,) = load_agents([str(ROOT / "examples" / "join" / "agent.yaml")])
    assert item.program is not None
    path = ROOT / "examples" / "join" / "simulate" / "events.jsonl"
    given = read_events(str(path), [item.program], "default")
    ends = Counter[str]()
    for order in permutations(given):
        report = build_report(simulate([item.program], order, lambda work: None))
        (emitted,) = report["emitted"]
        (status,) = report["agents"].values()
        counted = {
            name: status["totals"][name] for name in ("handled", "ignored", "deadLettered", "duplicates")
        }
        ends[json.dumps([emitted["data"], status["sessions"], status["held"], counted])] += 1

    assert list(ends.values()) == [720], ends


@pytest.mark.parametrize("example", [name for name in EXAMPLES if name not in TIMED])
async def test_its_events_lead_on_the_local_adapters_to_what_was_simulated(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_nats_server()
    monkeypatch.setenv("PATH", ACTIVATED)
    folder = ROOT / "examples" / example
    manifest = folder / MANIFESTS[example]
    programs = [item.program for item in load_agents([str(manifest)])]
    wanted = expected(example)

    async with life(manifest, folder=tmp_path / "state") as one:
        for message in read_events(str(folder / "simulate" / "events.jsonl"), programs, "default"):
            await one.bench.bus.publish(message.subject, message.event)
        await _until(lambda: _remaining(one, wanted) == [], lambda: _remaining(one, wanted))
        emitted = [
            effect["emit"] for item in one.told("decided") for effect in item["effects"] if effect.get("emit")
        ]

    assert len(emitted) == len(wanted["emitted"])
    for event in wanted["emitted"]:
        assert any(not list(find_mismatches(event, found)) for found in emitted), (event, emitted)
    assert sum(len(item["effects"]) for item in one.told("decided")) == len(emitted) + _tasks(wanted)


def _remaining(one: Life, wanted: dict[str, Any]) -> list[Any]:
    """What the ledgers still lack."""
    found = {key[1]: dump_ledger(loop.ledger) if loop.ledger else {} for key, loop in one.bench.loops.items()}
    return list(find_mismatches(wanted["agents"], found))


def _tasks(wanted: dict[str, Any]) -> int:
    tasks = wanted.get("tasks", 0)
    return tasks if isinstance(tasks, int) else len(tasks)


# What is in the sessions that an example leaves open.
REMEMBERED = {
    "research": [{"topic": "tides", "answer": "The Moon pulls the sea, and the Earth turns under it."}],
    "progress": [{"topic": "tides", "percent": 100}],
    "nightly-report": [{"count": 2, "total": 42}],
}


async def test_what_its_readme_says_to_type_runs_on_a_laptop(example: str, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = {
        **os.environ,
        "PATH": ACTIVATED,
        "PYTHONPATH": str(ROOT / "operator"),
        "NO_COLOR": "1",
    }
    (dev,) = typed(example, "dev", where="Run it on your machine")
    publishes = typed(example, "publish", where="Run it on your machine")

    async with _running(dev, tmp_path, environment) as output:
        await _until(lambda: "\ntry " in output.read_text(), output.read_text)
        (broker,) = re.findall(r"^broker (\S+)", output.read_text(), re.MULTILINE)
        for words in publishes:
            publisher = await asyncio.create_subprocess_exec(*HEED, *words, cwd=tmp_path, env=environment)
            assert await publisher.wait() == 0
        wanted = OUTCOMES[example]
        broadcast = await _broadcast(broker, {item["type"] for item in wanted}, len(wanted))
        statuses = await _settled(example, broker)

    assert len(broadcast) == len(wanted)
    for outcome in wanted:
        assert any(not list(find_mismatches(outcome, found)) for found in broadcast), (outcome, broadcast)
    for status in statuses:
        assert status["pendingTasks"] == {}
        remembered = [session["state"] for session in status["sessions"].values()]
        assert remembered == REMEMBERED.get(example, [])
        assert status["totals"]["deadLettered"] == 0
    assert "Traceback" not in output.read_text()


async def test_an_issue_that_github_tells_a_laptop_of_is_triaged_once(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = {**os.environ, "PATH": ACTIVATED, "PYTHONPATH": str(ROOT / "operator"), "NO_COLOR": "1"}
    (dev,) = typed("github-triage", "dev", where="Let GitHub deliver")
    words = [word.replace("8090", str(unused_tcp_port)) for word in dev]
    _, script = blocks(section(readme("github-triage"), "Let GitHub deliver"), "sh")
    script = script.replace("8090", str(unused_tcp_port))

    async with _running(words, tmp_path, environment) as output:
        await _until(lambda: "\ntry " in output.read_text(), output.read_text)
        (broker,) = re.findall(r"^broker (\S+)", output.read_text(), re.MULTILINE)
        statuses = []
        for text in (script.replace("-hmac not-a-secret", "-hmac guessed"), script, script):
            shell = await asyncio.create_subprocess_exec(
                "sh", "-c", text, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
            )
            answer, _ = await shell.communicate()
            statuses.append(answer.split()[1])
        found = await _broadcast(broker, {"com.github.issues", "com.example.issue.triaged"}, 2)

    assert statuses == [b"401", b"202", b"202"]
    told, triaged = found
    assert told["type"] == "com.github.issues"
    assert triaged == {
        "type": "com.example.issue.triaged",
        "data": {"repository": "example/app", "number": 9, "labels": ["bug"]},
    }


async def test_the_program_in_the_docs_publishes_what_an_agent_takes(
    tmp_path: Path, own_server: NatsServer
) -> None:
    (program,) = blocks((ROOT / "docs" / "events.md").read_text(), "python")
    program = program.replace("nats://127.0.0.1:4222", own_server.url)
    connection = await connect(Settings(nats_url=own_server.url), "test", attempts=3)
    await ensure_streams(connection, Settings().stream)
    await connection.close()

    for _ in range(2):  # the second one is dropped by its Nats-Msg-Id
        publisher = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
        assert await publisher.wait() == 0

    (published,) = await _broadcast(own_server.url, {"com.example.question.asked"}, 1)
    assert published["data"] == {"topic": "tides"}


@asynccontextmanager
async def _running(words: list[str], folder: Path, environment: dict[str, str]) -> AsyncIterator[Path]:
    """A command while it runs, and the file that it writes to. It ends with Ctrl-C, as it should."""
    output = folder / "output.txt"
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *HEED, *words, cwd=folder, env=environment, stdout=file, stderr=file
        )
    try:
        yield output
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    except BaseException:
        print(output.read_text())  # pytest shows it where the test fails
        raise
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _broadcast(url: str, types: set[str], count: int) -> list[dict[str, Any]]:
    """The first `count` events of these types in the stream."""
    connection = await connect(Settings(nats_url=url), "test", attempts=3)
    subjects = [names.event_subject("default", type_) for type_ in types]
    found: list[dict[str, Any]] = []
    try:
        reader = await JetStreamBus(connection).open(subjects, 0, "2026-01-01T00:00:00Z")
        try:
            async with asyncio.timeout(PATIENCE):
                while len(found) < count:
                    for received in await reader.read(100, 1.0):
                        assert isinstance(received.event, Event)
                        found.append({"type": received.event.type, "data": received.event.data})
        except TimeoutError:
            pytest.fail(f"only {found} came")
        finally:
            await reader.close()
    finally:
        await connection.close()
    return found


async def _settled(example: str, url: str) -> list[dict[str, Any]]:
    """The ledgers, once nothing is pending or owed."""
    async with asyncio.timeout(PATIENCE):
        while True:
            statuses = await _statuses(example, url)
            if not any(status["pendingTasks"] or status["outbox"] for status in statuses):
                return statuses
            await asyncio.sleep(0.05)


async def _statuses(example: str, url: str) -> list[dict[str, Any]]:
    """The ledgers of `heed dev`."""
    connection = await connect(Settings(nats_url=url), "test", attempts=3)
    try:
        bucket = await open_ledgers(connection.client.jetstream())
        agents = [
            item.agent.metadata
            for item in load_agents([str(ROOT / "examples" / example / MANIFESTS[example])])
        ]
        stores = [KeyValueLedgerStore(bucket, item.namespace, item.name, since="") for item in agents]
        return [dump_ledger((await store.load()).ledger) for store in stores]
    finally:
        await connection.close()


async def _until(condition: Any, explain: Any) -> None:
    """Wait until the condition holds; where it never does, say how far it went."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110  # what is waited for happens in another process
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"waited in vain: {explain()}")
