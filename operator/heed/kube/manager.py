"""The manager of an operator replica: wires the parts, stands by, and runs the Agents while it is the leader.

connect ─▶ stand by ─▶ elected ─▶ run the Agents ─▶ lease lost ─┐
              ▲                                                 │ in the same process
              └─────────────────────────────────────────────────┘
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from heed import names
from heed.bus.auth.accounts import OPERATOR_CREDS
from heed.bus.client.connection import Connection, connect
from heed.bus.client.stream_rules import StreamFlaw
from heed.bus.client.streams import ensure_streams, keep_streams
from heed.bus.code_workers import NatsCodeWorkers
from heed.bus.function_runner import FunctionTasks
from heed.bus.task_credentials import TaskCredentials
from heed.bus.worker_credentials import WorkerCredentials
from heed.engine.deciders import Deciders
from heed.engine.observer import LogObserver, Observer, Observers
from heed.engine.ports import EventBus
from heed.engine.rate_limit import CommitRate
from heed.errors import BusUnavailable, HeedError, InvalidSettings, StreamConflict
from heed.kube.broker_keys import ensure_broker_keys
from heed.kube.client.client import ApiError, KubeApi, objects_path
from heed.kube.controller.agents import AgentController
from heed.kube.controller.policy_cache import RULE_PLURALS
from heed.kube.leader.election import Leadership, LeaseLost, end_task, make_leadership
from heed.kube.leader.fencing import FencedBus, FencedKubeApi
from heed.kube.metrics.collector import OperatorMetrics
from heed.kube.metrics.exporter import MetricsPage, serve_metrics
from heed.kube.probes import ProbeState, serve_probes
from heed.kube.status.address import check_gateway_url
from heed.kube.status.reasons import explain_stream_flaws
from heed.kube.watch import ClusterWatch
from heed.kube.webhook.server import serve_admission
from heed.sandbox.decision_pool import DecisionPool
from heed.settings import Settings

log = logging.getLogger("heed.operator")
SWEEP_INTERVAL_S = 300.0  # seconds
WATCH_START_S = 10.0  # seconds until all watches have surely begun
RETRY_DELAY_S: Final = 5.0
WATCH_END_TIMEOUT_S = 5.0  # seconds for the watch to end before the process does


async def run_operator(settings: Settings, observer: Observer | None = None) -> None:
    """Run until SIGTERM or SIGINT. Raises InvalidSettings, StreamConflict."""
    told_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_stop.set)
    operating = asyncio.create_task(_operate(settings, observer or LogObserver()))
    stopping = asyncio.create_task(told_to_stop.wait())
    await asyncio.wait({operating, stopping}, return_when=asyncio.FIRST_COMPLETED)
    broke = operating.done()
    stopping.cancel()
    await end_task(operating)
    if broke:
        operating.result()


async def _operate(settings: Settings, observer: Observer) -> None:
    """Connect, then stand by and run, turn after turn. Raises InvalidSettings."""
    check_gateway_url(settings.gateway)
    async with AsyncExitStack() as closing:
        metrics = OperatorMetrics()
        apart = await KubeApi.connect(observe=metrics.answered)
        closing.push_async_callback(apart.close)
        asked = await KubeApi.connect(observe=metrics.answered)
        closing.push_async_callback(asked.close)
        leader = make_leadership(settings, apart)
        api = await FencedKubeApi.connect(observe=metrics.answered, may_write=leader.holds)
        closing.push_async_callback(api.close)
        watch = ClusterWatch(settings, api.proxy)
        health = ProbeState(leader, watch)
        exposition = MetricsPage(metrics, leader)
        await closing.enter_async_context(serve_probes(settings.health_port, health))
        await closing.enter_async_context(serve_metrics(settings.metrics_port, exposition))
        await closing.enter_async_context(serve_admission(settings, asked))
        closing.push_async_callback(watch.wait_until_ended, WATCH_END_TIMEOUT_S)
        keys = await ensure_broker_keys(apart, settings, health)
        access, workers = TaskCredentials.of(settings, keys), WorkerCredentials.of(settings, keys)
        if workers.missing is not None:
            log.warning("no workers can log in", extra={"reason": workers.missing})
        credentials = None if keys is None else keys[OPERATOR_CREDS]
        connection = await connect(settings, "heed-operator", credentials=credentials)
        health.connection = connection
        exposition.connection = connection
        closing.push_async_callback(connection.close)
        bus = FencedBus(connection, leader.holds)
        observers = Observers(observer, metrics)
        term = LeaderTerm(
            settings, observers, api, bus, connection, watch, health, exposition, access, workers
        )
        while True:
            await watch.wait_until_ended()
            await _connected(connection)
            await _turn(leader, term)


async def _turn(leader: Leadership, term: "LeaderTerm") -> None:
    """One term: stand by, be elected, run, lose the leadership. Raises InvalidSettings, StreamConflict."""
    try:
        await leader.lead(term.run)
    except (InvalidSettings, StreamConflict):
        raise
    except LeaseLost as lost:
        log.warning("no longer the leader", extra={"reason": str(lost)})
    except Exception as error:  # a bug, too: another replica, or another term, may succeed
        extra = {"error": str(error), "retry_in": RETRY_DELAY_S}
        log.error("cannot work as the leader yet", extra=extra, exc_info=not isinstance(error, HeedError))
        await asyncio.sleep(RETRY_DELAY_S)


@dataclass(frozen=True, slots=True)
class LeaderTerm:
    """The work of the active replica for one term of leadership."""

    settings: Settings
    observer: Observer
    api: KubeApi
    bus: EventBus
    connection: Connection
    watch: ClusterWatch
    health: ProbeState
    exposition: MetricsPage
    access: TaskCredentials
    workers: WorkerCredentials

    async def run(self) -> None:
        """Run the Agents until cancelled; no loop is left then. Raises WatchEnded, StreamConflict, BusUnavailable."""
        await ensure_streams(self.connection, self.settings.stream)
        pace, namespace, access = CommitRate.of(self.settings), self.settings.namespace, self.access
        pool = DecisionPool(self.settings.decision_memory, self.settings.decision_cpu)
        code = NatsCodeWorkers(self.connection, missing=self.workers.missing)
        functions = FunctionTasks(
            self.connection, self.bus, self.settings.stream, self.settings.call_network_list
        )
        fleet = AgentController(
            self.api,
            self.bus,
            self.observer,
            pace,
            deciders=Deciders(pool, code),
            functions=functions,
            watched=namespace,
            access=access,
            gateway=self.settings.gateway,
            workers=self.workers,
            ping=code.answers,
        )
        beside: list[asyncio.Task[None]] = []
        try:
            await self._served(fleet)
            beside.append(asyncio.create_task(functions.listen()))
            self.exposition.agents, self.health.detail = fleet, fleet.describe_refused
            beside.append(asyncio.create_task(_sweep(fleet, namespace)))
            beside.append(asyncio.create_task(self._take_answers(fleet)))
            keeping = keep_streams(self.connection, self.settings.stream, partial(self._looked, fleet))
            beside.append(asyncio.create_task(keeping))
            log.info("operator active", extra={"nats": self.connection.url, "namespace": namespace or "all"})
            await self.watch.run(fleet)
        finally:
            self.exposition.agents, self.health.detail = None, lambda: None
            for task in beside:
                task.cancel()
            await fleet.close()
            self.exposition.flaws, self.health.concern = (), None

    async def _take_answers(self, fleet: AgentController) -> None:
        retention = timedelta(seconds=self.settings.answer_retention)
        await fleet.answers.run(self.settings.answer_policy, retention)

    def _looked(self, fleet: AgentController, wrong: Sequence[StreamFlaw]) -> None:
        """Note the streams' flaws, which are every Agent's trouble."""
        self.exposition.flaws = wrong
        self.health.concern = "; ".join(map(str, wrong)) or None
        fleet.set_shared_trouble(explain_stream_flaws(wrong))

    async def _served(self, fleet: AgentController) -> None:
        """Wait until policies, grants and event types are listed, which needs the CRDs and the operator's rights."""
        try:
            while (refusal := await self._refusal(fleet)) is not None:
                what, error = refusal
                self.health.obstacle = f"cannot list {what}: {error}{_remedy(error)}"
                extra = {"error": f"{error}{_remedy(error)}", "retry_in": RETRY_DELAY_S}
                log.warning(f"cannot list {what} yet", extra=extra)
                await asyncio.sleep(RETRY_DELAY_S)
        finally:
            self.health.obstacle = None

    async def _refusal(self, fleet: AgentController) -> tuple[str, ApiError] | None:
        namespace = self.settings.namespace
        asked: list[tuple[str, Callable[[], Awaitable[object]]]] = [
            (kind, partial(self.api.get, objects_path(kind, namespace), {"limit": "1"}))
            for kind in (names.PLURAL, *RULE_PLURALS.values())
        ]
        for what, ask in (*asked, ("all policies, grants and event types", fleet.relist_rules)):
            try:
                await ask()
            except ApiError as error:
                return what, error
        return None


async def _connected(connection: Connection) -> None:
    """Wait for the connection to the broker: a replica without one is of no use as the leader."""
    while True:
        with suppress(BusUnavailable):
            return await connection.ready()


def _remedy(error: ApiError) -> str:
    match error.status:
        case 404:
            return "; apply the custom resource definitions of this version (`heed crds`)"
        case 403:
            return "; give the operator the rights that its chart grants"
    return ""


async def _sweep(fleet: AgentController, namespace: str | None) -> None:
    """Resync periodically, as kopf's relist reports no deletions missed during a watch gap.

    Rules are read again soon: what was deleted between their first list and the watch of them is in neither.
    """
    await asyncio.sleep(WATCH_START_S)
    await _try(fleet.relist_rules)
    while True:
        await asyncio.sleep(SWEEP_INTERVAL_S)
        await _try(fleet.relist_rules)
        await _try(partial(fleet.sweep, namespace))


async def _try(sweep: Callable[[], Awaitable[None]]) -> None:
    try:
        await sweep()
    except Exception as error:  # a bug, too: the sweeps would end unnoticed
        log.warning("cannot resync", extra={"error": str(error)}, exc_info=not isinstance(error, ApiError))
