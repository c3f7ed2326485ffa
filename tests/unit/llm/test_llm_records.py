"""Reports, loops and records of transcripts as JSON: what is written is read again; what others wrote is checked."""

import json
from typing import Any

import pytest

from heed.core.llm.budget import Account, Amount, Scope
from heed.core.llm.loop_record import LoopRecord
from heed.core.llm.model_answer import Failure, FailureReason, Usage
from heed.core.llm.tool_calls import MAX_CALLS, MAX_ID_CHARS
from heed.core.llm.transcript import Prompt, ToolCall
from heed.core.llm.transcript_record import TranscriptRecord, TurnFigures, record_from_json, record_to_json
from heed.core.llm.turn_events import RejectedCall, RepairRequest, ToolText, TurnReport
from heed.core.llm.turn_loop import LoopState, PendingCall
from heed.core.llm.turn_report import report_from_json, report_to_json

FAILURE = Failure(FailureReason.RATE_LIMITED, "slow down", 7.5, Usage(1, 2), 429, unpaid=True)
REPORTS = [
    TurnReport(1, 2),
    TurnReport(1, 1, result="Hi", usage=Usage(5, 4, 3, 2)),
    TurnReport(1, 1, result={"a": [1]}, problem="It does not fit."),
    TurnReport(2, 1, (ToolCall("a", "t", "", {}), ToolCall("b", "t", "", None, "UnknownTool", "None."))),
    TurnReport(2, 1, usage=Usage(1, 2), failure=FAILURE),
    TurnReport(2, 1, failure=Failure(FailureReason.REFUSED, "no")),
]
ADDITIONS = (ToolText("a", "t", "ref"), RejectedCall("b", "t", "No."), RepairRequest("Again."))
CALLS = (
    PendingCall("a", "t", {"x": 1}),
    PendingCall("b", "t", started=True),
    PendingCall("c", "t", started=True, reference="ref"),
    PendingCall("d", "t", problem="No."),
)
STATES = [
    LoopState("calling", 1, 1, 40),
    LoopState("calling", 2, 3, 40, 1, ADDITIONS),
    LoopState("tools", 2, 1, 0, 0, (), CALLS),
    LoopState("ended", 9, 1, 0),
]


def journey(value: Any) -> Any:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("report", REPORTS)
def test_a_report_is_the_same_after_a_journey(report: TurnReport) -> None:
    assert report_from_json(journey(report_to_json(report)), report.turn, report.attempt) == report


@pytest.mark.parametrize("state", STATES)
def test_a_loop_is_the_same_after_a_journey(state: LoopState) -> None:
    account = Account(Amount(1, 2, 3, 4), {"t/1/1": Amount(tokens=5)})
    record = LoopRecord(state, {Scope("task", "t"): account})
    assert LoopRecord.load(record.dump()) == record


@pytest.mark.parametrize(
    "record",
    [
        TranscriptRecord("0/0", Prompt.of("user", "Hi")),
        TranscriptRecord("1/answer", Prompt.of("user", "Hi"), TurnFigures("d", "m", "stop", 12), REPORTS[1]),
    ],
)
def test_a_record_is_the_same_after_a_journey(record: TranscriptRecord) -> None:
    assert record_from_json(journey(record_to_json(record))) == record


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"key": "a", "entry": {}},
        {"key": "a", "entry": 5},
        {"key": "a", "figures": 5},
        {"key": "a", "report": {}},
    ],
)
def test_another_shape_is_no_record(value: Any) -> None:
    with pytest.raises(ValueError, match="transcript"):
        record_from_json(value)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"turn": 1, "attempt": 2},
        {"turn": 1, "attempt": 1, "calls": "all"},
        {
            "turn": 1,
            "attempt": 1,
            "calls": [{"id": f"c{index}", "name": "t"} for index in range(MAX_CALLS + 1)],
        },
        {"turn": 1, "attempt": 1, "calls": [{"id": "a", "name": "t"}, {"id": "a", "name": "u"}]},
        {"turn": 1, "attempt": 1, "calls": [{"id": "", "name": "t"}]},
        {"turn": 1, "attempt": 1, "calls": [{"id": "x" * (MAX_ID_CHARS + 1), "name": "t"}]},
        {"turn": 1, "attempt": 1, "calls": [{"id": "a", "name": 5}]},
        {"turn": 1, "attempt": 1, "calls": [5]},
        {"turn": 1, "attempt": 1, "failure": {"reason": "Bored"}},
        {"turn": 1, "attempt": 1, "failure": "Bored"},
    ],
)
def test_what_is_no_report_counts_as_an_invalid_answer(data: Any) -> None:
    report = report_from_json(data, 1, 1)
    assert (report.turn, report.attempt, report.calls) == (1, 1, ())
    assert report.failure is not None and report.failure.reason is FailureReason.INVALID_ANSWER


def test_figures_of_a_report_that_make_no_sense_are_none() -> None:
    usage = {"input": -5, "output": "many", "cached": True}
    failure = {"reason": "EndpointAway", "retryAfter": "soon", "status": -1, "unpaid": "yes"}
    report = report_from_json({"turn": 1, "attempt": 1, "usage": usage, "failure": failure}, 1, 1)
    assert report.usage == Usage(0, 0)
    assert report.failure == Failure(FailureReason.ENDPOINT_AWAY, "", 0.0, Usage(0, 0), 0, unpaid=False)


def test_a_wait_that_a_worker_reports_ends_on_the_next_day() -> None:
    failure = {"reason": "RateLimited", "retryAfter": 10**9}
    report = report_from_json({"turn": 1, "attempt": 1, "failure": failure}, 1, 1)
    assert report.failure is not None and report.failure.retry_after_s == 86_400.0
