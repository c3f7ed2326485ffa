"""Dead letters of Subscriptions: events that a sink has not taken, to be redriven as those of Agents are."""

from heed import names
from heed.api.status import DeadLetterCause, OutboxMessage
from heed.bus.consumer.durable import LeasedMessage
from heed.bus.consumer.reader import format_stream_time
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Redrive
from heed.core.subscriptions.program import SubscriptionProgram

SINK_REFUSED = "SinkRefused"  # with an answer that another attempt would not change
SINK_FAILED = "SinkFailed"  # in all attempts


async def bury(
    bus: JetStreamBus,
    program: SubscriptionProgram,
    leased: LeasedMessage,
    cause: tuple[str, str],
    redrive: Redrive | None,
) -> None:
    """Store a dead letter, once however often it is repeated. `cause` is code and message. Raises BusUnavailable."""
    at = format_stream_time(leased.at)
    letter = DeadLetterCause(
        code=cause[0], message=cause[1], attempt=1 if redrive is None else redrive.attempt
    )
    owed = OutboxMessage(
        sequence=leased.sequence,
        index=0,
        subject=names.dead_subject(program.namespace, names.subscriber(program.name)),
        at=at,
        letter=letter,
    )
    id_ = names.digest("subscription-letter", program.uid, leased.sequence, at)
    await bus.publish_owed(id_, owed, look_first=leased.attempt > 1)
