"""Delivers the events of one Subscription, beside the other replicas that do the same."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from heed import names
from heed.api.fields import parse_duration
from heed.api.secret_refs import SecretKeyRef
from heed.bus.client.connection import Connection
from heed.bus.codec.dead_letter import OriginalMessage
from heed.bus.codec.event_requests import EventRequest, write_request
from heed.bus.codec.subject_patterns import merge_patterns
from heed.bus.consumer.durable import DurableConsumer, DurableSpec, LeasedMessage
from heed.bus.consumer.reader import decode_stored, format_stream_time
from heed.bus.jetstream import JetStreamBus
from heed.core.decision.event_variables import build_event_variable
from heed.core.events import Event, MalformedMessage, Received
from heed.core.subscriptions.answers import judge_status, read_retry_after, retry_delay
from heed.core.subscriptions.program import SubscriptionProgram
from heed.errors import BusUnavailable, DecisionFailed, MalformedEvent, ReaderLost
from heed.gateway.secrets import Secrets, SecretUnavailable
from heed.gateway.subscriptions.deadletters import SINK_FAILED, SINK_REFUSED, bury
from heed.gateway.subscriptions.progress import DELIVERING, DeliveryCounts, Standing
from heed.gateway.subscriptions.sink import SinkAnswer, SinkClient
from heed.gateway.subscriptions.slots import RequestSlots
from heed.gateway.subscriptions.token_bucket import TokenBucket
from heed.util.aio import stop
from heed.util.backoff import Backoff
from heed.util.clock import loop_time, now
from heed.util.cpu_turns import turns

log = logging.getLogger("heed.gateway")
ACK_WAIT_MARGIN_S: Final = 30.0  # beyond the sink's time to answer, for a dead letter and the acknowledgement
ACK_PENDING_FACTOR: Final = 8  # events that wait for another attempt, for each that may be under way
FAILURES_TO_TELL: Final = 3  # in a row, until the condition Ready says so
REOPEN_BACKOFF: Final = Backoff(first_s=0.5, last_s=15.0, jitter=0.5)
BROKEN: Final = "Broken"  # the code of a dead letter for which there is none better
SECRET_RETRY_S: Final = 10.0
MAX_PAUSE_S: Final = 30.0  # between two looks at whether a sink has had the time that it asked for
FINISH_TIMEOUT_S: Final = 5.0  # for requests under way when it is stopped; the others are delivered again


@dataclass(frozen=True, slots=True)
class DispatchTools:
    """What all Subscriptions share. `count` is told of each outcome: namespace, name, outcome."""

    connection: Connection
    bus: JetStreamBus
    secrets: Secrets
    sinks: SinkClient
    slots: RequestSlots
    count: Callable[[str, str, str], None]
    chance: Callable[[], float] = field(default=random.random)


class SubscriptionDispatcher:
    """Delivers until it is stopped. `tell` is told how it stands, where that has changed."""

    def __init__(
        self,
        program: SubscriptionProgram,
        since: str | None,
        tools: DispatchTools,
        tell: Callable[[Standing], None],
    ) -> None:
        self.program, self.counts = program, DeliveryCounts()
        self._since, self._tools, self._tell = since, tools, tell
        self._standing: Standing | None = None
        self._failures = 0
        self._free = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._not_before = 0.0  # by the loop's clock
        self._headers: Mapping[str, str] = {}
        self._consumer: DurableConsumer | None = None
        delivery = program.spec.delivery
        self._most, self._timeout_s = delivery.max_in_flight, float(parse_duration(delivery.timeout))
        rate = delivery.per_second
        self._bucket = None if rate is None else TokenBucket(float(rate), float(max(1, rate // 10)))
        self.active = False  # whether something was delivered, or could not be, since it was last asked

    @property
    def consumer(self) -> DurableConsumer | None:
        """The consumer, while it is open."""
        return self._consumer

    async def run(self) -> None:
        """Deliver until cancelled; then what is under way is finished, for a short while."""
        failures = 0
        try:
            while True:
                try:
                    consumer = await DurableConsumer.open(self._tools.connection, names.STREAM, self._spec())
                    failures = 0
                    await self._dispatch(consumer)
                except (BusUnavailable, ReaderLost) as error:
                    failures += 1
                    extra = {"subscription": self._label, "error": str(error)}
                    log.warning("cannot read events, trying again", extra=extra)
                    if failures >= FAILURES_TO_TELL:
                        self._stand(Standing(False, "BrokerUnavailable", f"cannot read events: {error}"))
                    await asyncio.sleep(REOPEN_BACKOFF.delay(failures))
        finally:
            await self._finish()

    @property
    def _label(self) -> str:
        return f"{self.program.namespace}/{self.program.name}"

    def _spec(self) -> DurableSpec:
        program = self.program
        return DurableSpec(
            name=names.subscription_consumer(program.uid),
            subjects=merge_patterns(program.subjects),
            since=self._since,
            ack_wait_s=self._timeout_s + ACK_WAIT_MARGIN_S,
            max_ack_pending=self._most * ACK_PENDING_FACTOR,
            metadata={
                "heed.dev/namespace": program.namespace,
                "heed.dev/subscription": program.name,
                "heed.dev/uid": program.uid,
            },
        )

    async def _dispatch(self, consumer: DurableConsumer) -> None:
        """Deliver what a consumer gives until it is lost; then leave it. Raises ReaderLost, BusUnavailable."""
        self._consumer = consumer
        try:
            while True:
                if not await self._prepare():
                    continue
                batch = 1 if self._bucket is not None else self._most - len(self._under_way)
                for leased in await consumer.take(batch):
                    task = asyncio.create_task(self._deliver(consumer, leased))
                    self._under_way.add(task)
                    task.add_done_callback(self._done)
        finally:
            self._consumer = None
            await consumer.close()

    async def _prepare(self) -> bool:
        """Wait until another event may be asked for. Returns False where that has to be found out again."""
        if len(self._under_way) >= self._most:
            self._free.clear()
            await self._free.wait()
            return False
        if (pause := self._not_before - loop_time()) > 0:
            self.active = True
            await asyncio.sleep(min(pause, MAX_PAUSE_S))
            return False
        try:
            self._headers = await self._read_headers()
        except SecretUnavailable as error:
            self.active = True
            self._stand(Standing(False, error.reason, str(error)))
            await asyncio.sleep(SECRET_RETRY_S)
            return False
        if self._failures < FAILURES_TO_TELL:
            self._stand(DELIVERING)
        if self._bucket is not None and (wait := self._bucket.take(loop_time())) > 0:
            await asyncio.sleep(wait)
            return False
        return True

    async def _read_headers(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for header in self.program.spec.sink.headers:
            if header.secret_ref is None:
                found[header.name] = header.value or ""
                continue
            value = (await self._tools.secrets.read(self.program.namespace, header.secret_ref)).decode(
                "latin-1"
            )
            if not value.isascii() or not value.isprintable():
                message = (
                    f"key {header.secret_ref.key} of Secret {header.secret_ref.name} is no header's value"
                )
                raise SecretUnavailable("SecretInvalid", message)
            found[header.name] = header.prefix + value
        return found

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        self._free.set()
        if not task.cancelled() and (error := task.exception()) is not None:  # a bug; it is delivered again
            extra = {"subscription": self._label, "error": str(error)}
            log.error("cannot deliver an event", extra=extra, exc_info=error)

    async def _deliver(self, consumer: DurableConsumer, leased: LeasedMessage) -> None:
        await turns().take()
        message = leased.message
        original = OriginalMessage(message.subject, dict(message.headers or {}), message.data)
        received = decode_stored(leased.sequence, format_stream_time(leased.at), original)
        try:
            event = self._wanted(received)
            request = None if event is None else write_request(event, self.program.spec.delivery.mode)
        except Exception as error:  # a bug, too: the event would come again for ever
            if not isinstance(error, DecisionFailed | MalformedEvent):
                extra = {"subscription": self._label, "sequence": leased.sequence}
                log.exception("cannot make a request of an event", extra=extra)
            await self._bury(consumer, leased, received, getattr(error, "code", BROKEN), str(error))
            return
        if request is None:
            await consumer.acknowledge(leased)
            return
        await self._conclude(consumer, leased, received, await self._send(consumer, leased, request))

    async def _send(
        self, consumer: DurableConsumer, leased: LeasedMessage, request: EventRequest
    ) -> SinkAnswer:
        """Send a request as soon as there is a slot; until then the event stays leased."""
        namespace, slots = self.program.namespace, self._tools.slots
        begun = loop_time()
        while not await slots.take(namespace, self._timeout_s):
            await consumer.extend(leased)
        with slots.taken(namespace):
            if loop_time() - begun > ACK_WAIT_MARGIN_S / 2:
                await consumer.extend(leased)
            url = self.program.spec.sink.url
            return await self._tools.sinks.send(url, request, self._headers, self._timeout_s)

    def _wanted(self, received: Received) -> Event | None:
        """The event to deliver, or None. Raises DecisionFailed for what cannot be told."""
        event = received.event
        if isinstance(event, MalformedMessage):
            raise DecisionFailed(event.code, event.message)
        if received.redrive is not None:
            self.program.check_redriven(event.type)
        elif not self.program.wants(event.type):
            return None
        return event if self.program.passes(build_event_variable(event)) else None

    async def _conclude(
        self, consumer: DurableConsumer, leased: LeasedMessage, received: Received, answer: SinkAnswer
    ) -> None:
        verdict = judge_status(answer.status) if answer.status else "again"
        if verdict == "delivered":
            self._failures = 0
            self._stand(DELIVERING)
            self.counts.delivered += 1
            self._count("Delivered")
            await consumer.acknowledge(leased)
            return
        retry, wait = self.program.spec.delivery.retry, read_retry_after(answer.retry_after, now())
        if wait:
            self._not_before = max(self._not_before, loop_time() + wait)
        if verdict == "refused":
            self._failures = 0  # it works, and does not want this one
            await self._bury(consumer, leased, received, SINK_REFUSED, f"{answer.problem}, which is final")
            return
        await self._note_failure(answer)
        if leased.attempt >= retry.attempts:
            message = f"{answer.problem} (the last of {leased.attempt} attempts)"
            await self._bury(consumer, leased, received, SINK_FAILED, message)
            return
        self._count("Retried")
        delay = max(wait, retry_delay(retry.backoff, leased.attempt, self._tools.chance()))
        await consumer.release(leased, delay)

    async def _note_failure(self, answer: SinkAnswer) -> None:
        self._failures += 1
        # Told once: a sink that fails in turns in two ways would have the status written again and again.
        if self._failures >= FAILURES_TO_TELL and (self._standing is None or self._standing.ready):
            self._stand(Standing(False, "SinkFailing", f"{answer.problem}; events wait, and are tried again"))
        if answer.status in (401, 403):
            refs = [item.secret_ref for item in self.program.spec.sink.headers if item.secret_ref is not None]
            await self._refresh(refs)

    async def _refresh(self, refs: list[SecretKeyRef]) -> None:
        if refs:
            await self._tools.secrets.refresh(self.program.namespace, refs)

    async def _bury(
        self, consumer: DurableConsumer, leased: LeasedMessage, received: Received, code: str, message: str
    ) -> None:
        try:
            await bury(self._tools.bus, self.program, leased, (code, message), received.redrive)
        except (BusUnavailable, MalformedEvent) as error:
            extra = {"subscription": self._label, "sequence": leased.sequence, "error": str(error)}
            log.warning("cannot store a dead letter, trying again", extra=extra)
            await consumer.release(leased, REOPEN_BACKOFF.delay(leased.attempt))
            return
        extra = {"subscription": self._label, "sequence": leased.sequence, "code": code, "detail": message}
        log.warning("event not delivered, dead-lettered", extra=extra)
        self.counts.dead_lettered += 1
        self._count("DeadLettered")
        await consumer.acknowledge(leased)

    def _count(self, outcome: str) -> None:
        self.active = True
        self._tools.count(self.program.namespace, self.program.name, outcome)

    def _stand(self, standing: Standing) -> None:
        if standing != self._standing:
            self._standing = standing
            self._tell(standing)

    async def _finish(self) -> None:
        """Wait a little for what is under way, and leave the rest to the replica that gets it next."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=FINISH_TIMEOUT_S)
        await asyncio.gather(*(stop(task) for task in list(self._under_way)))
