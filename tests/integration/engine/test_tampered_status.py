"""An outbox that somebody wrote into: what is owed to others' subjects never leaves, and is said aloud."""

from dataclasses import replace

import pytest

from heed import names
from heed.api.status import DeadLetterCause, OutboxMessage
from heed.core.codec.canonical_json import dump_compact
from heed.core.codec.cloudevents_json import event_to_json
from heed.core.events import Event
from tests.integration.engine.world import AGENT, World
from tests.integration.reading import BEGINNING
from tests.integration.waiting import until

TYPE = "com.example.forged"


async def held(world: World, subject: str) -> int:
    """How many messages the streams hold on a subject."""
    stream = names.DEAD_STREAM if subject.startswith("heed-dead.") else names.STREAM
    info = await world.connection.api(f"STREAM.INFO.{stream}", {"subjects_filter": subject})
    return sum((info["state"].get("subjects") or {}).values())


def forged(world: World, subject: str) -> OutboxMessage:
    event = Event("f-1", names.agent_source(world.namespace, AGENT), TYPE, {"a": 1})
    letter = DeadLetterCause("BadData", "made up") if subject.startswith("heed-dead.") else None
    return OutboxMessage(
        1, 0, subject, BEGINNING, None if letter else dump_compact(event_to_json(event)), letter
    )


@pytest.mark.parametrize("family", ["events", "inbox", "dead"])
async def test_a_message_for_another_namespace_does_not_leave(world: World, family: str) -> None:
    # Given an outbox with a message for somebody else, and one of the Agent's own
    other = f"{world.namespace}-else"
    foreign = {
        "events": names.event_subject(other, TYPE),
        "inbox": names.inbox_subject(other, "victim", TYPE),
        "dead": names.dead_subject(other, "victim"),
    }[family]
    own = names.event_subject(world.namespace, TYPE)
    base = await world.stored()
    outbox = {"m-1": forged(world, foreign), "m-2": forged(world, own)}
    await world.store().commit(base, replace(base.ledger, outbox=outbox))

    # When
    life = await world.live()

    # Then
    await until(lambda: ("Publish", "MalformedEvent") in life.watcher.troubles)
    await until(lambda: life.loop.ledger is not None and set(life.loop.ledger.outbox) == {"m-1"})
    assert await held(world, own) == 1
    assert await held(world, foreign) == 0
