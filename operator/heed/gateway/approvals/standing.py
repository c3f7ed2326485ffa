"""How an approval stands for a link to it, and where approvals are found and answered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from heed.api.status import RecentTask, TakenAnswer
from heed.core.approval.answer import Answer
from heed.core.approval.request import PendingApproval, find_approval
from heed.core.effects import AgentRef
from heed.core.ledger.ledger import Ledger

FOREIGN_REASON: Final = "NotAnApprover"
FOREIGN: Final = "what the approval asks of who answers does not hold for it"  # a page does not say who may


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the gateway is for those that judge its answers: its user and groups."""

    user: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AskingAgent:
    """An Agent, and its ledger as far as approvals go."""

    ref: AgentRef
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class LinkAnswer:
    """The answer that was given by a link. `accepted` is None while that is not known yet; `message` says why not."""

    choice: str
    at: str
    accepted: bool | None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of the approval of a link, and of the answer that was given by it, if one was.

    `approval` waits for an answer. `ended` is the task, where it has ended.
    """

    agent: AskingAgent
    approval: PendingApproval | None
    ended: RecentTask | None
    given: LinkAnswer | None

    @property
    def taken(self) -> TakenAnswer | None:
        """The answer that ended it, by this link or not."""
        return None if self.ended is None else self.ended.answer


class ApprovalBoard(Protocol):
    """Where approvals wait and are answered."""

    async def identity(self, approval: PendingApproval | None = None) -> Identity:
        """As whom it answers: this approval, or any. Raises RequestRefused."""

    async def find(self, namespace: str, name: str) -> AskingAgent | None:
        """An Agent; None where there is none. Raises RequestRefused."""

    async def given(self, agent: AskingAgent, task: str, name: str) -> LinkAnswer | None:
        """The answer of this name to a task, where it was given already. Raises RequestRefused."""

    async def give(self, agent: AskingAgent, approval: PendingApproval, answer: Answer) -> bool:
        """Give an answer; False where there is one of its name already. Raises RequestRefused."""


async def look_up(board: ApprovalBoard, agent: AskingAgent, task: str, name: str) -> Standing:
    """How the approval stands for a link whose answer has this name. Raises RequestRefused."""
    ended = next((item for item in agent.ledger.recent_tasks if item.id == task), None)
    given = taken_by_link(ended, name) or await board.given(agent, task, name)
    return Standing(agent, find_approval(agent.ledger, task), ended, given)


def taken_by_link(ended: RecentTask | None, name: str) -> LinkAnswer | None:
    """The answer of this name, where it ended the task."""
    taken = None if ended is None else ended.answer
    return LinkAnswer(taken.choice, taken.at, True) if taken is not None and taken.name == name else None


def answer_body(agent: AgentRef, task: str, answer: Answer) -> Mapping[str, object]:
    """The spec of the ApprovalAnswer that an answer becomes."""
    return {
        "agent": agent.name,
        "task": task,
        "choice": answer.choice,
        "fields": dict(answer.fields),
        "comment": answer.comment,
        "user": answer.user,
        "groups": list(answer.groups),
    }
