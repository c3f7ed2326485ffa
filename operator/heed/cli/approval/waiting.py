"""Approvals that wait, as they are found in ledgers, and which of them somebody means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from heed.api.status import RecentTask
from heed.cli.output import BadInput, CliError
from heed.core.approval.request import PendingApproval, find_approval
from heed.core.approval.status_reader import read_approvals
from heed.core.effects import AgentRef


@dataclass(frozen=True, slots=True)
class WaitingApproval:
    """An approval that waits, and the Agent that asks."""

    agent: AgentRef
    approval: PendingApproval

    def describe(self) -> dict[str, Any]:
        """It as data."""
        approval = self.approval
        record, request = approval.record, approval.request
        return {
            "namespace": self.agent.namespace,
            "agent": self.agent.name,
            "task": approval.task_id,
            "name": record.task,
            "session": record.session,
            "title": request.title,
            "details": request.details,
            "choices": [{"name": name, "label": label} for name, label in request.choices.items()],
            "fields": request.fields,
            "approvers": {
                "users": list(request.users),
                "groups": list(request.groups),
                "where": request.where,
            },
            "startedAt": record.started_at,
            "until": approval.until,
            "onTimeout": request.on_timeout,
        }


@dataclass(frozen=True, slots=True)
class Found:
    """What some Agents' ledgers have: approvals that wait, and tasks that ended lately."""

    waiting: Sequence[WaitingApproval] = ()
    ended: Mapping[str, tuple[AgentRef, RecentTask]] = field(default_factory=dict)

    @classmethod
    def in_statuses(cls, statuses: Sequence[tuple[AgentRef, Mapping[str, Any]]]) -> "Found":
        """From Agents' statuses, as JSON. What cannot be read has none."""
        waiting: list[WaitingApproval] = []
        ended: dict[str, tuple[AgentRef, RecentTask]] = {}
        for agent, status in statuses:
            ledger = read_approvals(status)
            there = (find_approval(ledger, task_id) for task_id in ledger.pending_tasks)
            waiting += [WaitingApproval(agent, approval) for approval in there if approval is not None]
            ended |= {item.id: (agent, item) for item in ledger.recent_tasks}
        waiting.sort(key=lambda item: (item.approval.record.started_at, item.approval.task_id))
        return cls(tuple(waiting), ended)

    def choose(self, text: str) -> WaitingApproval:
        """The approval with that id, or the only one whose id begins so. Raises BadInput, CliError."""
        exact = [item for item in self.waiting if item.approval.task_id == text]
        matching = exact or [item for item in self.waiting if item.approval.task_id.startswith(text)]
        if len(matching) > 1:
            ids = ", ".join(f"{item.agent}: {item.approval.task_id}" for item in matching[:5])
            raise BadInput(f"{text} may be any of {len(matching)} approvals; say more of it: {ids}")
        if not matching:
            raise CliError(self._why_not(text))
        return matching[0]

    def _why_not(self, text: str) -> str:
        ended = [item for key, item in self.ended.items() if key.startswith(text)]
        if len(ended) == 1:
            _, recent = ended[0]
            if recent.answer is not None:
                taken = recent.answer
                return f"{recent.id}: {taken.user} answered {taken.choice} at {taken.at}, and was first"
            how = recent.reason or "nobody had answered in time, and onTimeout chose"
            return f"{recent.id} ended at {recent.ended_at}: {how}"
        return f"no approval {text} waits here; `heed approvals -A` shows which do"
