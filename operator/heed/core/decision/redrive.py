"""Dead letters that are decided again: once for each redrive, and with the task that a task's end belonged to."""

import json
from typing import Any

from heed import names
from heed.api.status import PendingTask
from heed.core.codec.canonical_json import compact
from heed.core.compiler.program import Program
from heed.core.events import Event, Received
from heed.errors import DecisionFailed


def digest_of(program: Program, received: Received, event: Event) -> str:
    """What the event is remembered by. A letter was remembered when it died, so a redrive has a digest of its own.

    Nobody in another namespace can make an event of this one a duplicate: theirs are remembered apart.
    """
    if (redrive := received.redrive) is not None:
        return names.redrive_digest(redrive.letter, redrive.attempt)
    if (
        program.reads_others
        and (theirs := names.namespace_of_subject(received.subject)) != program.agent.namespace
    ):
        return names.event_digest(f"{theirs} {event.source}", event.id)
    return names.event_digest(event.source, event.id)


def task_variable(task_id: str, record: PendingTask) -> dict[str, Any]:
    """The `task` of expressions."""
    return {"id": task_id, "name": record.task, "kind": record.kind, "startedAt": record.started_at}


def task_kept(task_id: str, record: PendingTask) -> str:
    """What a letter keeps of the task that its event is of, since the task will have left the ledger."""
    return compact({"session": record.session, "input": record.input, **task_variable(task_id, record)})


def task_of(received: Received) -> tuple[str, dict[str, Any], Any]:
    """The session, the `task` variable and the input of the task that a letter keeps. Raises DecisionFailed."""
    try:
        record = json.loads((received.redrive and received.redrive.task) or "")
        task = {name: str(record[name]) for name in ("id", "name", "kind", "startedAt")}
        return str(record["session"]), task, record["input"]
    except (ValueError, KeyError, TypeError):
        message = "the task that came with the letter cannot be read; redrive it with `heed dead redrive`"
        raise DecisionFailed("BadRedrive", message) from None
