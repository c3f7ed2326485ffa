"""One Agent after a storm, by its uid: what its ledger says, and what the fold of the events that it decided says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from heed import names
from heed.api.status import PendingTask
from heed.api.validation import parse_agent
from heed.bus.client.connection import Connection
from heed.core.compiler.program import Program, compile_agent
from heed.core.decision.model import Decision
from heed.core.effects import CancelTask, StartTask
from heed.core.events import Event
from heed.core.ledger.ledger import Ledger, load_ledger
from tests.faults.committed_answers import committed_answers, list_written
from tests.integration.engine.oracle import Fold, created_at, folded, read_back

Findings = list[str]


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One Agent, by its uid: its last ledger, and what the events that it had decided come to.

    `written` is what the scribe's answers told of, by the ids of the events.
    """

    program: Program
    ledger: Ledger
    fold: Fold
    alive: bool
    written: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.program.agent}{'' if self.alive else f' ({self.program.agent.uid}, deleted)'}"


async def incarnation(connection: Connection, body: Mapping[str, Any], *, alive: bool) -> Incarnation:
    """An Agent as it is, or as it was when it was deleted: only what it had decided until then counts.

    Time goes on in the stream: what is due comes there also when all else is quiet.
    """
    program = compile_agent(parse_agent(body))
    ledger = load_ledger(body.get("status") or {})
    since = body["metadata"]["creationTimestamp"].rstrip("Z")
    events = [item for item in await read_back(connection, program.subjects) if item.at >= since]
    events = [item for item in events if item.sequence <= ledger.cursor.sequence]
    created = await created_at(connection)
    written = {} if program.code is None else await list_written(connection, program.agent)
    answers = committed_answers(program.agent, created, written)
    fold = await asyncio.to_thread(folded, program, events, created, answers)  # handlers may be async
    return Incarnation(program, ledger, fold, alive, written)


def list_starts(item: Incarnation) -> dict[str, PendingTask]:
    """The record that each task was started with."""
    return {effect.id: effect.record for effect in item.fold.effects if isinstance(effect, StartTask)}


def list_attempts(item: Incarnation) -> dict[str, PendingTask]:
    """The record that each attempt of a task was started with."""
    starts = (effect for effect in item.fold.effects if isinstance(effect, StartTask))
    return {names.attempt_id(effect.id, effect.record.attempt): effect.record for effect in starts}


def list_called_off(item: Incarnation) -> set[str]:
    """The tasks that were to be stopped: what runs may end all the same, and is not tried again."""
    return {effect.id for effect in item.fold.effects if isinstance(effect, CancelTask)}


def is_end(decision: Decision) -> bool:
    """Whether it is on the end of a task, and that end counted."""
    event = decision.received.event
    ended = isinstance(event, Event) and event.type in (names.TASK_COMPLETED, names.TASK_FAILED)
    return ended and decision.outcome != "stale"


def list_ends(item: Incarnation) -> Iterator[tuple[str, dict[str, Any]]]:
    """The ends of tasks that counted: the task's id, and the data of its event."""
    for decision in item.fold.decisions:
        event = decision.received.event
        if is_end(decision) and isinstance(event, Event):
            yield event.subject or "", event.data if isinstance(event.data, dict) else {}
