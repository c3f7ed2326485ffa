"""The model, and whether the world agrees with it: what the fold of the stream says, against what there is.

Every function gives its findings in plain words; nothing found means that nothing was lost and nothing was made twice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from heed import names
from heed.bus.client.connection import Connection
from heed.bus.consumer.publish_dedup import HEADER_MESSAGE_ID
from heed.bus.jetstream import message_id
from heed.core.codec.cloudevents_json import parse_event
from heed.core.effects import CancelTask, Effect, Publish, StartTask
from heed.core.ledger.ledger import Ledger, count_decided, dump_ledger, list_owed_effects, settle
from heed.core.tasks.job_contract import REASON_DEADLINE
from tests.faults.answer_judging import Run, answer_findings, function_findings
from tests.faults.bureau import Body, approval_findings
from tests.faults.calendar import tick_findings
from tests.faults.courier import Served, call_findings
from tests.faults.gate import Commit, limit_findings
from tests.faults.held_events import held_findings
from tests.faults.incarnation import Findings, Incarnation, list_ends
from tests.faults.people import Deletion
from tests.faults.task_ends import attempt_findings, ends_findings, wait_findings
from tests.faults.workshop import widget_findings
from tests.integration.engine.oracle import opened
from tests.integration.waiting import SOON


@dataclass(frozen=True, slots=True)
class World:
    """What there is after a storm."""

    incarnations: list[Incarnation]
    made: Mapping[tuple[str, str], int]  # how often a Job of that namespace and name was created
    emitted: list[str]  # Nats-Msg-Ids in the stream of what Agents emitted
    letters: list[str]  # Nats-Msg-Ids of all dead letters
    deletions: Sequence[Deletion]
    answers: Sequence[Body] = ()  # ApprovalAnswers
    widgets_made: Mapping[tuple[str, str], int] = field(default_factory=dict)
    widgets: Sequence[Body] = ()  # that are there
    commits: Sequence[Commit] = ()  # of the gate
    runs: Sequence[Run] = ()  # of the scribe's functions
    calls: Sequence[Served] = ()  # of the courier's service


async def list_emitted(connection: Connection) -> list[str]:
    """The Nats-Msg-Ids of what Agents emitted."""
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
    """Whether an Agent said it: the ends of tasks and what is due Heed itself says, in the Agent's name."""
    ours = headers.get("ce-source", "").startswith(f"/apis/{names.API_VERSION}/")
    due = headers.get("ce-type", "").startswith((names.TASK_TYPE_PREFIX, names.DUE_TYPE_PREFIX))
    return ours and not due and f"ce-{names.TIMER_EXTENSION}" not in headers


def judge(world: World) -> Findings:
    """Everything that is not as it has to be."""
    findings: Findings = []
    for item in world.incarnations:
        findings += ledger_findings(item) + ends_findings(item, world.deletions)
        findings += wait_findings(item) + attempt_findings(item, world.deletions)
        findings += held_findings(item) + tick_findings(item)
        findings += approval_findings(item, world.answers)
        findings += widget_findings(item, world.widgets_made, world.widgets)
        findings += limit_findings(item, world.commits)
        findings += answer_findings(item) + function_findings(item, world.runs)
        findings += call_findings(item, world.calls)
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
    decided = count_decided(item.ledger.totals) + len(item.ledger.held)
    delivered = len({decision.received.sequence for decision in item.fold.decisions})
    if decided != delivered:
        wrong.append(f"{item}: {delivered} events delivered, {decided} in the totals")
    return wrong


def _settled(ledger: Ledger) -> Ledger:
    return settle(ledger, list_owed_effects(ledger))


def job_findings(world: World) -> Findings:
    """One Job for every attempt of a task that was decided; at most one where the task was called off.

    None for a task of another kind, or for one that was refused. With a deleted Agent its Jobs are deleted: one that
    its ledger does not say to have started may be made once more by an operator that comes before the news of that.
    """
    most: dict[tuple[str, str], int] = {}
    least: dict[tuple[str, str], int] = {}
    for item in world.incarnations:
        optional = {effect.id for effect in item.fold.effects if isinstance(effect, CancelTask)}
        optional |= {task_id for task_id, data in list_ends(item) if data.get("reason") == REASON_DEADLINE}
        owed = set[str]()
        if not item.alive:  # some were still owed, or called off without a decision on that
            optional |= item.ledger.pending_tasks.keys()
            owed = {
                names.attempt_id(effect.id, effect.record.attempt)
                for effect in list_owed_effects(item.ledger)
                if isinstance(effect, StartTask)
            }
        for effect in item.fold.effects:
            if isinstance(effect, StartTask):
                agent, attempt = item.program.agent, names.attempt_id(effect.id, effect.record.attempt)
                name = (agent.namespace, names.job_name(agent.name, attempt))
                runs = effect.record.kind == "job" and effect.record.task != "refused"
                most[name] = (2 if attempt in owed else 1) if runs else 0
                least[name] = 0 if effect.id in optional else most[name]
    wrong = [
        f"Job {name}: made {count} times, decided {most.get(name, 0)} times"
        for name, count in world.made.items()
        if count > most.get(name, 0)
    ]
    missing = [name for name, count in least.items() if world.made.get(name, 0) < count]
    return [*wrong, *(f"Job {name}: was decided and never made" for name in missing)]


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
