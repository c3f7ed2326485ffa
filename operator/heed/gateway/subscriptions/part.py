"""The Subscriptions of a gateway, as they are made, edited and deleted."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from prometheus_client.metrics_core import Metric

from heed import names
from heed.api.subscription import parse_subscription
from heed.bus.client.connection import Connection, connect
from heed.bus.consumer.durable import delete_consumer, find_consumers
from heed.bus.jetstream import JetStreamBus
from heed.core.policy.addresses import LOOPBACK, IpNetwork, parse_networks
from heed.core.subscriptions.program import SubscriptionProgram, compile_subscription
from heed.errors import BusUnavailable, InvalidManifest, InvalidSettings
from heed.gateway.objects import ObjectSource, open_source
from heed.gateway.part import GatewayContext, GatewayPart, LastingWork
from heed.gateway.policies import GatewayPolicies
from heed.gateway.secrets import open_secrets
from heed.gateway.subscriptions.dispatcher import DispatchTools, SubscriptionDispatcher
from heed.gateway.subscriptions.progress import Standing
from heed.gateway.subscriptions.sink import SinkClient
from heed.gateway.subscriptions.slots import RequestSlots
from heed.gateway.subscriptions.status import SubscriptionStatusWriter
from heed.kube.client.client import ApiError, KubeApi, objects_path
from heed.kube.metrics.families import gauge, tally
from heed.kube.metrics.instruments import LabelledCounter
from heed.util.aio import stop
from heed.util.backoff import Backoff

log = logging.getLogger("heed.gateway")
NUMBERS_INTERVAL_S: Final = 60.0  # between two looks at what was delivered, and what waits
CLEANUP_BACKOFF: Final = Backoff(first_s=1.0, last_s=60.0, jitter=0.5)
Body = Mapping[str, Any]
Key = tuple[str, str]  # namespace and name


@dataclass(frozen=True, slots=True)
class _Running:
    """A Subscription that is served."""

    dispatcher: SubscriptionDispatcher
    task: "asyncio.Task[None]"


class SubscriptionsPart(GatewayPart):
    """Delivers the events of all Subscriptions. Replicas share them, with nothing said between them."""

    def __init__(self, context: GatewayContext, policies: GatewayPolicies) -> None:
        self._context, self._connection = context, context.connection
        self._policies = policies
        self._bodies: dict[Key, Body] = {}
        policies.tell_changes(self._judge_again)
        self._api: KubeApi | None = context.api
        self._allowed = sink_networks(context.settings.gateway.sink_networks, local=context.api is None)
        self._status = None if context.api is None else SubscriptionStatusWriter(context.api)
        self._source: ObjectSource = open_source(context, names.SUBSCRIPTION, self._observe)
        self._outcomes = LabelledCounter("namespace", "subscription", "outcome")
        self._tools: DispatchTools | None = None
        self._lasting = LastingWork("subscriptions")
        self._unusable: str | None = None
        self._running: dict[Key, _Running] = {}
        self._standings: dict[Key, Standing] = {}
        self._lags: dict[Key, int] = {}
        self._ending: set[asyncio.Task[None]] = set()
        context.metrics.add(self._collect)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the Subscriptions, and deliver."""
        working = self._lasting.begin(self._work())
        try:
            yield
        finally:
            await stop(working)

    def missing(self) -> str | None:
        """Why no events are delivered, where a restart would not help, or None.

        Requests do not depend on what is not known yet.
        """
        return self._unusable

    def broken(self) -> str | None:
        """Why no events are delivered any more, or None."""
        return self._lasting.error

    async def _work(self) -> None:
        """Connect, where that needs credentials of its own, and work until cancelled.

        The gateway takes requests meanwhile: these do not depend on it.
        """
        async with AsyncExitStack() as closing:
            self._connection = connection = await self._connect(closing)
            sinks = SinkClient(self._allowed)
            closing.push_async_callback(sinks.close)
            if self._status is not None:
                closing.push_async_callback(self._status.close)
            closing.push_async_callback(self._end_all)
            self._tools = DispatchTools(
                connection,
                JetStreamBus(connection),
                open_secrets(self._context),
                sinks,
                RequestSlots(),
                self._outcomes.add,
            )
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow())
                tasks.create_task(self._keep_numbers())
                if self._api is not None:
                    tasks.create_task(self._clean_up(self._api))

    async def _follow(self) -> None:
        """Follow them once it is known what they may deliver."""
        await self._policies.wait_known()
        await self._source.run()

    async def _connect(self, closing: AsyncExitStack) -> Connection:
        path = self._context.settings.gateway.subscriptions_credentials
        if path is None:
            return self._context.connection
        settings = replace(self._context.settings, nats_credentials=path)
        try:
            connection = await connect(settings, "heed-gateway-subscriptions")
        except InvalidSettings as error:
            self._unusable = f"Subscriptions are not served: {error}"
            log.error("subscriptions are not served", extra={"error": str(error)})
            await asyncio.get_running_loop().create_future()  # until the gateway is stopped
            raise
        closing.push_async_callback(connection.close)
        return connection

    async def _end_all(self) -> None:
        await asyncio.gather(*(stop(item.task) for item in self._running.values()))
        await asyncio.gather(*(stop(task) for task in list(self._ending)))

    def _observe(self, body: Body, deleted: bool) -> None:
        key = body["metadata"]["namespace"], body["metadata"]["name"]
        if deleted:
            self._end(key, body["metadata"]["uid"])
            self._bodies.pop(key, None)
            self._standings.pop(key, None)
            self._lags.pop(key, None)
            if self._status is not None:
                self._status.forget(key)
            return
        if self._status is not None:
            self._status.observe(key, body)
        self._bodies[key] = body
        self._judge(key, body)

    def _judge_again(self, namespace: str) -> None:
        """What Subscriptions of a namespace may deliver has changed."""
        if self._tools is not None:
            for key, body in list(self._bodies.items()):
                if key[0] == namespace:
                    self._judge(key, body)

    def _judge(self, key: Key, body: Body) -> None:
        """Deliver for a Subscription as it is, or say why not."""
        try:
            item = parse_subscription(body if "kind" in body else {**_TYPE, **body})
            program = compile_subscription(item, self._allowed, self._policies.rules(key[0]))
        except InvalidManifest as error:
            self._end(key)
            self._tell(key, Standing(False, error.reason, str(error)))
            return
        running = self._running.get(key)
        if running is None or (running.dispatcher.program.uid, running.dispatcher.program.spec) != (
            program.uid,
            program.spec,
        ):
            old = None if running is None else running.dispatcher.program.uid
            self._end(key, old if old != program.uid else None)
            self._begin(key, program, item.metadata.creation_timestamp or None)
        else:
            running.dispatcher.program = program

    def _begin(self, key: Key, program: SubscriptionProgram, since: str | None) -> None:
        assert self._tools is not None
        dispatcher = SubscriptionDispatcher(
            program, since, self._tools, lambda standing: self._tell(key, standing)
        )
        self._running[key] = _Running(
            dispatcher, asyncio.create_task(dispatcher.run(), name=f"subscription {key}")
        )

    def _end(self, key: Key, gone: str | None = None) -> None:
        """Deliver no more, and delete the consumer of the uid `gone`, whose Subscription is."""
        running = self._running.pop(key, None)
        self._later(self._finish(None if running is None else running.task, gone))

    async def _finish(self, delivering: "asyncio.Task[None] | None", gone: str | None) -> None:
        if delivering is not None:
            await stop(delivering)
        if gone is not None:  # only now: a dispatcher that runs makes the consumer again
            await self._delete(gone)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _tell(self, key: Key, standing: Standing) -> None:
        if key not in self._bodies:
            return  # what was under way when it was deleted
        self._standings[key] = standing
        level = logging.INFO if standing.ready else logging.WARNING
        extra = {"subscription": "/".join(key), "reason": standing.reason, "detail": standing.message}
        log.log(level, "subscription judged", extra=extra)
        if self._status is not None:
            self._status.set_standing(key, standing)

    async def _keep_numbers(self) -> None:
        while True:
            await asyncio.sleep(NUMBERS_INTERVAL_S)
            for key, running in list(self._running.items()):
                await self._note_numbers(key, running.dispatcher)

    async def _note_numbers(self, key: Key, dispatcher: SubscriptionDispatcher) -> None:
        """Note what was delivered, and ask how much waits where something may."""
        if dispatcher.consumer is None or not dispatcher.active:
            return
        try:
            lag = (await dispatcher.consumer.lag()).total
        except BusUnavailable:
            return
        dispatcher.active = lag > 0
        self._lags[key] = lag
        if self._status is not None:
            self._status.add_numbers(key, dispatcher.counts.taken(), lag)

    async def _delete(self, uid: str) -> None:
        """Delete the consumer of a Subscription that is gone."""
        failures = 0
        while True:
            try:
                return await delete_consumer(self._connection, names.STREAM, names.subscription_consumer(uid))
            except BusUnavailable as error:
                failures += 1
                log.warning("cannot delete a consumer, trying again", extra={"error": str(error)})
                await asyncio.sleep(CLEANUP_BACKOFF.delay(failures))

    async def _clean_up(self, api: KubeApi) -> None:
        """Once: delete consumers whose Subscription went while no gateway was there to see it."""
        failures = 0
        while True:
            try:
                return await delete_orphans(api, self._connection, self._context.settings.namespace)
            except (BusUnavailable, ApiError) as error:
                failures += 1
                log.warning("cannot look for consumers, trying again", extra={"error": str(error)})
                await asyncio.sleep(CLEANUP_BACKOFF.delay(failures))

    def _collect(self) -> Iterator[Metric]:
        yield gauge("heed_gateway_subscriptions", "Subscriptions served", (), [((), len(self._running))])
        labels = ("namespace", "subscription")
        ready = [(key, float(standing.ready)) for key, standing in self._standings.copy().items()]
        yield gauge("heed_gateway_subscription_ready", "Whether a Subscription delivers", labels, ready)
        help = "Events that wait for a Subscription, or are under way, as of the latest look"
        yield gauge("heed_gateway_subscription_lag_events", help, labels, self._lags.copy().items())
        help = "Events by Subscription, and what became of their delivery"
        yield tally("heed_gateway_subscription_events_total", help, self._outcomes)


async def delete_orphans(api: KubeApi, connection: Connection, watched: str | None) -> None:
    """Delete the consumers of Subscriptions that are gone, of one namespace or of all.

    Raises BusUnavailable, ApiError.
    """
    found = await find_consumers(connection, names.STREAM, names.SUBSCRIPTION_CONSUMER_PREFIX)
    # Listed after them: a consumer is made after its Subscription.
    bodies = await api.list(objects_path(names.SUBSCRIPTIONS, watched))
    there = {names.subscription_consumer(body["metadata"]["uid"]) for body in bodies}
    for name, metadata in found.items():
        if name not in there and watched in (None, metadata.get("heed.dev/namespace")):
            log.info("deleting the consumer of a Subscription that is gone", extra={"consumer": name})
            await delete_consumer(connection, names.STREAM, name)


_TYPE: Final = {"apiVersion": names.API_VERSION, "kind": names.SUBSCRIPTION}


def sink_networks(text: str | None, *, local: bool) -> tuple[IpNetwork, ...]:
    """The networks that sinks may be in although they would be refused; on a laptop also its own.

    Raises InvalidSettings.
    """
    try:
        given = parse_networks(text or "")
    except ValueError as error:
        message = f"HEED_GATEWAY_SINK_NETWORKS: {error}; write networks such as 127.0.0.0/8, with commas"
        raise InvalidSettings(message) from None
    return (*given, *LOOPBACK) if local else given
