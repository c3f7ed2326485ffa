"""Answers of code as they come over the broker, and ends of functions: whatever is in them, the Agent goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from heed.api.code import CodeAnswer, CodeHold
from heed.bus.code_workers import read_reply
from heed.bus.function_runner import read_end
from heed.core.decision.code import FailedAnswer
from heed.core.events import Event
from heed.errors import CodeUnavailable


def replied(reply: Any, asked: int = 2) -> list[CodeAnswer | FailedAnswer]:
    return list(read_reply(json.dumps(reply).encode(), asked))


def test_answers_are_read_as_far_as_there_were_calls() -> None:
    whole = {
        "state": {"n": 1},
        "start": [{"task": "t"}],
        "emit": [{"type": "a.b"}],
        "cancel": ["t"],
        "place": "a.py:1",
    }

    assert replied({"answers": [whole, {"hold": {"seconds": 5}}, {"end": True}]}) == [
        CodeAnswer(
            state={"n": 1}, start=[{"task": "t"}], emit=[{"type": "a.b"}], cancel=["t"], place="a.py:1"
        ),
        CodeAnswer(hold=CodeHold(seconds=5)),
    ]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"failed": {"code": "Odd", "message": "so"}}, ("Odd", "so")),
        ({"failed": {}}, ("HandlerFailed", "")),
        (7, ("BadAnswer", "the Agent's code answered: ")),
        ({"state": []}, ("BadAnswer", "the Agent's code answered: state: is a list, not a map")),
        ({"start": [1]}, ("BadAnswer", "the Agent's code answered: start[0]: is a number, not a map")),
        ({"end": "yes"}, ("BadAnswer", "the Agent's code answered: end: is a string, not a boolean")),
        ({"hold": {"seconds": 0}}, ("BadAnswer", "the Agent's code answered: hold.seconds: is 0")),
        ({"stat": {}}, ("BadAnswer", "the Agent's code answered: stat: there is no such field")),
    ],
)
def test_an_answer_that_is_none_fails_its_event(answer: Any, message: tuple[str, str]) -> None:
    (found,) = replied({"answers": [answer]})

    assert isinstance(found, FailedAnswer)
    assert found.code == message[0] and found.message.startswith(message[1])


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ({"unavailable": "too old"}, "^too old$"),
        ({"answers": []}, "has no answers"),
        ({"answers": {}}, "has no answers"),
        ({}, "has no answers"),
        ([], "is no map"),
    ],
)
def test_a_reply_without_answers_leaves_the_events_waiting(reply: Any, message: str) -> None:
    with pytest.raises(CodeUnavailable, match=message):
        replied(reply)


def test_a_reply_that_is_no_json_leaves_the_events_waiting() -> None:
    with pytest.raises(CodeUnavailable, match="no JSON"):
        read_reply(b"\xff", 1)


def done(data: Any) -> Event:
    return Event("d", "/w", "dev.heed.task.done", data, time="2026-01-01T00:00:00Z")


def test_an_end_is_that_of_its_attempt() -> None:
    end = read_end("t-0123456789abcdef-3", done({"completed": True, "result": [1], "reason": "no"}))

    assert (end.task_id, end.attempt, end.at) == ("t-0123456789abcdef", 3, "2026-01-01T00:00:00Z")
    assert (end.completed, end.result, end.reason) == (True, [1], None)


@pytest.mark.parametrize("data", [None, "text", {}, {"completed": "yes"}, {"completed": False, "result": 1}])
def test_an_end_that_does_not_say_that_it_completed_is_a_failure(data: Any) -> None:
    end = read_end("t-0123456789abcdef", done(data))

    assert (end.completed, end.result, end.reason, end.attempt) == (False, None, "Error", 1)


def test_both_ends_of_one_attempt_have_one_id() -> None:
    ends = [read_end("t-0123456789abcdef", done(data)) for data in ({"completed": True}, {"reason": "Odd"})]

    assert len({end.id for end in ends}) == 1
    assert ends[1].reason == "Odd"
