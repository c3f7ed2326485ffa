"""A term of the active replica: what it waits for, what it shows meanwhile, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from heed.bus.client.stream_rules import StreamFlaw
from heed.bus.task_credentials import TaskCredentials
from heed.bus.worker_credentials import WorkerCredentials
from heed.engine.rate_limit import CommitRate
from heed.kube import manager
from heed.kube.client.client import KubeApi
from heed.kube.controller.agents import AgentController
from heed.kube.manager import LeaderTerm
from heed.kube.metrics.collector import OperatorMetrics
from heed.kube.metrics.exporter import MetricsPage
from heed.kube.probes import ProbeState
from heed.kube.watch import ClusterWatch
from heed.settings import Settings
from tests.integration.waiting import SOON, until
from tests.unit.apiserver import ApiServer
from tests.unit.fleets import fleet_on, path
from tests.unit.memorybus import MemoryBus

AGENTS = "/apis/heed.dev/v1alpha1/agents"
FLAWS = (StreamFlaw("HEED", "discard", "it is full"), StreamFlaw("HEED_DEAD", "sealed", "it is"))


class Led:
    """Active; leads as a test says."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes, self.led = list(outcomes), 0

    def holds(self) -> bool:
        return True

    def missing(self) -> str | None:
        return None

    async def lead(self, work: Any) -> None:
        self.led += 1
        if (outcome := self.outcomes.pop(0)) is not None:
            raise outcome


class Broker:
    """A connection of which only the streams are looked at."""

    url, is_connected = "nats://test", False

    async def serve_clients(self, begin: object) -> None:
        await asyncio.Event().wait()

    def __init__(self, *answers: Exception | None) -> None:
        self.answers, self.asked = list(answers), 0

    async def ready(self) -> None:
        self.asked += 1
        if (answer := self.answers.pop(0)) is not None:
            raise answer


class Watch(ClusterWatch):
    """Shows an Agent, then nothing more."""

    def __init__(self) -> None:
        super().__init__(Settings())
        self.fleet: AgentController | None = None

    async def run(self, watcher: Any) -> None:
        self.fleet = watcher
        await asyncio.Event().wait()


class Replica:
    """A term, and what the replica shows of it."""

    def __init__(self, server: ApiServer, namespace: str | None = None) -> None:
        leader: Any = Led()
        broker: Any = Broker()
        self.watch, self.bus = Watch(), MemoryBus()
        self.health = ProbeState(leader, self.watch)
        metrics = OperatorMetrics()
        self.exposition = MetricsPage(metrics, leader)
        self.term = LeaderTerm(
            Settings(namespace=namespace),
            metrics,
            server.connect(KubeApi),
            self.bus,
            broker,
            self.watch,
            self.health,
            self.exposition,
            TaskCredentials(),
            WorkerCredentials(),
        )


@pytest.fixture(autouse=True)
def streams(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Streams that are there; tells how to say what is wrong with them."""
    found: list[Any] = []

    async def ensured(connection: Any, settings: Any) -> None:
        found.append(("ensured", settings))

    async def kept(connection: Any, settings: Any, told: Callable[[Sequence[StreamFlaw]], None]) -> None:
        found.append(told)
        await asyncio.Event().wait()

    monkeypatch.setattr(manager, "ensure_streams", ensured)
    monkeypatch.setattr(manager, "keep_streams", kept)
    monkeypatch.setattr(manager, "RETRY_DELAY_S", 0.001)
    return found


async def test_a_term_runs_agents_and_leaves_nothing(
    server: ApiServer, streams: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "heed.operator")
    replica: Any = Replica(server)
    async with fleet_on(server) as other:  # only to make the Agent
        body = other.add()
    running = asyncio.create_task(replica.term.run())
    await until(lambda: replica.watch.fleet is not None and len(streams) == 2)
    fleet = replica.watch.fleet
    assert fleet is not None
    assert replica.exposition.agents is fleet
    assert replica.health.detail() is None
    (active,) = [record for record in caplog.records if record.getMessage() == "operator active"]
    assert (active.nats, active.namespace) == ("nats://test", "all")  # type: ignore[attr-defined]

    fleet.observe(body)
    await until(lambda: bool(fleet._running))
    tell = streams[1]
    tell(FLAWS)
    assert replica.exposition.flaws == FLAWS
    assert replica.health.concern == f"{FLAWS[0]}; {FLAWS[1]}"
    await until(lambda: "StreamUnsafe" in str(server.at(path()).get("status")))
    tell(())
    assert (replica.exposition.flaws, replica.health.concern) == ((), None)
    tell(FLAWS)

    running.cancel()
    await asyncio.wait({running}, timeout=SOON)
    assert running.cancelled()
    assert fleet._running == {}
    assert (replica.exposition.agents, replica.exposition.flaws) == (None, ())
    assert (replica.health.detail(), replica.health.concern) == (None, None)


async def test_rules_are_known_before_anything_is_watched(server: ApiServer) -> None:
    replica = Replica(server, "demo")

    running = asyncio.create_task(replica.term.run())
    await until(lambda: replica.watch.fleet is not None)

    base = "/apis/heed.dev/v1alpha1/namespaces/demo"
    kinds = ("agentpolicies", "eventgrants", "eventtypes")
    of_rules = [asked for _, asked in server.asked if "approvalanswers" not in asked]
    assert of_rules == [
        *(f"{base}/{kind}?limit=1" for kind in ("agents", *kinds)),
        *(f"{base}/{kind}?limit=500" for kind in kinds),
    ]
    running.cancel()
    await asyncio.wait({running})


async def test_a_term_is_run_by_its_settings(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Any, dict[str, Any]]] = []

    class Noted(AgentController):
        def __init__(self, *given: Any, **named: Any) -> None:
            made.append((given, named))
            super().__init__(*given, **named)

    monkeypatch.setattr(manager, "AgentController", Noted)
    settings = Settings(
        namespace="demo", decision_memory=64 * 1024**2, decision_cpu=3, commit_rate=7, batch=5
    )
    replica: Any = Replica(server)
    term = replace(replica.term, settings=settings)

    running = asyncio.create_task(term.run())
    await until(lambda: replica.watch.fleet is not None)

    ((given, named),) = made
    assert given == (term.api, term.bus, term.observer, CommitRate.of(settings))
    assert (named["deciders"].pool.memory, named["deciders"].pool.cpu) == (64 * 1024**2, 3)
    assert (named["watched"], named["access"]) == ("demo", term.access)
    running.cancel()
    await asyncio.wait({running})


async def test_a_term_sweeps_for_as_long_as_it_lasts(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "WATCH_START_S", 0.01)
    monkeypatch.setattr(manager, "SWEEP_INTERVAL_S", 0.01)

    running = asyncio.create_task(Replica(server, "demo").term.run())

    swept = ("GET", "/apis/heed.dev/v1alpha1/namespaces/demo/agents?limit=500")
    await until(lambda: server.asked.count(swept) >= 2)
    running.cancel()
    await asyncio.wait({running})
    before = len(server.asked)
    await server.connect(KubeApi).get("/api/v1/namespaces/demo/pods")
    assert len(server.asked) == before + 1


@pytest.mark.parametrize(
    ("refused", "status", "obstacle"),
    [
        (
            "agents",
            404,
            "cannot list agents: 404: no 404; apply the custom resource definitions of this version (`heed crds`)",
        ),
        (
            "eventtypes",
            403,
            "cannot list eventtypes: 403: no 403; give the operator the rights that its chart grants",
        ),
        ("agentpolicies", 500, "cannot list agentpolicies: 500: no 500"),
    ],
)
async def test_what_cannot_be_listed_is_waited_for_and_named(
    server: ApiServer, caplog: pytest.LogCaptureFixture, refused: str, status: int, obstacle: str
) -> None:
    replica: Any = Replica(server)
    server.refuse = lambda method, path: status if path.endswith(refused) else None

    running = asyncio.create_task(replica.term.run())
    await until(lambda: len(server.asked) > 8)

    assert replica.health.obstacle == obstacle
    assert replica.watch.fleet is None
    record = next(item for item in caplog.records if item.name == "heed.operator")
    assert record.getMessage() == f"cannot list {refused} yet"
    assert record.error == obstacle.partition(": ")[2]  # type: ignore[attr-defined]
    server.refuse = lambda method, path: None
    await until(lambda: replica.watch.fleet is not None)
    assert replica.health.obstacle is None
    running.cancel()
    await asyncio.wait({running})


async def test_rules_that_cannot_all_be_read_are_an_obstacle_too(server: ApiServer) -> None:
    replica: Any = Replica(server)
    answers = itertools.cycle([None, 500])  # to the look whether they can be listed, and to the list of all
    server.refuse = lambda method, path: next(answers) if path.endswith("agentpolicies") else None

    running = asyncio.create_task(replica.term.run())
    await until(lambda: replica.health.obstacle is not None)

    assert replica.health.obstacle == "cannot list all policies, grants and event types: 500: no 500"
    running.cancel()
    await asyncio.wait({running})
    assert replica.health.obstacle is None
