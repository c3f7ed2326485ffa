"""The only right outcome: the pure fold of `decide` over what the stream holds, with everything owed made once."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from heed import names
from heed.bus.client.connection import Connection
from heed.bus.consumer import reader
from heed.bus.consumer.publish_dedup import HEADER_MESSAGE_ID
from heed.bus.consumer.pull import PullConsumer
from heed.bus.jetstream import message_id
from heed.core.codec.cloudevents_json import parse_event
from heed.core.compiler.program import Program
from heed.core.decision.code import Answers, without_code
from heed.core.decision.decide import Decision, decide
from heed.core.effects import Effect, Publish, StartTask
from heed.core.events import Received
from heed.core.ledger.ledger import (
    Ledger,
    bind_to_stream,
    count_decided,
    dump_ledger,
    list_owed_effects,
    settle,
)
from tests.integration.waiting import SOON


@dataclass(frozen=True, slots=True)
class Fold:
    """What the stream's events come to."""

    decisions: list[Decision]
    ledger: Ledger

    @property
    def settled(self) -> dict[str, Any]:
        """The status once everything owed has been made."""
        return dump_ledger(settle(self.ledger, list_owed_effects(self.ledger)))

    @property
    def effects(self) -> list[Effect]:
        """All effects of all decisions."""
        return [effect for decision in self.decisions for effect in decision.effects]

    @property
    def started(self) -> set[str]:
        """All attempts at tasks that were ever started, by their ids."""
        return {
            names.attempt_id(effect.id, effect.record.attempt)
            for effect in self.effects
            if isinstance(effect, StartTask) and effect.record.phase == "Owed"
        }

    @property
    def emitted(self) -> list[str]:
        """The Nats-Msg-Ids of all events ever emitted."""
        found = (effect.owed for effect in self.effects if isinstance(effect, Publish))
        events = ((owed.subject, parse_event(owed.event.encode(), "")) for owed in found if owed.event)
        return [message_id(subject, event) for subject, event in events]

    @property
    def letters(self) -> list[str]:
        """The ids of all dead letters ever written."""
        return [effect.id for effect in self.effects if isinstance(effect, Publish) and effect.owed.letter]


def folded(
    program: Program,
    events: list[Received],
    created: str,
    answers: Callable[[Received], Answers] = lambda _: without_code,
) -> Fold:
    """Decide everything once, from the beginning of the stream that was created then; what is ready comes first.

    `answers` are those of the Agent's code to the calls of each event.
    """
    decisions: list[Decision] = []
    stored = {received.sequence: received for received in events}
    ledger = bind_to_stream(Ledger(), created) if events else Ledger()  # nothing is written without a cause
    for received in events:
        decisions.append(decide(program, ledger, received, answers=answers(received)))
        ledger = decisions[-1].ledger
        while ledger.held.ready:
            ready = stored[ledger.held.ready[0]]
            decisions.append(decide(program, ledger, ready, answers=answers(ready)))
            ledger = decisions[-1].ledger
    assert count_decided(ledger.totals) + len(ledger.held) == len(events)
    return Fold(decisions, ledger)


async def created_at(connection: Connection, stream: str = names.STREAM) -> str:
    """When a stream was created, as it says."""
    return str((await connection.api(f"STREAM.INFO.{stream}"))["created"])


async def read_back(connection: Connection, subjects: Sequence[str]) -> list[Received]:
    """All events that the stream holds on an Agent's subjects."""
    async with opened(connection, names.STREAM, subjects) as pull:
        count = pull.pending
        found: list[Received] = []
        while len(found) < count:
            found += map(reader.decode_pulled, arrivals := await pull.take(500, SOON))
            pull.release(sum(item.size for item in arrivals))
        return found


async def message_ids(connection: Connection, stream: str, subject: str) -> list[str]:
    """The Nats-Msg-Ids of all messages that a stream holds on a subject."""
    async with opened(connection, stream, [subject]) as pull:
        count = pull.pending
        found: list[str] = []
        while len(found) < count:
            arrivals = await pull.take(500, SOON)
            found += [(item.message.headers or {})[HEADER_MESSAGE_ID] for item in arrivals]
            pull.release(sum(item.size for item in arrivals))
        return found


@asynccontextmanager
async def opened(connection: Connection, stream: str, subjects: Sequence[str]) -> AsyncIterator[PullConsumer]:
    """A consumer that begins at the beginning; its `pending` says how many messages there are."""
    config = {"filter_subjects": list(subjects), "deliver_policy": "all"}
    pull = await PullConsumer.open(connection, stream, config)
    try:
        yield pull
    finally:
        await pull.close()
