"""What both APIs' answers have in common: a body that is read, and what a turn comes to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn

from heed.core.llm.endpoint_errors import read_error, read_error_member
from heed.core.llm.model_answer import (
    Answer,
    EndpointAnswer,
    Failure,
    FailureReason,
    Outcome,
    Usage,
    shorten_message,
)
from heed.core.llm.model_call import ModelCall
from heed.core.llm.output_schema import read_output
from heed.core.llm.tool_calls import MAX_CALLS
from heed.core.llm.transcript import AssistantTurn

FILTERED: Final = frozenset(("content_filter", "safety", "prohibited_content", "recitation"))
CUT: Final = frozenset(("length", "max_tokens", "max_output_tokens"))


@dataclass(frozen=True, slots=True)
class AnswerParts:
    """An answer taken apart, not judged yet. `finish` and `refusal` are empty where there is none."""

    turn: AssistantTurn
    finish: str
    model: str
    refusal: str
    usage: Usage | None


def read_body(answer: EndpointAnswer, call: ModelCall, now: datetime) -> Mapping[str, Any] | Failure:
    """The object in an answer's body, or the failure that the answer is."""
    if not 200 <= answer.status < 300:
        return read_error(answer, call.estimate.most, now)
    try:
        body = json.loads(answer.body.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return Failure(FailureReason.INVALID_ANSWER, "the answer is no JSON", status=answer.status)
    if not isinstance(body, Mapping):
        return Failure(FailureReason.INVALID_ANSWER, "the answer is no JSON object", status=answer.status)
    if body.get("error"):  # OpenRouter, with status 200; a response that failed
        return read_error_member(body["error"], now, answer.headers)
    return body


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def conclude_answer(parts: AnswerParts, call: ModelCall) -> Outcome:
    """The answer, or why it is none. The finish reason counts only where it says that something is missing."""
    problem = _find_problem(parts, call)
    if problem is not None:
        reason, message = problem
        return Failure(reason, shorten_message(message), usage=parts.usage)
    answer = Answer(parts.turn, parts.finish, parts.model, parts.usage)
    if call.settings.output is None or parts.turn.calls:
        return answer
    value, mismatch = read_output(parts.turn.text, call.settings.output)
    return Answer(parts.turn, parts.finish, parts.model, parts.usage, value, mismatch)


def _find_problem(parts: AnswerParts, call: ModelCall) -> tuple[FailureReason, str] | None:
    finish, turn = parts.finish.lower(), parts.turn
    if finish in FILTERED:
        return FailureReason.CONTENT_FILTERED, "the endpoint's filter stopped the answer"
    if parts.usage is not None and 0 < parts.usage.input < call.estimate.least:
        read = f"the endpoint read {parts.usage.input} tokens of a request of at least {call.estimate.least}"
        return FailureReason.SILENTLY_TRUNCATED, f"{read}: it cut the transcript; give it a larger context"
    if finish in CUT:
        return (
            FailureReason.CUT_SHORT,
            f"the answer reached the limit of {call.settings.max_output_tokens} tokens",
        )
    if len(turn.calls) > MAX_CALLS:
        return (
            FailureReason.INVALID_ANSWER,
            f"the answer has {len(turn.calls)} calls; {MAX_CALLS} are the most",
        )
    if not turn.calls and parts.refusal:
        return FailureReason.REFUSED, f"the model declined: {parts.refusal}"
    if not turn.calls and not turn.text.strip():
        return _find_emptiness(finish)
    return None


def _find_emptiness(finish: str) -> tuple[FailureReason, str]:
    if "malformed_function_call" in finish:  # Gemini, which then says nothing of the call
        return (
            FailureReason.MALFORMED_TOOL_ARGUMENTS,
            "the model's call of a tool could not be read by its endpoint",
        )
    return FailureReason.EMPTY_ANSWER, "the answer has neither text nor calls"
