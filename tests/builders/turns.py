"""Agents whose task asks a model, what its worker says, and what is pending."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from heed import names
from heed.api.status import PendingTask
from heed.core.cel.template import compile_template
from heed.core.compiler.program import Program, TaskTemplate
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger
from heed.core.llm.loop_record import LoopRecord
from heed.core.llm.model_answer import Failure, FailureReason, Usage
from heed.core.llm.transcript import ToolCall
from heed.core.llm.turn_events import TurnReport
from heed.core.llm.turn_report import report_to_json
from tests.builders.agents import AGENT, NAMESPACE, asking, job, nap, program
from tests.builders.events import received

HALT, STOP, LATER = "com.example.halt", "com.example.stop", "com.example.later"
HEARD = {"data": "${event.data}", "kind": "${task.kind}"}
TOOLS = [
    {"task": "lookup", "description": "Looks something up."},
    {"task": "refund", "name": "pay_back", "description": "Pays back."},
    {"task": "pause"},
]


def model_spec(**more: Any) -> dict[str, Any]:
    """The template of a task that asks a model, with three tools."""
    return {
        "baseURL": "https://models.example.com/v1",
        "model": "small",
        "maxOutputTokens": 100,
        "messages": [{"role": "user", "text": "${event.data.question}"}],
        "tools": TOOLS,
        **more,
    }


def asking_model(
    spec: dict[str, Any] | None = None, *, attempt_timeout: int | None = None, **more: Any
) -> Program:
    """An Agent that asks a model at each question, and remembers how that ended."""
    tasks = {
        "ask": job(),
        "lookup": job("${input.what}", "${event.data.question}"),
        "refund": asking("Pay ${input.amount} back?"),
        "pause": nap("1m"),
    }
    compiled = program(
        {"name": "begin", "start": [{"task": "ask"}]},
        {"name": "halt", "type": HALT, "cancel": [{"task": "ask"}]},
        {"name": "stop", "type": STOP, "end": True},
        {"name": "later", "type": LATER, "state": {"topic": "sand"}},
        {"name": "done", "type": names.TASK_COMPLETED, "state": {"done": HEARD}},
        {"name": "failed", "type": names.TASK_FAILED, "state": {"failed": HEARD}},
        tasks=tasks,
        **more,
    )
    template = TaskTemplate(
        "ask", "llm", compile_template(spec or model_spec()), None, 3600, attempt_timeout=attempt_timeout
    )
    return replace(compiled, tasks={**compiled.tasks, "ask": template})


def model_question(sequence: int = 1, session: str = "s") -> Received:
    """What makes the Agent ask its model."""
    return received(sequence, data={"question": "How are you?"}, correlationid=session)


def find_ask(ledger: Ledger) -> tuple[str, PendingTask]:
    """The one task that asks a model, and its id."""
    (found,) = [item for item in ledger.pending_tasks.items() if item[1].kind == "llm"]
    return found


def list_tools(ledger: Ledger) -> dict[str, PendingTask]:
    """The tasks that a model has called."""
    return {key: record for key, record in ledger.pending_tasks.items() if record.parent is not None}


def loop_of(record: PendingTask) -> LoopRecord:
    """Where a task's loop is."""
    assert record.loop is not None
    return LoopRecord.load(record.loop)


def tool_call(identity: str, name: str = "lookup", **arguments: Any) -> ToolCall:
    """A call of a tool."""
    return ToolCall(identity, name, "", arguments)


def turn_made(
    sequence: int, ledger: Ledger, *calls: ToolCall, task: str | None = None, **more: Any
) -> Received:
    """The report of the call of the model that is under way: it wants these tools, or says `result`."""
    task_id, record = (task, ledger.pending_tasks[task]) if task else find_ask(ledger)
    state = loop_of(record).state
    more.setdefault("usage", Usage(40, 10))
    report = TurnReport(state.turn, state.attempt, calls, **more)
    return told_by_worker(sequence, names.attempt_id(task_id, record.attempt), report_to_json(report))


def told_by_worker(sequence: int, attempt_id: str, data: Any, *, type_: str = names.TASK_TURN) -> Received:
    """What a worker says on the subject of an attempt."""
    source = names.agent_source(NAMESPACE, AGENT)
    event = received(sequence, type_, data, id_=names.digest("turn", attempt_id), source=source)
    return replace(event, subject=names.task_subject(NAMESPACE, AGENT, attempt_id, type_))


def endpoint_away(**more: Any) -> Failure:
    """An endpoint that was not there."""
    return Failure(FailureReason.ENDPOINT_AWAY, "connection refused", **more)
