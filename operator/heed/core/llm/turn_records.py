"""The loop's values as JSON: reports for events, states for the ledger, and records of the transcript's stream."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heed.core.llm.model_answer import Failure, FailureReason, Usage
from heed.core.llm.transcript import Entry, call_from_json, call_to_json, entry_from_json, entry_to_json
from heed.core.llm.turn_events import Addition, RejectedCall, RepairRequest, ToolText, TurnReport
from heed.core.llm.turn_loop import LoopState, PendingCall

_USAGE = ("input", "output", "cached", "reasoning")


@dataclass(frozen=True, slots=True)
class TurnFigures:
    """Of one answer: the request's digest, who answered, why it ended, and how long it took."""

    request_digest: str
    model: str
    finish: str
    latency_ms: int


@dataclass(frozen=True, slots=True)
class TranscriptRecord:
    """One message of the stream. `key` is its place; the model's turns have their figures, and the report of them."""

    key: str
    entry: Entry
    figures: TurnFigures | None = None
    report: TurnReport | None = None


def record_to_json(record: TranscriptRecord) -> dict[str, Any]:
    """A record as JSON."""
    said: dict[str, Any] = {"key": record.key, "entry": entry_to_json(record.entry)}
    if record.figures is not None:
        figures = record.figures
        said["figures"] = {
            "requestDigest": figures.request_digest,
            "model": figures.model,
            "finish": figures.finish,
            "latencyMs": figures.latency_ms,
        }
    return said if record.report is None else said | {"report": report_to_json(record.report)}


def record_from_json(value: Mapping[str, Any]) -> TranscriptRecord:
    """The record that `record_to_json` wrote. Raises ValueError for another shape."""
    try:
        figures = None
        if (given := value.get("figures")) is not None:
            figures = TurnFigures(given["requestDigest"], given["model"], given["finish"], given["latencyMs"])
        report = None if (told := value.get("report")) is None else report_from_json(told)
        return TranscriptRecord(value["key"], entry_from_json(value["entry"]), figures, report)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no record of a transcript: {type(error).__name__} at {error}") from None


# ── reports ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def report_to_json(report: TurnReport) -> dict[str, Any]:
    """A report as JSON; what is not there is left out."""
    said: dict[str, Any] = {"turn": report.turn, "attempt": report.attempt}
    if report.calls:
        said["calls"] = [call_to_json(call) for call in report.calls]
    if report.result is not None:
        said["result"] = report.result
    if report.problem is not None:
        said["problem"] = report.problem
    if report.usage is not None:
        said["usage"] = _usage_to_json(report.usage)
    if report.failure is not None:
        said["failure"] = _failure_to_json(report.failure)
    return said


def report_from_json(value: Mapping[str, Any]) -> TurnReport:
    """The report that `report_to_json` wrote. Raises KeyError, TypeError or ValueError for another shape."""
    failure = value.get("failure")
    usage = _usage_from_json(value.get("usage"))
    return TurnReport(
        turn=int(value["turn"]),
        attempt=int(value["attempt"]),
        calls=tuple(map(call_from_json, value.get("calls", ()))),
        result=value.get("result"),
        problem=value.get("problem"),
        usage=usage,
        failure=None if failure is None else _failure_from_json(failure, usage),
    )


def _usage_to_json(usage: Usage) -> dict[str, int]:
    return {name: value for name in _USAGE if (value := getattr(usage, name))}


def _usage_from_json(value: Mapping[str, int] | None) -> Usage | None:
    return None if value is None else Usage(*(int(value.get(name, 0)) for name in _USAGE))


def _failure_to_json(failure: Failure) -> dict[str, Any]:
    said = {"reason": failure.reason.value, "message": failure.message}
    more = {"retryAfter": failure.retry_after_s, "status": failure.status, "unpaid": failure.unpaid}
    return said | {name: value for name, value in more.items() if value}


def _failure_from_json(value: Mapping[str, Any], usage: Usage | None) -> Failure:
    return Failure(
        FailureReason(value["reason"]),
        value["message"],
        float(value.get("retryAfter", 0)),
        usage,
        int(value.get("status", 0)),
        bool(value.get("unpaid", False)),
    )


# ── states ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def state_to_json(state: LoopState) -> dict[str, Any]:
    """A state as JSON; what is not there is left out."""
    said: dict[str, Any] = {
        "phase": state.phase,
        "turn": state.turn,
        "attempt": state.attempt,
        "context": state.context,
    }
    if state.repairs:
        said["repairs"] = state.repairs
    if state.additions:
        said["additions"] = [addition_to_json(addition) for addition in state.additions]
    if state.calls:
        said["calls"] = [_pending_to_json(call) for call in state.calls]
    return said


def state_from_json(value: Mapping[str, Any]) -> LoopState:
    """The state that `state_to_json` wrote."""
    return LoopState(
        value["phase"],
        value["turn"],
        value["attempt"],
        value["context"],
        value.get("repairs", 0),
        tuple(map(addition_from_json, value.get("additions", ()))),
        tuple(map(_pending_from_json, value.get("calls", ()))),
    )


def addition_to_json(addition: Addition) -> dict[str, str]:
    """An addition as JSON, told by its members."""
    match addition:
        case ToolText():
            return {"call": addition.call_id, "name": addition.name, "reference": addition.reference}
        case RejectedCall():
            return {"call": addition.call_id, "name": addition.name, "problem": addition.problem}
        case RepairRequest():
            return {"repair": addition.text}


def addition_from_json(value: Mapping[str, str]) -> Addition:
    """The addition that `addition_to_json` wrote."""
    if "repair" in value:
        return RepairRequest(value["repair"])
    if "problem" in value:
        return RejectedCall(value["call"], value["name"], value["problem"])
    return ToolText(value["call"], value["name"], value["reference"])


def _pending_to_json(call: PendingCall) -> dict[str, Any]:
    said: dict[str, Any] = {"id": call.id, "name": call.name}
    if call.arguments is not None:
        said["arguments"] = dict(call.arguments)
    if call.started:
        said["started"] = True
    if call.problem:
        said["problem"] = call.problem
    return said if call.reference is None else said | {"reference": call.reference}


def _pending_from_json(value: Mapping[str, Any]) -> PendingCall:
    return PendingCall(
        value["id"],
        value["name"],
        value.get("arguments"),
        value.get("started", False),
        value.get("problem", ""),
        value.get("reference"),
    )
