"""How a task ended that its Agent's ledger has forgotten: the stream still holds the event that ended it."""

from datetime import UTC, datetime, timedelta
from typing import Final

from heed import names
from heed.core.effects import AgentRef
from heed.core.events import Event
from heed.engine.ports import EventBus
from heed.errors import BusUnavailable

BATCH: Final = 100  # events that are read at once
READ_TIMEOUT_S: Final = 5.0
MARGIN: Final = timedelta(minutes=1)  # before an answer: one that comes soon after is told who was first


async def find_end(bus: EventBus, agent: AgentRef, task: str, answered_at: str) -> Event | None:
    """The first end of a task that Heed published since shortly before an answer to it; None where there is none.

    That is the one that counted: an approval has one attempt. Raises BusUnavailable, StreamMissing, ReaderLost.
    """
    types = (names.TASK_COMPLETED, names.TASK_FAILED)
    subjects = [names.inbox_subject(agent.namespace, agent.name, type_) for type_ in types]
    source = names.agent_source(agent.namespace, agent.name)
    since = datetime.fromisoformat(answered_at).astimezone(UTC) - MARGIN
    _, last = await bus.bounds()
    reader = await bus.open(subjects, 0, since.strftime("%Y-%m-%dT%H:%M:%SZ"))
    try:
        while reader.pending:
            found = await reader.read(BATCH, READ_TIMEOUT_S)
            if not found:
                raise BusUnavailable("the broker did not deliver in time what ended a task")
            for item in found:
                if isinstance(item.event, Event) and (item.event.subject, item.event.source) == (
                    task,
                    source,
                ):
                    return item.event
            reader.release(found[-1].sequence)
        if await reader.reached() < last:
            raise BusUnavailable("the broker has not delivered yet all that may have ended a task")
    finally:
        await reader.close()
    return None
