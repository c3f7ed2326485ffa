"""What came of a call of a model: an answer, or a failure with its reason and whether to try again."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

from heed.core.llm.transcript import MALFORMED_ARGUMENTS, UNKNOWN_TOOL, AssistantTurn
from heed.errors import POLICY_VIOLATION

MAX_MESSAGE_CHARS: Final = 400


class FailureReason(StrEnum):
    """Why a call, or the task that makes it, failed."""

    RATE_LIMITED = "RateLimited"  # too many requests or tokens for now
    QUOTA_GONE = "QuotaGone"  # the account has no credit left
    NOT_AUTHORIZED = "NotAuthorized"  # the key is wrong, or may not use the model
    INVALID_REQUEST = "InvalidRequest"  # the endpoint does not take this request: model, members, schema
    CONTEXT_OVERFLOW = "ContextOverflow"  # the transcript is longer than the model's window
    SILENTLY_TRUNCATED = "SilentlyTruncated"  # the endpoint read less than was sent, and said nothing
    CONTENT_FILTERED = "ContentFiltered"  # a filter of the endpoint's, before or after the model
    REFUSED = "Refused"  # the model itself declined
    CUT_SHORT = "CutShort"  # the answer reached the limit of output tokens
    MALFORMED_TOOL_ARGUMENTS = MALFORMED_ARGUMENTS  # no JSON object, or not of the tool's schema
    UNKNOWN_TOOL = UNKNOWN_TOOL  # a call of a tool that was not offered
    EMPTY_ANSWER = "EmptyAnswer"  # neither text nor calls
    WRONG_SCHEMA = "WrongSchema"  # the answer is not of the output's schema
    INVALID_ANSWER = "InvalidAnswer"  # what came back is no answer of this API
    ENDPOINT_AWAY = "EndpointAway"  # no connection, no answer in time, or an error of the server's
    POLICY_VIOLATION = POLICY_VIOLATION  # nothing may be sent there
    BUDGET_EXCEEDED = "BudgetExceeded"  # the next call could cross a limit


RetryRule = Literal["never", "again", "repair"]
# `again`: the same request after a while. `repair`: one more turn in which the model is told what was wrong.
RETRY_RULES: Final[Mapping[FailureReason, RetryRule]] = {
    FailureReason.RATE_LIMITED: "again",
    FailureReason.QUOTA_GONE: "never",
    FailureReason.NOT_AUTHORIZED: "never",
    FailureReason.INVALID_REQUEST: "never",
    FailureReason.CONTEXT_OVERFLOW: "never",
    FailureReason.SILENTLY_TRUNCATED: "never",
    FailureReason.CONTENT_FILTERED: "never",
    FailureReason.REFUSED: "never",
    FailureReason.CUT_SHORT: "never",
    FailureReason.MALFORMED_TOOL_ARGUMENTS: "repair",
    FailureReason.UNKNOWN_TOOL: "repair",
    FailureReason.EMPTY_ANSWER: "again",
    FailureReason.WRONG_SCHEMA: "repair",
    FailureReason.INVALID_ANSWER: "again",
    FailureReason.ENDPOINT_AWAY: "again",
    FailureReason.POLICY_VIOLATION: "never",
    FailureReason.BUDGET_EXCEEDED: "never",
}


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a call, as the endpoint counted them; `cached` are among the input, `reasoning` among the output."""

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.input + self.output


@dataclass(frozen=True, slots=True)
class EndpointAnswer:
    """An answer over HTTP, read whole. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's turn. `output` is the value of a structured answer; `problem` says why there is none.

    `finish` is what the endpoint said, and nothing goes by it but a cut or filtered answer: OpenAI says `stop` beside
    a named tool's call, vLLM said `stop` for required ones and says `tool_calls` beside an empty list.
    `usage` is None where the endpoint does not count. `model` is the one that answered.
    """

    turn: AssistantTurn
    finish: str
    model: str
    usage: Usage | None = None
    output: Any = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that gave no turn. `retry_after_s` is the least time to wait.

    `usage` is what was paid all the same, where it was counted; `unpaid` says that nothing was: the endpoint refused,
    or was never reached.
    """

    reason: FailureReason
    message: str
    retry_after_s: float = 0.0
    usage: Usage | None = None
    status: int = 0
    unpaid: bool = False

    @property
    def rule(self) -> RetryRule:
        """Whether to try again, and how."""
        return RETRY_RULES[self.reason]


Outcome = Answer | Failure


def count(value: Any) -> int:
    """A number of tokens from an endpoint; 0 for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def shorten_message(text: str) -> str:
    """A sentence of an endpoint's for people: one line, not too long."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_MESSAGE_CHARS else line[: MAX_MESSAGE_CHARS - 1] + "…"
