"""The workshop, an Agent whose tasks are Widgets, and whether each Widget was made once and came to what it had to.

What becomes of a Widget its labels say to whoever plays its controller (controllers.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from heed import names
from heed.api.status import PendingTask
from heed.core.decision.model import Decision
from heed.core.events import Event
from heed.core.tasks.job_contract import REASON_DEADLINE
from tests.cluster.resources.kinds import GROUP
from tests.faults.incarnation import Findings, Incarnation, is_end, list_attempts, list_called_off
from tests.faults.spec_parts import DEADLINE, DOMAIN, IDLE, emit, handler

NAMESPACE, NAME = "storm-b", "workshop"
API_VERSION, PLURAL = f"{GROUP}/v1", "widgets"
ATTEMPTS = 3  # of a Widget that may be mended
BROKEN, CANCELLED = "OutOfPaint", "Cancelled"
LASTING = ("build", "mend")  # tasks whose Widgets outlive the storm, once they ended by themselves
PLAYS_OF_TASKS = {
    "build": ("succeed", "succeed", "fail", "deleted", "refused"),
    "craft": ("succeed", "succeed", "fail", "deleted"),
    "trial": ("succeed", "succeed", "fail"),
    "stall": ("hang",),
    "mend": ("mend",),
}
REASONS = {  # of the end that a play comes to
    "succeed": None,
    "fail": BROKEN,
    "deleted": "ResourceLost",
    "refused": "InvalidResource",
    "hang": REASON_DEADLINE,
}

WIDGET = {
    "template": {
        "apiVersion": API_VERSION,
        "kind": "Widget",
        "metadata": {"labels": {"play": "${input.play}", "until": "${string(input.?until.orValue(1))}"}},
        "spec": {"size": "${input.value}"},
    },
    "succeeded": 'object.status.phase == "Ready"',
    "failed": 'object.status.phase == "Broken"',
    "result": "{'value': object.spec.size}",
    "progress": "{'percent': object.status.percent}",
    "reason": "object.status.why",
}
TASKS = {
    "build": {"resource": WIDGET, "timeout": "10m", "retention": "1h"},
    "craft": {"resource": WIDGET | {"deletion": "Immediately"}, "timeout": "10m"},
    "trial": {"resource": WIDGET, "timeout": "10m", "retention": "1s"},
    "stall": {"resource": WIDGET, "timeout": DEADLINE, "retention": "1h"},
    "mend": {
        "resource": WIDGET,
        "timeout": "10m",
        "retention": "1h",
        "retry": {"attempts": ATTEMPTS, "backoff": {"initial": "1s"}},
    },
}
WORKSHOP = {
    "subscribe": [{"type": DOMAIN + "widget.*"}],
    "session": {"idleTimeout": IDLE},
    "tasks": TASKS,
    "handlers": [
        handler(
            "want",
            "widget.wanted",
            start=[{"from": "${[{'task': event.data.task, 'input': event.data.input}]}"}],
        ),
        handler("stop", "widget.stopped", cancel=[{"task": task} for task in TASKS]),
        handler("going", names.TASK_PROGRESS, state={"percent": "${event.data.percent}"}),
        handler(
            "made",
            names.TASK_COMPLETED,
            emit=[emit("widget.made", task="${task.id}", value="${event.data.result.value}")],
        ),
        handler(
            "broken",
            names.TASK_FAILED,
            emit=[emit("widget.broken", task="${task.id}", reason="${event.data.reason}")],
        ),
    ],
}

Name = tuple[str, str]  # namespace and name
Body = Mapping[str, Any]


def widget_findings(item: Incarnation, made: Mapping[Name, int], left: Sequence[Body]) -> Findings:
    """Every attempt had one Widget, whose end was told as it was, and none is left that had to go.

    There may have been none where the attempt was called off, or over its time, before it could start.
    """
    if item.program.agent.name != NAME:
        return []
    attempts = {_name(attempt_id): record for attempt_id, record in list_attempts(item).items()}
    stopped = list_called_off(item)
    wrong = [
        f"{item}: Widget {name} was made {count} times"
        for (_, name), count in made.items()
        if count > (1 if name in attempts and attempts[name].input["play"] != "refused" else 0)
    ]
    lasting, perhaps = (
        set[str](),
        set[str](),
    )  # one that was called off and ended all the same may be there or not
    for task_id, decision, event in _ends(item):
        data = event.data if isinstance(event.data, dict) else {}
        attempt = names.attempt_id(task_id, int(str(data.get("attempt", 1))))
        record = attempts[_name(attempt)]
        reason = data.get("reason")
        if reason in (None, BROKEN) and record.task in LASTING:
            (perhaps if task_id in stopped else lasting).add(_name(attempt))
        if reason in (None, BROKEN, "ResourceLost") and not made.get((NAMESPACE, _name(attempt))):
            wrong.append(f"{item}: Widget {_name(attempt)} ended with {reason}, and was never made")
        wrong += [
            f"{item}: task {attempt} {amiss}" for amiss in _amiss(record, decision, data, task_id in stopped)
        ]
        if reason == CANCELLED and task_id not in stopped:
            wrong.append(f"{item}: task {attempt} was said to be cancelled, and nobody called it off")
    there = {body["metadata"]["name"] for body in left}
    wrong += [f"{item}: Widget {name} is left over" for name in there - lasting - perhaps]
    return wrong + [f"{item}: Widget {name} should be there still" for name in lasting - there]


def _ends(item: Incarnation) -> Iterator[tuple[str, Decision, Event]]:
    """The ends of attempts that counted."""
    for decision in item.fold.decisions:
        event = decision.received.event
        if isinstance(event, Event) and is_end(decision):
            yield event.subject or "", decision, event


def _amiss(
    record: PendingTask, decision: Decision, data: Mapping[str, Any], called_off: bool
) -> Iterator[str]:
    """Where an end is not what was played. One that was called off is not tried again, however it ended."""
    play, reason, again = record.input["play"], data.get("reason"), decision.outcome == "retried"
    if reason == CANCELLED:
        return
    if play == "mend":
        until, tried = record.input["until"], record.attempt
        should: Any = None if tried >= until else BROKEN
        if again != (tried < min(until, ATTEMPTS)) and (again or not called_off):
            yield f"to be mended at {until}, is {'' if again else 'not '}tried again after {tried}"
    else:
        should = REASONS[play]
    if reason != should:
        yield f"ended with {reason}, played was {play}"
    if reason is None and data.get("result") != {"value": record.input["value"]}:
        yield f"ended with {data.get('result')}, played was {record.input['value']}"
    if reason == REASON_DEADLINE and decision.received.at < (record.deadline or ""):
        yield f"was over at {decision.received.at}, before {record.deadline}"


def _name(attempt_id: str) -> str:
    return names.job_name(NAME, attempt_id)
