"""Answers to approvals, and who may give which: the same answer to the same question is judged alike everywhere."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal

from heed import names
from heed.core.approval.request import PendingApproval
from heed.core.cel.expression import Expression, ExpressionError, Scope, compile_expression
from heed.core.cel.polynomial import DataLimit
from heed.core.cel.variables import APPROVER_VARIABLES
from heed.core.codec.canonical_json import canonicalize, dump_compact
from heed.core.codec.strict_json import MAX_JSON_DEPTH, measure_depth
from heed.core.schema.cost import SchemaRefused
from heed.core.schema.validator import SchemaValidator
from heed.errors import DecisionFailed

MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_COMMENT_CHARS: Final = 4096
_COMPILED: Final = 256  # conditions and schemas that are kept compiled

Reason = Literal["UnknownChoice", "InvalidFields", "NotAnApprover", "Expired", "TooLarge"]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. `user` and `groups` are who the API server says that it is from; `at` is when (RFC 3339).

    `name` is that of the ApprovalAnswer.
    """

    name: str
    choice: str
    user: str
    at: str
    groups: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an answer does not count: CamelCase for machines, a sentence for people."""

    reason: Reason
    message: str


def check_answer(approval: PendingApproval, answer: Answer) -> Refusal | None:
    """Why an answer to an approval that waits for one does not count; None where it does."""
    return (
        _check_time(approval, answer)
        or _check_size(answer)
        or _check_choice(approval, answer)
        or check_approver(approval, answer)
        or _check_fields(approval, answer)
        or _check_condition(approval, answer)
    )


def _check_time(approval: PendingApproval, answer: Answer) -> Refusal | None:
    if approval.until is None or _moment(answer.at) <= _moment(approval.until):
        return None
    return Refusal("Expired", f"it could be answered until {approval.until}, and this came at {answer.at}")


def _check_size(answer: Answer) -> Refusal | None:
    if len(answer.comment) > MAX_COMMENT_CHARS:
        return Refusal("TooLarge", f"comment: has more than {MAX_COMMENT_CHARS} characters; shorten it")
    if measure_depth(answer.fields) > MAX_JSON_DEPTH:
        return Refusal("InvalidFields", f"fields: nest deeper than {MAX_JSON_DEPTH} levels; flatten them")
    if len(dump_compact([dict(answer.fields), answer.comment, answer.groups]).encode()) > MAX_ANSWER_BYTES:
        return Refusal("TooLarge", f"the answer exceeds {MAX_ANSWER_BYTES} bytes; send references instead")
    return None


def _check_choice(approval: PendingApproval, answer: Answer) -> Refusal | None:
    if answer.choice in approval.request.choices:
        return None
    known = ", ".join(approval.request.choices)
    return Refusal("UnknownChoice", f"{json.dumps(answer.choice)} cannot be chosen; choices are: {known}")


def check_approver(approval: PendingApproval, answer: Answer) -> Refusal | None:
    """Why an answer of this user does not count, whatever it is; None where it may, or `where` is to say so."""
    request = approval.request
    if not request.users and not request.groups:
        return None
    if answer.user in request.users or not set(request.groups).isdisjoint(answer.groups):
        return None
    parts = []
    if request.users:
        parts.append(f"the users {', '.join(request.users)}")
    if request.groups:
        parts.append(f"the groups {', '.join(request.groups)}")
    return Refusal("NotAnApprover", f"{answer.user} is not among {' or in '.join(parts)}")


def _check_fields(approval: PendingApproval, answer: Answer) -> Refusal | None:
    schema = approval.request.fields
    if schema is None:
        if not answer.fields:
            return None
        given = ", ".join(list(answer.fields)[:3])
        return Refusal("InvalidFields", f"fields: has {given}, and this approval asks for none")
    try:
        checker = _validator(dump_compact(dict(schema)))
    except SchemaRefused as refused:
        return Refusal("InvalidFields", f"the approval's schema of fields cannot be used: {refused.message}")
    fields = canonicalize(dict(answer.fields), stored=True)
    if not checker.limit.allows(fields):
        return Refusal("TooLarge", "fields: are too much to be checked against their schema; send less")
    problem = checker.problem(fields)
    return None if problem is None else Refusal("InvalidFields", "fields" + problem.removeprefix("data"))


def _check_condition(approval: PendingApproval, answer: Answer) -> Refusal | None:
    source = approval.request.where
    if source is None:
        return None
    record = approval.record
    variables = {
        "answer": {
            "user": answer.user,
            "groups": list(answer.groups),
            "choice": answer.choice,
            "fields": canonicalize(dict(answer.fields), stored=True),
            "comment": answer.comment,
        },
        "input": record.input,
        "task": {
            "id": approval.task_id,
            "name": record.task,
            "kind": record.kind,
            "startedAt": record.started_at,
            "attempt": record.attempt,
        },
        "session": {"key": record.session, "startedAt": approval.session_started_at},
    }
    try:
        condition, limit = _condition(source)
        if not limit.allows(variables):
            return Refusal("TooLarge", "the answer is too much for approvers.where; send less")
        if condition.holds(Scope(variables)):
            return None
    except (ExpressionError, DecisionFailed) as error:
        return Refusal("NotAnApprover", f"approvers.where cannot be evaluated: {error}"[:1000])
    return Refusal("NotAnApprover", f"approvers.where is false for {answer.user}: {source}"[:1000])


@lru_cache(maxsize=_COMPILED)
def _condition(source: str) -> tuple[Expression, DataLimit]:
    condition = compile_expression(source, condition=True, known=APPROVER_VARIABLES)
    return condition, DataLimit.of(condition.cost.work)


@lru_cache(maxsize=_COMPILED)
def _validator(schema: str) -> SchemaValidator:
    return SchemaValidator(json.loads(schema))


def _moment(at: str) -> datetime:
    return datetime.fromisoformat(at)


def answer_id(uid: str) -> str:
    """The id of the event that an answer becomes, from what identifies the answer."""
    return names.digest("answer", uid)
