"""Short ways to say "given an Agent that …, when this event comes": manifest snippets and events become values."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from heed import names
from heed.api.validation import parse_agent
from heed.core.cel.expression import Scope
from heed.core.cel.variables import VARIABLES
from heed.core.codec.cloudevents_json import parse_event
from heed.core.compiler.program import Program, compile_agent
from heed.core.decision.decide import Decision, decide
from heed.core.events import Event, MalformedMessage, Received
from heed.core.ledger.ledger import Ledger
from heed.errors import DecisionFailed, InvalidManifest, Problem

ASKED = "com.example.question.asked"
NAMESPACE, AGENT, UID = "demo", "researcher", "5c3b1f9e-uid"
_START = datetime(2026, 1, 31, 12)


def job(*args: str, **more: Any) -> dict[str, Any]:
    """A task that is a job."""
    container = {"name": "main", "image": "example/work:1", "args": list(args)}
    return {"job": {"template": {"spec": {"containers": [container]}}}, **more}


def manifest(*handlers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """An Agent that heeds com.example.>, with these handlers, and names for those that have none."""
    named = [{"name": f"h{index}", "type": ASKED, **handler} for index, handler in enumerate(handlers)]
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": AGENT, "namespace": NAMESPACE, "uid": UID, "generation": 3},
        "spec": {"subscribe": [{"type": "com.example.>"}], "handlers": named, **spec},
    }


def program(*handlers: dict[str, Any], **spec: Any) -> Program:
    """The Program of such an Agent."""
    return compile_agent(parse_agent(manifest(*handlers, **spec)))


def problems(document: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with a manifest, none of it where it can be run."""
    try:
        compile_agent(parse_agent(document))
    except InvalidManifest as error:
        return list(error.problems)
    return []


def failure_of(call: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[str, str, str | None]:
    """Code, message and handler of a call that fails to decide."""
    try:
        call(*arguments, **options)
    except DecisionFailed as failure:
        return failure.code, failure.message, failure.handler
    raise AssertionError("it does not fail")


def at(seconds: float) -> str:
    """Stream time, so many seconds after noon."""
    return (_START + timedelta(seconds=seconds)).isoformat(timespec="microseconds") + "Z"


def received(
    sequence: int,
    type_: str = ASKED,
    data: Any = None,
    *,
    id_: str | None = None,
    source: str = "/shop",
    time: float | None = None,
    inbox: bool = False,
    subject: str | None = None,
    **extensions: Any,
) -> Received:
    """An event that the stream holds at `sequence`, stored so many seconds after noon."""
    event = Event(id_ or f"e{sequence}", source, type_, data, subject=subject, extensions=extensions)
    where = names.inbox_subject(NAMESPACE, AGENT, type_) if inbox else names.event_subject(NAMESPACE, type_)
    return Received(sequence, at(sequence if time is None else time), where, event)


def malformed(sequence: int) -> Received:
    """A message that is no event."""
    return Received(
        sequence, at(sequence), names.event_subject(NAMESPACE, ASKED), MalformedMessage("BadData", "no JSON")
    )


def task_end(
    sequence: int, task_id: str, result: Any = None, *, reason: str | None = None, **more: Any
) -> Received:
    """The end of a task, as Heed tells it: completed with a result, or failed for a reason."""
    type_ = names.TASK_FAILED if reason else names.TASK_COMPLETED
    data = {"reason": reason} if reason else {"result": result}
    more = {"source": names.agent_source(NAMESPACE, AGENT), **more}
    return received(sequence, type_, data, inbox=True, subject=task_id, **more)


def fold(program_: Program, events: Iterable[Received], ledger: Ledger | None = None) -> list[Decision]:
    """The decisions on events, one after the other."""
    decisions: list[Decision] = []
    ledger = ledger or Ledger()
    for item in events:
        decisions.append(decide(program_, ledger, item))
        ledger = decisions[-1].ledger
    return decisions


def after(program_: Program, *events: Received) -> Ledger:
    """The ledger that events lead to."""
    return fold(program_, events)[-1].ledger


def only_task(ledger: Ledger) -> str:
    """The id of the one pending task."""
    (task_id,) = ledger.pending_tasks
    return task_id


def emitted(decision: Decision) -> list[Event]:
    """The events that a decision added to the outbox, in order."""
    owed = [item for item in decision.ledger.outbox.values() if item.sequence == decision.received.sequence]
    bodies = [item.event for item in sorted(owed, key=lambda item: item.index) if item.event]
    return [parse_event(body.encode(), "no event") for body in bodies]


def states(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """The state of every session."""
    return {key: session.state for key, session in ledger.sessions.items()}


def work(ledger: Ledger, task_id: str) -> dict[str, Any]:
    """What an owed task is given."""
    owed: dict[str, Any] = json.loads(ledger.pending_tasks[task_id].owed or "{}")
    return owed


def scope(**variables: Any) -> Scope:
    """A scope in which these variables are set, the others empty maps."""
    return Scope({**{name: {} for name in VARIABLES}, **variables})


def normalised(value: Any) -> Any:
    """JSON as the API server gives it back (measured): null members dropped, whole floats below 1e21 as integers."""
    if isinstance(value, dict):
        return {key: normalised(value[key]) for key in sorted(value) if value[key] is not None}
    if isinstance(value, list):
        return [normalised(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    return value


def stored(status: dict[str, Any]) -> dict[str, Any]:
    """A status that has been written to the API server and read again."""
    result: dict[str, Any] = normalised(json.loads(json.dumps(status)))
    return result


def merged(target: Any, patch: Any) -> Any:
    """A JSON merge patch applied, letter by letter as in RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
