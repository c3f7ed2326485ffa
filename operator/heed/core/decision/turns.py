"""The turns of an `llm` task: reports of its model and ends of its tools move its loop on, until it ends.

Each call of the model is an attempt of the task: its start is owed like that of any attempt, and known by its id. The
task's end is a message that the outbox owes the Agent's inbox, from where it is routed like all ends.
"""

import json
from dataclasses import replace
from typing import Final

from heed.api.status import PendingTask
from heed.core.codec.canonical_json import dump_compact
from heed.core.decision.loop_ends import owe_end
from heed.core.decision.loop_start import find_rules
from heed.core.decision.model import Outcome
from heed.core.decision.model_budgets import read_accounts, write_accounts
from heed.core.decision.step import Step
from heed.core.decision.tools import ToolStarts
from heed.core.effects import Effect, Publish, StartTask
from heed.core.ledger.ledger import add_to_totals
from heed.core.llm.budget import Accounts
from heed.core.llm.loop_record import LoopRecord
from heed.core.llm.model_answer import Failure, FailureReason, shorten_message
from heed.core.llm.task_terms import read_terms
from heed.core.llm.token_estimate import TOKENS_PER_ENTRY, most_tokens
from heed.core.llm.tool_text import cut_text, tool_text
from heed.core.llm.turn_events import (
    Action,
    CallModel,
    CompleteTask,
    FailTask,
    Happening,
    StartTool,
    ToolEnded,
    ToolRefused,
    TurnReport,
)
from heed.core.llm.turn_loop import LoopRules, LoopState, advance_loop
from heed.core.llm.turn_report import report_from_json
from heed.core.tasks.retry import add_delay
from heed.core.tasks.slots import enqueue
from heed.core.tasks.work import begin_attempt, progress_event

MAX_LOOP_BYTES: Final = 64 * 1024
TOO_LARGE: Final = "TurnTooLarge"


def take_report(step: Step, task_id: str, record: PendingTask) -> Outcome:
    """What a worker says of the call of the model that it was given."""
    if record.loop is None or record.tools is not None:
        return "stale"
    state = LoopRecord.load(record.loop).state
    report = report_from_json(step.event.data, state.turn, state.attempt)
    step.event = progress_event(task_id, record, step.event)
    return _advance(step, task_id, record, report)


def take_lost_call(step: Step, task_id: str, record: PendingTask) -> Outcome:
    """A call of the model that ended without a report: its worker was lost, or its time was over."""
    if record.tools is not None:
        return "stale"
    state, data = LoopRecord.load(record.loop or "").state, step.event.data
    data = data if isinstance(data, dict) else {}
    message = shorten_message(f"{data.get('reason') or 'Unknown'}: {data.get('message') or 'no report came'}")
    failure = Failure(FailureReason.ENDPOINT_AWAY, message)
    return _advance(step, task_id, record, TurnReport(state.turn, state.attempt, failure=failure))


def take_tool_end(step: Step, ended: PendingTask, *, completed: bool) -> Outcome:
    """The end of a tool's task, which has left the ledger, as the result of its call."""
    parent = ended.parent
    record = None if parent is None else step.ledger.pending_tasks.get(parent.task)
    if parent is None or record is None or record.loop is None:
        return "turns"
    calls = len(LoopRecord.load(record.loop).state.calls)
    text = cut_text(tool_text(step.event.data, completed=completed), calls)
    tokens = most_tokens(text) + TOKENS_PER_ENTRY
    happening = ToolEnded(parent.turn, parent.call, str(step.received.sequence), tokens)
    _advance(step, parent.task, record, happening)
    return "turns"


def _advance(step: Step, task_id: str, record: PendingTask, happening: Happening) -> Outcome:
    """Move a loop on, and owe what it asks for. Of one that has ended there is nothing left to be owed."""
    if record.owed is None:
        return "stale"
    loop, terms = LoopRecord.load(record.loop or ""), read_terms(json.loads(record.owed)["spec"])
    rules = find_rules(step, task_id, record, terms)
    accounts = read_accounts(step.budgets, loop.accounts, rules.limits)
    moved = advance_loop(loop.state, accounts, happening, rules)
    if moved.state is loop.state:
        return "stale"
    tools = ToolStarts(step, task_id, record, terms.tools)
    state, accounts, last = _start_tools(tools, moved.state, moved.accounts, list(moved.actions), rules)
    own = write_accounts(step, accounts, record.session)
    dumped = LoopRecord(state, own).dump()
    if last is None and len(dumped.encode()) > MAX_LOOP_BYTES:
        tools.drop()
        message = (
            f"what its calls of tools pass exceeds {MAX_LOOP_BYTES} bytes; let the model pass references"
        )
        last = FailTask(TOO_LARGE, message)
    starting = dict(tools.started)
    changed = replace(record, loop=dumped, attempt_deadline=None)
    match last:
        case CallModel():
            changed = _owe_call(step, changed, state, last)
            if changed.phase == "Owed":
                starting[task_id] = changed
        case CompleteTask() | FailTask():
            changed = owe_end(step, task_id, changed, last)
        case _:
            under_way = sum(call.started and not call.is_over for call in state.calls)
            changed = replace(changed, phase="Started", tools=under_way)
    _keep(step, {task_id: changed}, starting, len(tools.started))
    return "turns"


def _start_tools(
    tools: ToolStarts, state: LoopState, accounts: Accounts, actions: list[Action], rules: LoopRules
) -> tuple[LoopState, Accounts, Action | None]:
    """Start the tools that a loop asks for; the model is told of those that are refused. The action that is left."""
    last: Action | None = None
    while actions:
        action = actions.pop(0)
        if not isinstance(action, StartTool):
            last = action
        elif (problem := tools.start(action)) is not None:
            refused = ToolRefused(action.turn, action.call_id, problem)
            moved = advance_loop(state, accounts, refused, rules)
            state, accounts = moved.state, moved.accounts
            actions += moved.actions
    return state, accounts, last


def _owe_call(step: Step, record: PendingTask, state: LoopState, call: CallModel) -> PendingTask:
    """The record that owes the next call of the model, at once or later. The prompt is in the transcript by then."""
    at = step.received.at
    owed = json.loads(record.owed or "{}")
    if state.turn > 1 and "messages" in owed["spec"]:
        spec = {name: value for name, value in owed["spec"].items() if name != "messages"}
        record = replace(record, owed=dump_compact({**owed, "spec": spec}))
    record = replace(record, attempt=record.attempt + 1, tools=None)
    if call.after_s > 0:
        return replace(record, phase="Retrying", due=add_delay(at, call.after_s), queue=None)
    return begin_attempt(record, at)


def _keep(step: Step, changed: dict[str, PendingTask], starting: dict[str, PendingTask], tools: int) -> None:
    """Take it all into the ledger, and as effects."""
    ledger, at = step.ledger, step.received.at
    started = enqueue(step.program.slots, ledger.pending_tasks, starting, at)
    effects: list[Effect] = [
        StartTask(task_id, record) for task_id, record in started.items() if record.tools is None
    ]
    step.effects = (*effects, *(Publish(key, message) for key, message in step.loop_ends.items()))
    step.ledger = replace(
        ledger,
        totals=add_to_totals(ledger.totals, tasks_started=tools),
        pending_tasks={**ledger.pending_tasks, **changed, **started},
        outbox={**ledger.outbox, **step.loop_ends} if step.loop_ends else ledger.outbox,
        budgets=step.budgets,
    )
