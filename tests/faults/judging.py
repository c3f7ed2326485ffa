"""The model, and whether the world agrees with it: what the fold of the stream says, against what there is.

Every function gives its findings in plain words; nothing found means that nothing was lost and nothing was made twice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heed import names
from heed.api.status import PendingTask
from heed.api.validation import parse_agent
from heed.bus.client.connection import Connection
from heed.bus.consumer.publish_dedup import HEADER_MESSAGE_ID
from heed.bus.jetstream import message_id
from heed.core.codec.cloudevents_json import parse_event
from heed.core.compiler.program import Program, compile_agent
from heed.core.decision.model import Decision
from heed.core.effects import CancelTask, Effect, Publish, StartTask
from heed.core.events import Event
from heed.core.ledger.ledger import Ledger, count_decided, dump_ledger, list_owed_effects, load_ledger, settle
from heed.core.tasks.job_contract import REASON_DEADLINE, REASON_INVALID, REASON_LOST
from heed.core.tasks.kinds import LEDGER_KINDS
from tests.faults.agents import ATTEMPTS
from tests.faults.people import Deletion
from tests.integration.engine.oracle import Fold, created_at, folded, message_ids, opened, read_back
from tests.integration.waiting import SOON

Findings = list[str]
REASON_CANCELLED = "Cancelled"


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One Agent, by its uid: its last ledger, and what the events that it had decided come to."""

    program: Program
    ledger: Ledger
    fold: Fold
    alive: bool

    def __str__(self) -> str:
        return f"{self.program.agent}{'' if self.alive else f' ({self.program.agent.uid}, deleted)'}"


@dataclass(frozen=True, slots=True)
class World:
    """What there is after a storm."""

    incarnations: list[Incarnation]
    made: Mapping[tuple[str, str], int]  # how often a Job of that namespace and name was created
    emitted: list[str]  # Nats-Msg-Ids in the stream of what Agents emitted
    letters: list[str]  # Nats-Msg-Ids of all dead letters
    deletions: Sequence[Deletion]


async def incarnation(connection: Connection, body: Mapping[str, Any], *, alive: bool) -> Incarnation:
    """An Agent as it is, or as it was when it was deleted; then only what it had decided until then counts."""
    program = compile_agent(parse_agent(body))
    ledger = load_ledger(body.get("status") or {})
    since = body["metadata"]["creationTimestamp"].rstrip("Z")
    events = [item for item in await read_back(connection, program.subjects) if item.at >= since]
    if not alive:
        events = [item for item in events if item.sequence <= ledger.cursor.sequence]
    return Incarnation(program, ledger, folded(program, events, await created_at(connection)), alive)


async def world(
    connection: Connection,
    incarnations: list[Incarnation],
    made: Mapping[tuple[str, str], int],
    deletions: Sequence[Deletion],
) -> World:
    """Look at both streams."""
    letters = await message_ids(connection, names.DEAD_STREAM, names.DEAD_STREAM_SUBJECTS[0])
    return World(incarnations, made, await _emitted(connection), letters, deletions)


async def _emitted(connection: Connection) -> list[str]:
    found: list[str] = []
    async with opened(connection, names.STREAM, names.STREAM_SUBJECTS) as pull:
        left = pull.pending
        while left:
            arrivals = await pull.take(500, SOON)
            left -= len(arrivals)
            pull.release(sum(item.size for item in arrivals))
            headers = [item.message.headers or {} for item in arrivals]
            found += [item[HEADER_MESSAGE_ID] for item in headers if _is_emitted(item)]
    return found


def _is_emitted(headers: Mapping[str, str]) -> bool:
    ours = headers.get("ce-source", "").startswith(f"/apis/{names.API_VERSION}/")
    return ours and not names.is_reserved(headers["ce-type"])


def judge(world: World) -> Findings:
    """Everything that is not as it has to be."""
    findings: Findings = []
    for item in world.incarnations:
        findings += ledger_findings(item) + ends_findings(item, world.deletions)
        findings += wait_findings(item) + attempt_findings(item, world.deletions)
    findings += job_findings(world)
    folds = [item.fold for item in world.incarnations]
    may_miss = {
        id
        for item in world.incarnations
        if not item.alive
        for id in _published(list_owed_effects(item.ledger))
    }
    findings += _once("emitted event", [id for fold in folds for id in fold.emitted], world.emitted, may_miss)
    findings += _once("dead letter", [id for fold in folds for id in fold.letters], world.letters, may_miss)
    return findings


def ledger_findings(item: Incarnation) -> Findings:
    """The one comparison of a ledger with the fold. Of a deleted Agent, the effects it still owed count as made."""
    is_, should = dump_ledger(_settled(item.ledger)), item.fold.settled
    # A cursor may be beyond the last event of its Agent; that none was passed over is what the totals are there for.
    should["cursor"]["sequence"] = max(should["cursor"]["sequence"], is_["cursor"]["sequence"])
    wrong = [
        f"{item}: {key} is {_short(is_.get(key))}, should be {_short(should.get(key))}"
        for key in sorted({*is_, *should})
        if is_.get(key) != should.get(key)
    ]
    if item.alive and _settled(item.ledger) is not item.ledger:
        wrong.append(f"{item}: something is still owed")
    decided, delivered = count_decided(item.ledger.totals), len(item.fold.decisions)
    if decided != delivered:
        wrong.append(f"{item}: {delivered} events delivered, {decided} in the totals")
    return wrong


def _settled(ledger: Ledger) -> Ledger:
    return settle(ledger, list_owed_effects(ledger))


def job_findings(world: World) -> Findings:
    """One Job for every attempt of a task that was decided; at most one where the task was called off.

    None for a wait, or for one that was refused.
    """
    most: dict[tuple[str, str], int] = {}
    least: dict[tuple[str, str], int] = {}
    for item in world.incarnations:
        optional = {effect.id for effect in item.fold.effects if isinstance(effect, CancelTask)}
        optional |= {task_id for task_id, data in _ends(item) if data.get("reason") == REASON_DEADLINE}
        if not item.alive:  # some were still owed, or called off without a decision on that
            optional |= item.ledger.pending_tasks.keys()
        for effect in item.fold.effects:
            if isinstance(effect, StartTask):
                agent, attempt = item.program.agent, names.attempt_id(effect.id, effect.record.attempt)
                name = (agent.namespace, names.job_name(agent.name, attempt))
                runs = effect.record.kind not in LEDGER_KINDS and effect.record.task != "refused"
                most[name] = 1 if runs else 0
                least[name] = 0 if effect.id in optional else most[name]
    wrong = [
        f"Job {name}: made {count} times, decided {most.get(name, 0)} times"
        for name, count in world.made.items()
        if count > most.get(name, 0)
    ]
    missing = [name for name, count in least.items() if world.made.get(name, 0) < count]
    return [*wrong, *(f"Job {name}: was decided and never made" for name in missing)]


def ends_findings(item: Incarnation, deletions: Sequence[Deletion]) -> Findings:
    """Every end that counted tells the truth: the result is the one played, and only what was deleted was lost.

    Where a person deleted the pod, or the Job and with it the pod, the result of one that was done may be gone too;
    then the end says so.
    """
    jobs = {deletion.task_id for deletion in deletions if deletion.kind == "job"}
    touched = {deletion.task_id for deletion in deletions}
    starts = _starts(item)
    wrong = []
    for task_id, data in _ends(item):
        if starts[task_id].kind in LEDGER_KINDS:
            continue
        if data.get("reason") == REASON_LOST and task_id not in jobs:
            wrong.append(f"{item}: task {task_id} was said to be lost, and nobody deleted its Job")
        if data.get("reason") == REASON_INVALID and starts[task_id].task != "refused":
            wrong.append(f"{item}: task {task_id} was said to be refused, and is no such task")
        result, played = data.get("result"), _result(starts[task_id].input)
        said_lost = result is None and "message" in data and task_id in touched
        if "reason" not in data and result != played and not said_lost:
            wrong.append(f"{item}: task {task_id} ended with {result}, played was {played}")
    return wrong


def wait_findings(item: Incarnation) -> Findings:
    """Every wait ended as it had to, and none before its time.

    A nap is over when its time is, and a doze, which lasts longer than it may, at its deadline: unless they were called
    off. That each ended at all, and once, the ledger says: nothing is pending, and the totals are the model's.
    """
    starts, wrong = _starts(item), []
    for decision in item.fold.decisions:
        event, at = decision.received.event, decision.received.at
        if not isinstance(event, Event) or not _is_end(decision) or event.subject not in starts:
            continue
        record = starts[event.subject]
        if record.kind != "wait":
            continue
        data = event.data if isinstance(event.data, dict) else {}
        reason, due = data.get("reason"), record.deadline if record.task == "doze" else record.due
        right = REASON_DEADLINE if record.task == "doze" else None
        if reason not in (right, REASON_CANCELLED):
            wrong.append(f"{item}: wait {event.subject} ended with {reason}, not with {right}")
        elif reason == right and at < (due or ""):
            wrong.append(f"{item}: wait {event.subject} ended at {at}, before {due}")
        elif reason is None and data.get("result") != {"until": record.due}:
            wrong.append(f"{item}: wait {event.subject} was until {record.due}, and ended with {data}")
    return wrong


def attempt_findings(item: Incarnation, deletions: Sequence[Deletion]) -> Findings:
    """Every frail task was tried until it succeeded, one attempt after the other, and no more often than it may be.

    Where a person deleted a Job or a pod of it, or it was called off, it may have had fewer or other attempts.
    """
    attempts: dict[str, list[int]] = {}
    for effect in item.fold.effects:
        if isinstance(effect, StartTask) and effect.record.task == "frail":
            attempts.setdefault(effect.id, []).append(effect.record.attempt)
    starts, touched = _starts(item), {deletion.task_id for deletion in deletions}
    wrong = [
        f"{item}: task {task_id} had the attempts {found}"
        for task_id, found in attempts.items()
        if found != list(range(1, len(found) + 1)) or len(found) > ATTEMPTS
    ]
    for decision in item.fold.decisions:
        event = decision.received.event
        if not isinstance(event, Event) or not _is_end(decision) or decision.outcome == "retried":
            continue
        found, task_id = attempts.get(event.subject or "", []), event.subject or ""
        data = event.data if isinstance(event.data, dict) else {}
        if not found or task_id in touched or data.get("reason") in (REASON_CANCELLED, REASON_DEADLINE):
            continue
        until = starts[task_id].input["until"]
        if len(found) != min(until, ATTEMPTS) or ("reason" in data) != (until > ATTEMPTS):
            wrong.append(
                f"{item}: task {task_id}, to succeed at {until}, ended with {data} after {len(found)}"
            )
    return wrong


def _starts(item: Incarnation) -> dict[str, PendingTask]:
    """The record that each task was started with."""
    return {effect.id: effect.record for effect in item.fold.effects if isinstance(effect, StartTask)}


def _is_end(decision: Decision) -> bool:
    """Whether it is on the end of a task, and that end counted."""
    event = decision.received.event
    of_task = isinstance(event, Event) and event.type.startswith(names.TASK_TYPE_PREFIX)
    return of_task and decision.outcome != "stale"


def _ends(item: Incarnation) -> Iterator[tuple[str, dict[str, Any]]]:
    """The ends of tasks that counted: the task's id, and the data of its event."""
    for decision in item.fold.decisions:
        event = decision.received.event
        if _is_end(decision) and isinstance(event, Event):
            yield event.subject or "", event.data if isinstance(event.data, dict) else {}


def _result(input: Any) -> Any:
    return f"value {input['value']}" if input["play"] == "text" else {"value": input["value"]}


def _published(effects: Iterable[Effect]) -> Iterable[str]:
    """The Nats-Msg-Ids of what is to be published."""
    for effect in effects:
        if isinstance(effect, Publish):
            event = parse_event(effect.owed.event.encode(), "") if effect.owed.event else None
            yield message_id(effect.owed.subject, event) if event else effect.id


def _once(what: str, should: Iterable[str], there: Iterable[str], may_miss: set[str]) -> Findings:
    wanted, found = Counter(should), Counter(there)
    wrong = [
        f"{what} {id}: decided {wanted[id]} times, in the stream {count} times"
        for id, count in found.items()
        if count > wanted[id]
    ]
    wrong += [
        f"{what} {id}: decided, and not in the stream"
        for id in wanted
        if not found[id] and id not in may_miss
    ]
    return wrong


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) < 300 else f"{text[:300]}… ({len(text)} characters)"
