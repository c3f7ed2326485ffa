"""The operator: wires the parts together and lets kopf watch the cluster. Its handlers only pass on what they see."""

import asyncio
import logging
import signal
from contextlib import suppress
from typing import Any

import kopf

from heed import names
from heed.bus.connection import Connection, connect
from heed.bus.jetstream import JetStreamBus
from heed.bus.streams import ensure_streams
from heed.engine.observers import LogObserver, Observer
from heed.engine.pacing import Pace
from heed.kube.api import Api, ApiError, agents_path
from heed.kube.fleet import Fleet
from heed.kube.health import serving_health
from heed.settings import Settings

log = logging.getLogger("heed.operator")
SWEEP_EVERY = 300.0  # seconds
RETRY = 5.0  # seconds


async def run_operator(settings: Settings, observer: Observer | None = None) -> None:
    """Run until SIGTERM or SIGINT. Raises InvalidSettings, StreamConflict."""
    stop, watching = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    connections: list[Connection] = []

    def missing() -> str | None:
        if not (connections and connections[0].is_connected):
            return "not connected to NATS"
        return None if watching.is_set() else "not watching the cluster yet"

    api = await Api.connect()
    try:
        async with serving_health(settings.health_port, missing):
            if (connection := await _connected(settings, stop)) is None:
                return
            connections.append(connection)
            try:
                await _operate(api, connection, settings, observer or LogObserver(), stop, watching)
            finally:
                await connection.close()
    finally:
        await api.close()


async def _connected(settings: Settings, stop: asyncio.Event) -> Connection | None:
    """A connection to NATS, however long that takes; None where we are told to stop meanwhile."""
    dialling = asyncio.create_task(connect(settings, "heed-operator"))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({dialling, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if dialling.done():
        return dialling.result()
    dialling.cancel()
    return None


async def _served(api: Api, namespace: str | None, stop: asyncio.Event) -> bool:
    """Wait until the API server lets us list Agents: the CRD is there, and so are our rights. False: told to stop."""
    while not stop.is_set():
        try:
            await api.get(agents_path(namespace), {"limit": "1"})
        except ApiError as error:
            log.warning("cannot list agents yet", extra={"error": str(error), "retry_in": RETRY})
        else:
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY):
                await stop.wait()
    return False


async def _operate(
    api: Api,
    connection: Connection,
    settings: Settings,
    observer: Observer,
    stop: asyncio.Event,
    watching: asyncio.Event,
) -> None:
    await ensure_streams(connection, settings.stream)
    if not await _served(api, settings.namespace, stop):
        return
    pace = Pace(settings.commit_rate, settings.commit_burst, settings.batch, owed=settings.outbox_limit)
    fleet = Fleet(api, JetStreamBus(connection), observer, pace)
    log.info("operator started", extra={"nats": connection.url, "namespace": settings.namespace or "all"})
    sweeping = asyncio.create_task(_sweep(fleet, settings.namespace))
    try:
        await _watch(fleet, settings, stop, watching)
    finally:
        sweeping.cancel()


async def _watch(fleet: Fleet, settings: Settings, stop: asyncio.Event, watching: asyncio.Event) -> None:
    await kopf.operator(
        registry=_registry(fleet, stop),
        settings=_kopf_settings(settings),
        standalone=True,
        clusterwide=settings.namespace is None,
        namespaces=[] if settings.namespace is None else [settings.namespace],
        stop_flag=stop,
        ready_flag=watching,
    )


def _registry(fleet: Fleet, stop: asyncio.Event) -> kopf.OperatorRegistry:
    registry = kopf.get_default_registry().__class__()

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)
    async def agent_seen(event: kopf.RawEvent, **_: Any) -> None:
        fleet.observe(event["object"], deleted=event["type"] == "DELETED")

    @kopf.on.event("batch", "v1", "jobs", labels={names.LABEL_AGENT: kopf.PRESENT}, registry=registry)
    async def job_seen(event: kopf.RawEvent, **_: Any) -> None:
        fleet.observe_job(event["object"], deleted=event["type"] == "DELETED")

    @kopf.on.cleanup(registry=registry)
    async def stopping(**_: Any) -> None:
        await fleet.close()
        stop.set()  # kopf took the signals over; its own waiter for this flag would hold the end up

    return registry


def _kopf_settings(heed: Settings) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = heed.namespace is not None  # one namespace needs no rights to look at all
    settings.posting.enabled = False
    settings.queueing.idle_timeout = 1.0
    settings.queueing.exit_timeout = 0.5  # our handlers return at once
    settings.watching.server_timeout = 270
    settings.watching.client_timeout = 300
    settings.watching.connect_timeout = 10
    settings.watching.label_selectors["jobs.batch"] = names.LABEL_AGENT
    return settings


async def _sweep(fleet: Fleet, namespace: str | None) -> None:
    """kopf makes up no deletion that it missed while its watch was down; this finds them."""
    while True:
        await asyncio.sleep(SWEEP_EVERY)
        try:
            await fleet.sweep(namespace)
        except Exception as error:  # also a mistake of ours: nobody would miss the sweeps
            log.warning("cannot sweep", extra={"error": str(error)}, exc_info=not isinstance(error, ApiError))
