"""Publishing what came in by HTTP: a request is answered when JetStream has acknowledged all of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from heed.bus.client.connection import ApiRefused, NoAnswer, NotPermitted
from heed.bus.codec.cloudevents import encode
from heed.bus.consumer.publish_dedup import HEADER_MESSAGE_ID
from heed.bus.jetstream import JetStreamBus, PubAck, message_id
from heed.core.events import Event
from heed.errors import BusUnavailable, MalformedEvent
from heed.gateway.metrics import GatewayMetrics
from heed.gateway.refusals import RequestRefused, busy


@dataclass(frozen=True, slots=True)
class EncodedEvent:
    """An event as the message that it becomes: smaller than the parsed event, so that is not kept while it waits."""

    subject: str
    headers: dict[str, str]
    payload: bytes


def encode_event(subject: str, event: Event) -> EncodedEvent:
    """The message of an event, with the id by which the broker knows a repeated one. Raises MalformedEvent."""
    headers, payload = encode(event)
    return EncodedEvent(subject, {**headers, HEADER_MESSAGE_ID: message_id(subject, event)}, payload)


class StreamPublisher:
    """Publishes to the stream, and says what a sender is to do about a failure."""

    def __init__(self, bus: JetStreamBus, metrics: GatewayMetrics) -> None:
        self._bus, self._metrics = bus, metrics

    async def publish(self, events: Sequence[EncodedEvent]) -> int:
        """Publish, in this order, and return when JetStream has acknowledged all of them.

        Returns how many of them JetStream took for duplicates of what it had already. Raises RequestRefused, also
        where some of several are stored: sent again, these are duplicates.
        """
        found = await asyncio.gather(*map(self._store, events), return_exceptions=True)
        failed = [(index, error) for index, error in enumerate(found) if isinstance(error, BaseException)]
        if failed:
            raise _refusal(failed, len(events))
        return sum(isinstance(item, PubAck) and item.duplicate for item in found)

    async def _store(self, event: EncodedEvent) -> PubAck:
        stored = await self._bus.store(event.subject, event.headers, event.payload)
        self._metrics.events.add("duplicate" if stored.duplicate else "stored")
        return stored


def _refusal(failed: Sequence[tuple[int, BaseException]], count: int) -> BaseException:
    """The refusal of a request some of whose events could not be stored: the one that no retry mends comes first."""
    index, error = next((item for item in failed if isinstance(item[1], MalformedEvent)), failed[0])
    if isinstance(error, MalformedEvent):
        refused = RequestRefused(413, "TooLarge", str(error))
    elif isinstance(error, NotPermitted):
        refused = busy(503, "BrokerRefuses", "the broker does not let the gateway publish there", 30)
    elif isinstance(error, NoAnswer):
        refused = busy(503, "StreamMissing", "there is no stream yet; the operator makes it")
    elif isinstance(error, ApiRefused):
        refused = busy(
            503, "StreamRefuses", f"JetStream does not take it: {error.description}; send it again", 30
        )
    elif isinstance(error, BusUnavailable):
        refused = busy(
            503, "BrokerUnavailable", "JetStream did not acknowledge; send it again with the same id"
        )
    else:
        return error
    if count > 1:
        refused.members |= {"index": index, "failed": [place for place, _ in failed]}
    return refused
