"""What an approval asks. Fixed when the task starts: its answers are judged by it whatever is edited later."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from heed.api.status import PendingTask
from heed.api.task import ApprovalSpec
from heed.core.codec.canonical_json import dump_compact
from heed.core.ledger.ledger import Ledger
from heed.errors import DecisionFailed

KIND: Final = "approval"
FAIL: Final = "Fail"  # as `onTimeout`; choices begin with a small letter or a digit
MAX_TITLE_CHARS: Final = 256
MAX_DETAILS_BYTES: Final = 8 * 1024
MAX_APPROVER_CHARS: Final = 256
MAX_REQUEST_BYTES: Final = 24 * 1024


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """What is asked, rendered. `choices` are labels by name.

    `fields` is a JSON Schema, None where there is nothing to fill in. `where` is CEL. `on_timeout` is FAIL or a choice.
    No `users` and no `groups` restrict nothing.
    """

    title: str
    details: str
    choices: Mapping[str, str]
    fields: Mapping[str, Any] | None = None
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    where: str | None = None
    on_timeout: str = FAIL

    @classmethod
    def render(cls, spec: ApprovalSpec, rendered: Any) -> Self:
        """The request of a manifest's approval, with its templates rendered. Raises DecisionFailed: BadApproval."""
        who = rendered["approvers"]
        return cls(
            title=_text(rendered["title"], "title", MAX_TITLE_CHARS, lines=False),
            details=_text(rendered.get("details", ""), "details", MAX_DETAILS_BYTES),
            choices={choice.name: choice.label or choice.name for choice in spec.choices},
            fields=spec.fields,
            users=_names(who["users"], "users"),
            groups=_names(who["groups"], "groups"),
            where=None if spec.approvers is None else spec.approvers.where,
            on_timeout=spec.on_timeout,
        )

    def to_json(self) -> str:
        """As a pending task's record keeps it. Raises DecisionFailed: BadApproval, where it is too large."""
        document = {
            "title": self.title,
            "details": self.details,
            "choices": [{"name": name, "label": label} for name, label in self.choices.items()],
            "fields": None if self.fields is None else dict(self.fields),
            "onTimeout": self.on_timeout,
            "approvers": {"users": list(self.users), "groups": list(self.groups), "where": self.where},
        }
        text = dump_compact(document)
        if len(text.encode()) > MAX_REQUEST_BYTES:
            message = f"what is asked exceeds {MAX_REQUEST_BYTES} bytes; shorten it, or link to what is long"
            raise DecisionFailed("BadApproval", message)
        return text

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` made. Raises ValueError, KeyError or TypeError for anything else."""
        document = json.loads(text)
        who = document["approvers"]
        return cls(
            title=document["title"],
            details=document["details"],
            choices={item["name"]: item["label"] for item in document["choices"]},
            fields=document["fields"],
            users=tuple(who["users"]),
            groups=tuple(who["groups"]),
            where=who["where"],
            on_timeout=document["onTimeout"],
        )


@dataclass(frozen=True, slots=True)
class PendingApproval:
    """An approval that waits for an answer. `session_started_at` is what its conditions see of its session."""

    task_id: str
    record: PendingTask
    request: ApprovalRequest
    session_started_at: str

    @property
    def until(self) -> str | None:
        """When it is too late for an answer (RFC 3339); None: never."""
        return self.record.due or self.record.deadline


def find_approval(ledger: Ledger, task_id: str) -> PendingApproval | None:
    """The approval of that id that waits for an answer; None where there is none, or it is being cancelled."""
    record = ledger.pending_tasks.get(task_id)
    if record is None or record.kind != KIND or record.phase != "Started":
        return None
    try:
        request = ApprovalRequest.from_json(record.request or "")
    except (ValueError, KeyError, TypeError):  # somebody wrote the status
        return None
    session = ledger.sessions.get(record.session)
    return PendingApproval(task_id, record, request, session.started_at if session else record.started_at)


def _text(value: Any, member: str, most: int, *, lines: bool = True) -> str:
    if not isinstance(value, str):
        raise DecisionFailed("BadApproval", f"{member} yields no text; wrap it in string(…)")
    if len(value.encode()) > most or (not lines and any(ord(letter) < 32 for letter in value)):
        form = "" if lines else " of one line"
        raise DecisionFailed(
            "BadApproval", f"{member} has to be text{form} of at most {most} bytes; shorten it"
        )
    if not value and not lines:
        raise DecisionFailed("BadApproval", f"{member} is empty; say what is asked")
    return value


def _names(values: Any, member: str) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str) or not 0 < len(value) <= MAX_APPROVER_CHARS:
            message = f"approvers.{member} yields what is no name of 1 to {MAX_APPROVER_CHARS} characters"
            raise DecisionFailed("BadApproval", f"{message}; give each item one name")
    return tuple(values)
