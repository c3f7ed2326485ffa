"""Whether what the scribe's answers left behind is all of one and the same answer, and each function ended once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heed import names
from heed.api.status import PendingTask
from heed.core.codec.cloudevents_json import parse_event
from heed.core.effects import Publish
from heed.core.events import Event
from heed.core.tasks.job_contract import REASON_DEADLINE
from tests.faults.committed_answers import NAME
from tests.faults.incarnation import Findings, Incarnation, is_end, list_attempts, list_called_off
from tests.faults.scribe import Blotted, Smudged

CANCELLED = "Cancelled"


@dataclass(frozen=True, slots=True)
class Run:
    """A line of what functions wrote into the log of runs: that one began, or came to its end."""

    what: str
    attempt: str
    nonce: str
    run: str


def read_runs(path: Path) -> list[Run]:
    """All runs of functions."""
    return [Run(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def answer_findings(item: Incarnation) -> Findings:
    """Each event tells what the model makes of its own nonce, and editions come in the order of the roll-outs.

    The model's chain is of all nonces before it: where state and event are of different answers, it breaks.
    """
    if item.program.agent.name != NAME:
        return []
    wrong, edition = [], 0
    for effect in item.fold.effects:
        if not isinstance(effect, Publish) or not effect.owed.event:
            continue
        event = parse_event(effect.owed.event.encode(), "")
        told, should = item.written.get(event.id), event.data
        if told != should:
            wrong.append(f"{item}: event {event.id} tells {told!r}, and its answer was {should!r}")
        if isinstance(told, dict):
            if told["edition"] < edition:
                wrong.append(
                    f"{item}: event {event.id} is of edition {told['edition']}, after one of {edition}"
                )
            edition = max(edition, told["edition"])
    return wrong


def function_findings(item: Incarnation, runs: Sequence[Run]) -> Findings:
    """Each function task ended once as the ledger counts, and each end tells of a run that there was.

    It may have run more often. Where it was called off, its end may not be heard of.
    """
    if item.program.agent.name != NAME:
        return []
    attempts = {id: record for id, record in list_attempts(item).items() if record.kind == "function"}
    done = {(run.attempt, run.run) for run in runs if run.what == "done"}
    wrong = [
        f"{item}: function {run.attempt} ran with {run.nonce}, which no answer started it with"
        for run in runs
        if run.attempt not in attempts or attempts[run.attempt].input["nonce"] != run.nonce
    ]
    stopped, retried, ended = list_called_off(item), Counter[str](), Counter[str]()
    tries = Counter(names.split_attempt(attempt)[0] for attempt in attempts)
    for task_id, data, again in _ends(item):
        (retried if again else ended)[task_id] += 1
        attempt = names.attempt_id(task_id, int(data.get("attempt", tries[task_id])))
        if attempt not in attempts:
            wrong.append(f"{item}: function {attempt} ended, and was never started")
            continue
        result = data.get("result")
        run = result.get("run") if isinstance(result, dict) else None
        if "reason" not in data and (attempt, run) not in done:
            wrong.append(f"{item}: function {attempt} ended with {data}, of which there was no run")
        said, should = _told(data), _played(attempts[attempt])
        if said != should and not (said == (CANCELLED, None) and task_id in stopped):
            wrong.append(f"{item}: function {attempt} ended with {said}, played was {should}")
    for task_id, tried in tries.items():
        off = task_id in stopped
        if ended[task_id] != 1 and not (off and not ended[task_id]):
            wrong.append(f"{item}: function task {task_id} has {ended[task_id]} ends that counted")
        if retried[task_id] != tried - 1 and not (off and retried[task_id] == tried):
            wrong.append(
                f"{item}: function task {task_id} was tried again {retried[task_id]} times in {tried} attempts"
            )
    return wrong


def _ends(item: Incarnation) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """The ends that counted: the task, the data, and whether another attempt follows."""
    tasks = {
        names.split_attempt(id)[0] for id, record in list_attempts(item).items() if record.kind == "function"
    }
    for decision in item.fold.decisions:
        event = decision.received.event
        if isinstance(event, Event) and is_end(decision) and event.subject in tasks:
            data = event.data if isinstance(event.data, dict) else {}
            yield event.subject or "", data, decision.outcome == "retried"


def _told(data: dict[str, Any]) -> tuple[str | None, int | None]:
    result = data.get("result")
    return data.get("reason"), result.get("value") if isinstance(result, dict) else None


def _played(record: PendingTask) -> tuple[str | None, int | None]:
    """The reason and the value that an attempt has to end with."""
    match record.task, record.input:
        case "stare", _:
            return REASON_DEADLINE, None
        case "steep", {"leaf": leaf}:
            return None, leaf
        case _, {"play": "fail"}:
            return Blotted.__name__, None
        case _, {"play": "frail", "until": until} if record.attempt < until:
            return Smudged.__name__, None
    return None, record.input["value"]
