"""The report of a call of the model as data of an event: {calls, result, problem, usage, failure, …}.

A worker writes it, and may be of another version, or hostile: what cannot be read counts as an invalid answer, which is
asked for again a few times. Texts stay in the transcript.
"""

from collections.abc import Mapping
from typing import Any, Final

from heed.core.llm.model_answer import Failure, FailureReason, Usage, count, shorten_message
from heed.core.llm.tool_calls import MAX_CALLS, MAX_ID_CHARS
from heed.core.llm.transcript import MALFORMED_ARGUMENTS, UNKNOWN_TOOL, ToolCall
from heed.core.llm.turn_events import TurnReport

MAX_NAME_CHARS: Final = 256
MAX_RETRY_AFTER_S: Final = 24 * 3600.0


def report_to_json(report: TurnReport) -> dict[str, Any]:
    """A report as data of an event; what there is not is left out."""
    value: dict[str, Any] = {"turn": report.turn, "attempt": report.attempt, "result": report.result}
    if report.calls:
        value["calls"] = [_call_to_json(call) for call in report.calls]
    if report.usage is not None:
        value["usage"] = _usage_to_json(report.usage)
    if (failure := report.failure) is not None:
        value["failure"] = {
            "reason": failure.reason.value,
            "message": failure.message,
            "retryAfter": failure.retry_after_s,
            "status": failure.status,
            "unpaid": failure.unpaid,
        }
    value["problem"] = report.problem
    return {name: item for name, item in value.items() if item is not None}


def report_from_json(data: Any, turn: int, attempt: int) -> TurnReport:
    """The report of this turn and attempt; one of an invalid answer where the data are none."""
    try:
        return _read(data, turn, attempt)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = shorten_message(f"the worker's report cannot be read: {type(error).__name__}: {error}")
        return TurnReport(turn, attempt, failure=Failure(FailureReason.INVALID_ANSWER, message))


def _read(data: Any, turn: int, attempt: int) -> TurnReport:
    if not isinstance(data, Mapping) or (data.get("turn"), data.get("attempt")) != (turn, attempt):
        raise ValueError(f"it is not of turn {turn}, attempt {attempt}")
    usage = _read_usage(data.get("usage"))
    problem = data.get("problem")
    return TurnReport(
        turn,
        attempt,
        calls=_read_calls(data.get("calls", ())),
        result=data.get("result"),
        problem=None if problem is None else shorten_message(str(problem)),
        usage=usage,
        failure=_read_failure(data.get("failure"), usage),
    )


def _call_to_json(call: ToolCall) -> dict[str, Any]:
    value: dict[str, Any] = {"id": call.id, "name": call.name}
    if call.arguments is not None:
        return value | {"arguments": dict(call.arguments)}
    return value | {"reason": call.reason, "problem": shorten_message(call.problem)}


def _read_calls(written: Any) -> tuple[ToolCall, ...]:
    if not isinstance(written, list | tuple) or len(written) > MAX_CALLS:
        raise ValueError(f"calls are a list of at most {MAX_CALLS}")
    calls = tuple(map(_read_call, written))
    if len({call.id for call in calls}) < len(calls):
        raise ValueError("two calls have the same id")
    return calls


def _read_call(value: Any) -> ToolCall:
    identity, name, arguments = value["id"], value["name"], value.get("arguments")
    if not isinstance(identity, str) or not 0 < len(identity) <= MAX_ID_CHARS or not isinstance(name, str):
        raise ValueError("a call has an id and a name")
    name = name[:MAX_NAME_CHARS]
    if isinstance(arguments, Mapping):
        return ToolCall(identity, name, "", arguments)
    reason = UNKNOWN_TOOL if value.get("reason") == UNKNOWN_TOOL else MALFORMED_ARGUMENTS
    problem = shorten_message(str(value.get("problem") or "The arguments cannot be read."))
    return ToolCall(identity, name, "", None, reason, problem)


def _usage_to_json(usage: Usage) -> dict[str, int]:
    return {
        "input": usage.input,
        "output": usage.output,
        "cached": usage.cached,
        "reasoning": usage.reasoning,
    }


def _read_usage(value: Any) -> Usage | None:
    if not isinstance(value, Mapping):
        return None
    return Usage(*(count(value.get(name)) for name in ("input", "output", "cached", "reasoning")))


def _read_failure(value: Any, usage: Usage | None) -> Failure | None:
    if value is None:
        return None
    after = value.get("retryAfter", 0.0)
    return Failure(
        FailureReason(value["reason"]),
        shorten_message(str(value.get("message", ""))),
        min(float(after), MAX_RETRY_AFTER_S) if isinstance(after, int | float) and after > 0 else 0.0,
        usage,
        count(value.get("status")),
        unpaid=value.get("unpaid") is True,
    )
