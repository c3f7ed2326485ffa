"""Dead letters that are decided again: once for each redrive, and with the task that a task's end belonged to."""

import json
from typing import Any

from heed import names
from heed.core.events import Event, Received
from heed.errors import DecisionFailed


def digest_of(received: Received, event: Event) -> str:
    """What the event is remembered by. A letter was remembered when it died, so a redrive has a digest of its own."""
    if (redrive := received.redrive) is not None:
        return names.redrive_digest(redrive.letter, redrive.attempt)
    return names.event_digest(event.source, event.id)


def task_of(received: Received) -> tuple[str, dict[str, Any], Any]:
    """The session, the `task` variable and the input of the task that a letter keeps. Raises DecisionFailed."""
    try:
        record = json.loads((received.redrive and received.redrive.task) or "")
        task = {name: str(record[name]) for name in ("id", "name", "kind", "startedAt")}
        return str(record["session"]), task, record["input"]
    except (ValueError, KeyError, TypeError):
        message = "the task that came with the letter cannot be read; redrive it with `heed dead redrive`"
        raise DecisionFailed("BadRedrive", message) from None
