"""Tools of models: each call of one is a task of the same session, started like those of handlers.

What keeps it from being started is told to the model instead.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from heed import names
from heed.api.status import PendingTask, ToolParent
from heed.core.codec.cloudevents_json import event_from_json
from heed.core.decision import quotas
from heed.core.decision.event_variables import build_variables
from heed.core.decision.guard import NEEDS_GUARD
from heed.core.decision.model import HandlerResult, StartRequest, estimate_growth
from heed.core.decision.outputs import measure_task, render_task
from heed.core.decision.requests import MAX_DECISION_BYTES, canonicalize_output
from heed.core.decision.sessions import find_session
from heed.core.decision.step import Step
from heed.core.effects import StartTask
from heed.core.llm.turn_events import StartTool
from heed.errors import DecisionFailed


class ToolStarts:
    """The tools that one decision starts for a task, by the ids of their tasks."""

    def __init__(self, step: Step, parent: str, record: PendingTask, tools: Mapping[str, str]) -> None:
        self._step, self._parent, self._record, self._tools = step, parent, record, tools
        self._variables: dict[str, Any] | None = None
        self._size, self._rate = 0, step.ledger.task_rate
        self.started: dict[str, PendingTask] = {}

    def start(self, action: StartTool) -> str | None:
        """Start the task of a call. What keeps it from that, as a sentence for the model. Raises NeedsGuard."""
        step = self._step
        name = self._tools.get(action.name)
        if name is None or name not in step.program.tasks:
            return f"The tool {action.name} is not there any more."
        task_id = names.tool_id(self._parent, action.turn, action.index, name)
        before, ends, event = step.budgets, dict(step.loop_ends), step.event
        try:
            record = self._render(task_id, name, action)
        except DecisionFailed as failure:
            if failure.code == NEEDS_GUARD:
                raise
            step.budgets, step.loop_ends = before, ends
            return f"The tool was not started: {failure.code}: {failure.message}"
        finally:
            step.event = event
        self.started[task_id] = record
        step.ledger = replace(
            step.ledger, task_rate=quotas.count_starts(step.program.permissions.limits, step.ledger, 1)
        )
        return None

    def drop(self) -> None:
        """Start none of them after all: nothing of it was kept."""
        self.started = {}
        self._step.loop_ends = {}
        self._step.ledger = replace(self._step.ledger, task_rate=self._rate)

    def _render(self, task_id: str, name: str, action: StartTool) -> PendingTask:
        step, path = self._step, f"the arguments of {action.name}"
        request = StartRequest("", name, canonicalize_output(dict(action.arguments), path))
        tasks = {**step.ledger.pending_tasks, **self.started}
        asked = HandlerResult({}, starts=[request])
        quotas.check_starts(
            step.program.permissions.limits, replace(step.ledger, pending_tasks=tasks), {}, asked
        )
        variables = self._build_variables()
        record = render_task(step, variables, request, task_id)
        self._check_room(task_id, record)
        return replace(record, parent=ToolParent(self._parent, action.turn, action.call_id))

    def _build_variables(self) -> dict[str, Any]:
        """What the tools' templates read: the event that started the task, and the session as it is now.

        Sets the step's event to that one, from whose place in the flow the tools begin.
        """
        step = self._step
        document = json.loads(self._record.owed or "{}")["document"]
        step.event = event_from_json(document["event"])
        if self._variables is None:
            step.key = self._record.session
            step.session = find_session(step.ledger, step.key, step.received, step.event)
            self._variables = {
                **build_variables(step.program, step.event),
                "session": {"key": step.key, "startedAt": step.session.started_at},
                "state": dict(step.session.state),
            }
        return self._variables

    def _check_room(self, task_id: str, record: PendingTask) -> None:
        """Raise DecisionFailed where one decision, or the status, cannot take another task."""
        self._size += measure_task(record)
        if self._size > MAX_DECISION_BYTES:
            raise DecisionFailed(
                "DecisionTooLarge", f"the tools of one turn take more than {MAX_DECISION_BYTES} bytes"
            )
        growth = estimate_growth([StartTask(key, item) for key, item in self.started.items()], 0)
        growth += estimate_growth([StartTask(task_id, record)], 0)
        if self._step.headroom is not None and growth > self._step.headroom.left:
            raise DecisionFailed("StatusFull", "the Agent's status is full")
