"""The answers of the scribe that were committed: chance is read from what was emitted, and all else follows from it.

Each answer that acts emits one event, whose id derives from the place of the decision. Its nonce takes the place of the
one that is drawn when the judge calls the same handler; so the state, the tasks and the events of the model are those
of that answer and of no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from heed import names
from heed.api.code import CodeAnswer
from heed.bus.client.connection import Connection
from heed.core.decision.code import Answers, CodeCall
from heed.core.effects import AgentRef
from heed.core.events import Event, Received
from heed.sdk.in_process import answers_of
from tests.faults import scribe
from tests.integration.engine.oracle import read_back

NAMESPACE, NAME = "storm-b", "scribe"
UNTOLD = ("untold", -2)  # the nonce and the edition of an answer whose event is not in the stream

_answers = answers_of(scribe.agent)


async def list_written(connection: Connection, agent: AgentRef) -> dict[str, Any]:
    """The data of all events that an Agent's answers told of, by their ids."""
    subject = names.event_subject(agent.namespace, scribe.Wrote.event_type)
    found = [item.event for item in await read_back(connection, [subject])]
    return {event.id: event.data for event in found if isinstance(event, Event)}


def committed_answers(
    agent: AgentRef, created: str, written: Mapping[str, Any]
) -> Callable[[Received], Answers]:
    """What the code of the scribe answered on each event, as far as that was committed."""
    origin = names.origin(agent.uid, created)

    def on(received: Received) -> Answers:
        data = written.get(names.event_id(origin, received.sequence, 0))
        drawn = UNTOLD if data is None else (str(data["nonce"]), int(data["edition"]))

        def answer(call: CodeCall) -> CodeAnswer:
            with _fate(drawn):
                return _answers(call)

        return answer

    return on


@contextmanager
def _fate(drawn: tuple[str, int]) -> Iterator[None]:
    """Within, no time is dawdled away, and this is what is drawn."""
    draw, dawdle = scribe.draw, scribe.dawdle
    scribe.draw, scribe.dawdle = (lambda: drawn), (lambda: None)
    try:
        yield
    finally:
        scribe.draw, scribe.dawdle = draw, dawdle
