"""Reports, states and records of transcripts as JSON: what is written is read again, whole."""

import json
from typing import Any

import pytest

from heed.core.llm.model_answer import Failure, FailureReason, Usage
from heed.core.llm.transcript import Prompt, ToolCall
from heed.core.llm.turn_events import RejectedCall, RepairRequest, ToolText, TurnReport
from heed.core.llm.turn_loop import LoopState, PendingCall
from heed.core.llm.turn_records import (
    TranscriptRecord,
    TurnFigures,
    record_from_json,
    record_to_json,
    report_from_json,
    report_to_json,
    state_from_json,
    state_to_json,
)

FAILURE = Failure(FailureReason.RATE_LIMITED, "slow down", 7.5, Usage(1, 2), 429, unpaid=True)
REPORTS = [
    TurnReport(1, 2),
    TurnReport(1, 1, result="Hi", usage=Usage(5, 4, 3, 2)),
    TurnReport(1, 1, result={"a": [1]}, problem="It does not fit."),
    TurnReport(2, 1, (ToolCall("a", "t", "{}", {}), ToolCall("b", "t", "{", None, "UnknownTool", "None."))),
    TurnReport(2, 1, usage=Usage(1, 2), failure=FAILURE),
    TurnReport(2, 1, failure=Failure(FailureReason.REFUSED, "no")),
]
STATES = [
    LoopState("calling", 1, 1, 40),
    LoopState(
        "calling",
        2,
        3,
        40,
        1,
        (ToolText("a", "t", "ref"), RejectedCall("b", "t", "No."), RepairRequest("Again.")),
    ),
    LoopState(
        "tools",
        2,
        1,
        0,
        0,
        (),
        (
            PendingCall("a", "t", {"x": 1}),
            PendingCall("b", "t", started=True),
            PendingCall("c", "t", started=True, reference="ref"),
            PendingCall("d", "t", problem="No."),
        ),
    ),
    LoopState("ended", 9, 1, 0),
]


def journey(value: Any) -> Any:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("report", REPORTS)
def test_a_report_is_the_same_after_a_journey(report: TurnReport) -> None:
    assert report_from_json(journey(report_to_json(report))) == report


@pytest.mark.parametrize("state", STATES)
def test_a_state_is_the_same_after_a_journey(state: LoopState) -> None:
    assert state_from_json(journey(state_to_json(state))) == state


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
    "value", [{}, {"key": "a", "entry": {}}, {"key": "a", "entry": 5}, {"key": "a", "figures": 5}]
)
def test_another_shape_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="transcript"):
        record_from_json(value)


def test_a_small_state_is_small() -> None:
    assert state_to_json(STATES[0]) == {"phase": "calling", "turn": 1, "attempt": 1, "context": 40}
