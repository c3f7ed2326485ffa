"""The operator: wires the parts together, stands by, and runs the Agents for as long as it is the active replica.

connect ─▶ stand by ─▶ elected ─▶ run the Agents ─▶ lease lost ─┐
              ▲                                                 │ in the same process
              └─────────────────────────────────────────────────┘
"""

import asyncio
import logging
import signal
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from heed.bus.connection import Connection, connect
from heed.bus.streams import ensure_streams, keep_streams
from heed.engine.guarding import Guard
from heed.engine.observers import LogObserver, Observer
from heed.engine.pacing import Pace
from heed.engine.ports import EventBus
from heed.errors import BusUnavailable, HeedError, InvalidSettings, StreamConflict
from heed.kube.api import Api, ApiError, agents_path
from heed.kube.election import Leadership, LeaseLost, ended, leadership
from heed.kube.fencing import FencedApi, FencedBus
from heed.kube.fleet import Fleet
from heed.kube.health import Health, serving_health
from heed.kube.watching import ClusterWatch
from heed.settings import Settings

log = logging.getLogger("heed.operator")
SWEEP_EVERY = 300.0  # seconds
RETRY = 5.0  # seconds
FAREWELL = 5.0  # seconds for the watch to end before the process does


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
    await ended(operating)
    if broke:
        operating.result()


async def _operate(settings: Settings, observer: Observer) -> None:
    """Connect, then stand by and run, turn after turn."""
    async with AsyncExitStack() as closing:
        api, apart = await FencedApi.connect(), await Api.connect()
        closing.push_async_callback(api.close)
        closing.push_async_callback(apart.close)
        leader, watch = leadership(settings, apart), ClusterWatch(settings)
        api.may_write = leader.holds
        health = Health(leader, watch)
        await closing.enter_async_context(serving_health(settings.health_port, health))
        closing.push_async_callback(watch.ended, FAREWELL)
        connection = health.connection = await connect(settings, "heed-operator")
        closing.push_async_callback(connection.close)
        term = Term(settings, observer, api, FencedBus(connection, leader.holds), connection, watch, health)
        while True:
            await watch.ended()
            await _connected(connection)
            await _turn(leader, term)


async def _turn(leader: Leadership, term: "Term") -> None:
    """Stand by, be elected, run, and lose it again. Raises InvalidSettings, StreamConflict."""
    try:
        await leader.lead(term.run)
    except (InvalidSettings, StreamConflict):
        raise
    except LeaseLost as lost:
        log.warning("not active any more", extra={"reason": str(lost)})
    except Exception as error:  # also a mistake of ours: another replica, or another try, may do better
        extra = {"error": str(error), "retry_in": RETRY}
        log.error("cannot go on as the active one", extra=extra, exc_info=not isinstance(error, HeedError))
        await asyncio.sleep(RETRY)


@dataclass(frozen=True, slots=True)
class Term:
    """What the active replica does, from its election until it is not any more."""

    settings: Settings
    observer: Observer
    api: Api
    bus: EventBus
    connection: Connection
    watch: ClusterWatch
    health: Health

    async def run(self) -> None:
        """Run the Agents until cancelled; no loop is left then. Raises WatchEnded, StreamConflict, BusUnavailable."""
        await ensure_streams(self.connection, self.settings.stream)
        await self._served()
        guard = Guard(self.settings.decision_memory, self.settings.decision_cpu)
        fleet = Fleet(self.api, self.bus, self.observer, Pace.of(self.settings), guard=guard)
        sweeping = asyncio.create_task(_sweep(fleet, self.settings.namespace))
        keeping = asyncio.create_task(keep_streams(self.connection, self.settings.stream))
        extra = {"nats": self.connection.url, "namespace": self.settings.namespace or "all"}
        log.info("operator active", extra=extra)
        try:
            await self.watch.run(fleet)
        finally:
            sweeping.cancel()
            keeping.cancel()
            await fleet.close()

    async def _served(self) -> None:
        """Wait until the API server lets us list Agents: the CRD is there, and so are our rights."""
        try:
            while (error := await self._refusal()) is not None:
                self.health.obstacle = f"cannot list agents: {error}"
                log.warning("cannot list agents yet", extra={"error": str(error), "retry_in": RETRY})
                await asyncio.sleep(RETRY)
        finally:
            self.health.obstacle = None

    async def _refusal(self) -> ApiError | None:
        try:
            await self.api.get(agents_path(self.settings.namespace), {"limit": "1"})
        except ApiError as error:
            return error
        return None


async def _connected(connection: Connection) -> None:
    """A replica without a broker would be of no use as the active one."""
    while True:
        with suppress(BusUnavailable):
            return await connection.ready()


async def _sweep(fleet: Fleet, namespace: str | None) -> None:
    """kopf makes up no deletion that it missed while its watch was down; this finds them."""
    while True:
        await asyncio.sleep(SWEEP_EVERY)
        try:
            await fleet.sweep(namespace)
        except Exception as error:  # also a mistake of ours: nobody would miss the sweeps
            log.warning("cannot sweep", extra={"error": str(error)}, exc_info=not isinstance(error, ApiError))
