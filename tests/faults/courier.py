"""The courier, an Agent whose tasks are calls of a service, and whether each call was served once and told rightly.

The service (call_service.py) is busy at times, cuts connections after it has served, and answers too late. It serves
what has an Idempotency-Key once for each key; all else it serves as often as it comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from heed import names
from heed.api.status import PendingTask
from tests.faults.incarnation import Findings, Incarnation, list_ends, list_starts
from tests.faults.spec_parts import DOMAIN, IDLE, emit, handler

NAMESPACE, NAME = "storm-b", "courier"
ATTEMPTS = 4
FIRST_BYTE_S = 2.0
REFUSED = 400  # the status for a call that is played to fail


@dataclass(frozen=True, slots=True)
class Served:
    """A call that had an effect. `answer` is what the service said of it, or would have."""

    task_id: str
    answer: dict[str, Any]


def courier_spec(port: int) -> dict[str, Any]:
    """The Agent's spec, for a service at this port."""
    url = f"http://127.0.0.1:{port}"

    def call(path: str, **more: Any) -> dict[str, Any]:
        request = {
            "method": "POST",
            "url": f"{url}/{path}",
            "body": {"json": {"task": "${task.id}", "play": "${input.play}", "value": "${input.value}"}},
            "timeouts": {"connect": "2s", "firstByte": f"{FIRST_BYTE_S:g}s", "total": "5s"},
            "result": {"reduce": "response.body"},
        }
        retry = {"attempts": ATTEMPTS, "backoff": {"initial": "1s"}}
        return {"http": request | more, "timeout": "10m", "retry": retry}

    tasks = {
        "keyed": call("keyed"),
        "once": call("once", idempotencyKey="None"),
        "asked": call("asked", idempotencyKey="None", reconcile={"url": f"{url}/served/${{task.id}}"}),
    }
    names_of_tasks = str(sorted(tasks)).replace('"', "'")
    chosen = f"{names_of_tasks}[int(event.data.input.value) % {len(tasks)}]"
    return {
        "subscribe": [{"type": DOMAIN + type_} for type_ in ("order.work", "order.stopped", "order.closed")],
        "session": {"idleTimeout": IDLE},
        "tasks": tasks,
        "handlers": [
            handler(
                "work",
                "order.work",
                "event.data.task in ['pack', 'brief']",
                start=[{"from": f"${{[{{'task': {chosen}, 'input': event.data.input}}]}}"}],
            ),
            handler("stop", "order.stopped", cancel=[{"task": task} for task in tasks]),
            handler(
                "called",
                names.TASK_COMPLETED,
                emit=[emit("errand.done", task="${task.id}", value="${event.data.result.value}")],
            ),
            handler(
                "failed",
                names.TASK_FAILED,
                emit=[emit("errand.failed", task="${task.id}", reason="${event.data.reason}")],
            ),
            handler("over", "order.closed", end=True),
        ],
    }


def call_findings(item: Incarnation, served: Sequence[Served]) -> Findings:
    """No task's call was served twice; one that completed was, and has the service's answer; a refused one was not.

    Whether a call without a key whose answer was lost was served nobody knows; where the service is asked, it is known.
    """
    if item.program.agent.name != NAME:
        return []
    starts, ends = list_starts(item), dict(list_ends(item))
    answers: dict[str, list[dict[str, Any]]] = {}
    for call in served:
        answers.setdefault(call.task_id, []).append(call.answer)
    wrong = [
        f"{item}: a call of {task_id}, which was not decided, was served"
        for task_id in answers.keys() - starts
    ]
    for task_id, record in starts.items():
        found = answers.get(task_id, [])
        if len(found) > 1:
            wrong.append(f"{item}: the call of {record.task} {task_id} was served {len(found)} times")
        data = ends.get(task_id)
        if data is not None and (amiss := _amiss(record, data, found)) is not None:
            wrong.append(f"{item}: {record.task} {task_id} ended with {data}; served was {found}: {amiss}")
    return wrong


def _amiss(record: PendingTask, data: dict[str, Any], found: list[dict[str, Any]]) -> str | None:
    """What is wrong with the end of a task whose call had these answers, or None."""
    reason, refused = data.get("reason"), record.input["play"] == "fail"
    if reason is None:
        if data.get("result") not in found:
            return "that is not what the service answered"
        return "it was to fail" if refused else None
    if reason == "Cancelled":
        return None
    if refused:
        return "what is refused is not served" if found else None
    if reason == "HttpStatus" and record.task != "keyed" and found:
        return "an answer that was lost was not looked for"
    if reason not in ("HttpStatus", "HttpAnswerLost", "HttpTimeout", "HttpUnreachable"):
        return "there is no reason for that"
    return None
