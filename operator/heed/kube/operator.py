"""The operator: wires the parts together and lets kopf watch the cluster. Its handlers only pass on what they see."""

import asyncio
import logging
import signal
from typing import Any

import kopf

from heed import names
from heed.bus.connection import connect
from heed.bus.jetstream import JetStreamBus
from heed.bus.streams import ensure_streams
from heed.engine.observers import LogObserver, Observer
from heed.engine.pacing import Pace
from heed.kube.api import Api, ApiError
from heed.kube.fleet import Fleet
from heed.kube.health import serving_health
from heed.settings import Settings

log = logging.getLogger("heed.operator")
SWEEP_EVERY = 300.0  # seconds


async def run_operator(settings: Settings, observer: Observer | None = None) -> None:
    """Run until SIGTERM or SIGINT. Raises InvalidSettings, StreamConflict."""
    stop, watching = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    api = await Api.connect()
    dialling = asyncio.ensure_future(connect(settings, "heed-operator"))
    try:
        if not await _done_or_stopped(dialling, stop):
            return
        connection = dialling.result()

        def missing() -> str | None:
            return None if connection.is_connected and watching.is_set() else "not connected yet"

        async with serving_health(settings.health_port, missing):
            await ensure_streams(connection, settings.stream)
            pace = Pace(
                settings.commit_rate, settings.commit_burst, settings.batch, owed=settings.outbox_limit
            )
            fleet = Fleet(api, JetStreamBus(connection), observer or LogObserver(), pace)
            sweeping = asyncio.create_task(_sweep(fleet, settings.namespace))
            log.info(
                "operator started",
                extra={"nats": settings.nats_url, "namespace": settings.namespace or "all"},
            )
            try:
                await _watch(fleet, settings, stop, watching)
            finally:
                sweeping.cancel()
                await connection.close()
    finally:
        dialling.cancel()
        await api.close()


async def _done_or_stopped(task: "asyncio.Future[Any]", stop: asyncio.Event) -> bool:
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    return task.done()


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
        except ApiError as error:
            log.warning("cannot list agents", extra={"error": str(error)})
