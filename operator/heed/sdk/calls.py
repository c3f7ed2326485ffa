"""Calls: what a worker does with one call of a handler, and the answer as JSON that it gives.

The members of both are those of the worker protocol; `heed.core.decision.code` has the other side.
"""

import asyncio
import inspect
import traceback
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from heed.sdk.agent import Agent
from heed.sdk.effects import Cancel, Effect, Emit, End, Hold, Start
from heed.sdk.errors import CodeError, CodeTooOld, explain
from heed.sdk.events import AnyEvent, Event, EventMeta
from heed.sdk.handlers import Handler
from heed.sdk.injection import AgentInfo, Resources, Session, TaskContext, resource_of
from heed.sdk.members import without_none
from heed.sdk.places import failing_place
from heed.sdk.state import State
from heed.sdk.tasks import Completed, Failed, Progress, TaskEvent

MAX_TRACEBACK_CHARS: Final = 4000


def answer_call(agent: Agent, call: Mapping[str, Any], resources: Resources) -> dict[str, Any]:
    """The answer to a call {function, variables, state, pending}: state and effects, as JSON.

    Raises CodeError for what becomes a dead letter, CodeTooOld where the events have to wait.
    """
    handler = agent.handlers.get(str(call["function"]))
    if handler is None:
        raise CodeTooOld(
            f"there is no function {call['function']}; it has: {', '.join(agent.handlers) or 'none'}"
        )
    try:
        pending = call.get("pending", {}) if handler.reads_pending else None
        state = agent.state.load(call["state"], pending)
        found = _run(handler, _arguments(agent, handler, call["variables"], state, resources))
        return _answer(handler, state, found)
    except CodeError as error:
        raise CodeError(error.code, f"{handler.name} ({handler.place}): {error.message}") from None
    except CodeTooOld:
        raise
    except Exception as error:
        raise CodeError("HandlerFailed", _explain(handler, error)) from error


def _run(handler: Handler, arguments: Mapping[str, Any]) -> Any:
    found = handler.function(*arguments.values())
    return asyncio.run(found) if inspect.iscoroutine(found) else found


def _arguments(
    agent: Agent, handler: Handler, variables: Mapping[str, Any], state: State, resources: Resources
) -> dict[str, Any]:
    arguments: dict[str, Any] = {"event": _event(handler, variables)}
    for name, wanted in handler.parameters.items():
        arguments[name] = _injected(wanted, agent, variables, state, resources)
    return arguments


def _event(handler: Handler, variables: Mapping[str, Any]) -> Any:
    event, trigger = variables["event"], handler.trigger
    if isinstance(trigger, str):
        return AnyEvent.parse(event)
    if isinstance(trigger, TaskEvent):
        return _task_value(trigger, variables)
    return trigger.parse(event)


def _task_value(trigger: TaskEvent[Any], variables: Mapping[str, Any]) -> Completed[Any] | Failed | Progress:
    event, task = variables["event"], variables.get("task") or {}
    data = event.get("data")
    members = data if isinstance(data, Mapping) else {}
    input, task_id = variables.get("input"), str(task.get("id", event.get("subject") or ""))
    attempt, meta = int(members.get("attempt") or task.get("attempt") or 1), EventMeta.of(event)
    if trigger.outcome == "completed":
        return Completed(trigger.task.parse_result(members.get("result")), input, task_id, attempt, meta)
    if trigger.outcome == "progress":
        return Progress(data, input, task_id, attempt, meta)
    return Failed(
        str(members.get("reason") or "Failed"),
        members.get("message"),
        input,
        task_id,
        attempt,
        members.get("exitCode"),
        members.get("cause"),
        meta,
    )


def _injected(
    wanted: Any, agent: Agent, variables: Mapping[str, Any], state: State, resources: Resources
) -> Any:
    if isinstance(wanted, type) and issubclass(wanted, State):
        return state
    if wanted is Session:
        session = variables["session"]
        return Session(str(session["key"]), str(session["startedAt"]))
    if wanted is AgentInfo:
        info = variables["agent"]
        return AgentInfo(str(info["name"]), str(info["namespace"]), dict(info["labels"]))
    if (resource := resource_of(wanted)) is not None:
        return resources.get(resource)
    if wanted is TaskContext:
        raise CodeError("HandlerFailed", "a TaskContext is for tasks; handlers take a Session")
    raise CodeError("HandlerFailed", f"nothing here gives a {wanted}")


def _answer(handler: Handler, before: State, found: Any) -> dict[str, Any]:
    """The answer of what a handler returned: nothing, a state, effects, or both in a tuple."""
    state, effects = _split(found)  # the types are what the user returned, not what the annotations say
    answer: dict[str, Any] = {"place": str(handler.place)}
    if state is not None:
        if type(state) is not type(before):
            raise CodeError("BadAnswer", f"returned a {type(state).__name__}, not a {type(before).__name__}")
        answer["state"] = state.dump()
    for effect in effects:
        match effect:
            case Start(task, input, priority):
                members = {"task": task, "input": input, "priority": priority}
                answer.setdefault("start", []).append(without_none(members))
            case Emit(event, subject, to):
                members = {"type": event.event_type, "data": _data(event), "subject": subject, "to": to}
                answer.setdefault("emit", []).append(without_none(members))
            case Cancel(task):
                answer.setdefault("cancel", []).append(task)
            case Hold(seconds, handled):
                answer["hold"] = {"seconds": seconds, "handled": handled}
            case End():
                answer["end"] = True
            case _:
                remedy = "return a state, effects, or (state, [effects])"
                raise CodeError("BadAnswer", f"returned {type(effect).__name__} among its effects; {remedy}")
    return answer


def _split(found: Any) -> tuple[State | None, list[Any]]:
    if found is None:
        return None, []
    if isinstance(found, State):
        return found, []
    if isinstance(found, Effect):
        return None, [found]
    if isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], State | None):
        effects = found[1]
        return found[0], [effects] if isinstance(effects, Effect) else list(effects)
    if isinstance(found, list | tuple):
        return None, list(found)
    remedy = "return a state, effects, or (state, [effects])"
    raise CodeError("BadAnswer", f"returned {type(found).__name__}; {remedy}")


def _data(event: Event) -> Any:
    return event.data if isinstance(event, AnyEvent) else event.dump()


def _explain(handler: Handler, error: Exception) -> str:
    """What an exception was, and where: the lines of the user's own code first."""
    where = failing_place(handler.function, error) or handler.place
    lines = "".join(traceback.format_exception(None, error, error.__traceback__))
    said = f"of {error.title}: {explain(error)}" if isinstance(error, ValidationError) else str(error)
    return f"{handler.name} ({where}): {type(error).__name__}: {said}\n{lines[-MAX_TRACEBACK_CHARS:]}"
