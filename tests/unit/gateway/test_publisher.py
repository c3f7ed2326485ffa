"""What a sender is told whose events could not be stored: which of them, and whether to send them again."""

from typing import cast

import pytest

from heed.bus.client.connection import NoAnswer, NotPermitted
from heed.bus.jetstream import JetStreamBus, PubAck
from heed.errors import BusUnavailable, MalformedEvent
from heed.gateway.metrics import GatewayMetrics
from heed.gateway.publisher import EncodedEvent, StreamPublisher
from heed.gateway.refusals import RequestRefused

STORED = PubAck("HEED", 7, duplicate=False)
LARGE, AWAY = MalformedEvent("it is too large"), BusUnavailable("away")


class Broker:
    """Answers one publish after the other."""

    def __init__(self, *answers: PubAck | Exception) -> None:
        self.answers = list(answers)
        self.published: list[tuple[str, dict[str, str], bytes]] = []

    async def store(self, subject: str, headers: dict[str, str], payload: bytes) -> PubAck:
        self.published.append((subject, headers, payload))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def publish(*answers: PubAck | Exception) -> GatewayMetrics:
    """Publish an event for each answer; what was counted."""
    metrics, broker = GatewayMetrics(), Broker(*answers)
    events = [EncodedEvent(f"s.{place}", {"ce-id": str(place)}, b"x") for place in range(len(answers))]
    await StreamPublisher(cast(JetStreamBus, broker), metrics).publish(events)
    assert broker.published == [(event.subject, event.headers, event.payload) for event in events]
    return metrics


async def test_what_the_broker_had_already_is_counted_apart() -> None:
    metrics = await publish(STORED, PubAck("HEED", 7, duplicate=True), STORED)

    assert metrics.events.counts == {("stored",): 2, ("duplicate",): 1}


@pytest.mark.parametrize(
    ("error", "status", "code", "detail", "retry_after"),
    [
        (LARGE, 413, "TooLarge", "it is too large", None),
        (
            NotPermitted("no"),
            503,
            "BrokerRefuses",
            "the broker does not let the gateway publish there",
            "30",
        ),
        (NoAnswer("no"), 503, "StreamMissing", "there is no stream yet; the operator makes it", "2"),
        (
            AWAY,
            503,
            "BrokerUnavailable",
            "JetStream did not acknowledge; send it again with the same id",
            "2",
        ),
    ],
)
async def test_a_refusal_says_whether_to_send_it_again(
    error: Exception, status: int, code: str, detail: str, retry_after: str | None
) -> None:
    with pytest.raises(RequestRefused) as caught:
        await publish(error)

    refused = caught.value
    assert (refused.status, refused.code, refused.detail) == (status, code, detail)
    assert refused.headers.get("Retry-After") == retry_after
    assert refused.members == {}


async def test_of_several_events_it_names_those_that_failed_and_the_one_that_no_retry_mends() -> None:
    with pytest.raises(RequestRefused) as caught:
        await publish(STORED, AWAY, LARGE, AWAY)

    assert (caught.value.status, caught.value.members) == (413, {"index": 2, "failed": [1, 2, 3]})


async def test_of_several_that_may_be_sent_again_it_names_the_first() -> None:
    with pytest.raises(RequestRefused) as caught:
        await publish(STORED, AWAY, NoAnswer("no"))

    assert (caught.value.code, caught.value.members) == ("BrokerUnavailable", {"index": 1, "failed": [1, 2]})


async def test_a_mistake_in_the_gateway_is_no_refusal() -> None:
    with pytest.raises(ZeroDivisionError):
        await publish(STORED, ZeroDivisionError())
