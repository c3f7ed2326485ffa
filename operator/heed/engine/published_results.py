"""Results that a task published itself, as they exceed a termination message.

A task that may publish has a subject for its result. When it has completed, everything that it published is in the
stream: the last message there is its result, and what it wrote as it ended is none.
"""

from dataclasses import replace

from heed import names
from heed.core.effects import AgentRef, TaskEnd
from heed.core.events import MalformedMessage
from heed.engine.ports import EventBus

BAD_RESULT = "BadResult"


async def add_published_result(bus: EventBus, agent: AgentRef, end: TaskEnd) -> TaskEnd:
    """The end of a task with the result it published, if any. Raises BusUnavailable.

    One that cannot be read makes the end a failure: a result that is not there must not look like one.
    """
    if not (end.completed and end.published):
        return end
    attempt = names.attempt_id(end.task_id, end.attempt or 1)
    event = await bus.last(names.task_subject(agent.namespace, agent.name, attempt, names.TASK_RESULT))
    if event is None:
        return end
    if isinstance(event, MalformedMessage):
        return _fail(end, f"the published result is no event: {event.message}")
    if isinstance(event.data, bytes):
        return _fail(end, f"the published result is {event.datacontenttype}; publish JSON or text")
    return replace(end, result=event.data, message=None)


def _fail(end: TaskEnd, message: str) -> TaskEnd:
    return replace(end, completed=False, result=None, reason=BAD_RESULT, message=message)
