"""Decide requests: the calls of a session in order, up to the one that fails."""

from __future__ import annotations

import json
from typing import Any

from heed.sdk import Agent, CodeError, Event, State, end, hold
from heed.sdk.injection import Resources
from heed.worker.decide_requests import answer_request


class Counted(Event, type="com.example.counted"):
    """Adds to the session's count; `then` says what else."""

    then: str = ""


class Count(State, version=2):
    """How many events it was."""

    count: int = 0


agent = Agent("counter", state=Count)


@agent.on
def count(event: Counted, state: Count) -> Any:
    if event.then == "hold":
        return hold("5m")
    if event.then == "break":
        raise CodeError("Odd", "it is told to")
    if event.then == "end":
        return end()
    return None if event.then == "nothing" else state.set(count=state.count + 1)


def call(then: str = "", state: dict[str, Any] | None = None, function: str = "count") -> dict[str, Any]:
    event = {"id": "1", "source": "/t", "type": "com.example.counted", "data": {"then": then}}
    variables = {"event": event, "session": {"key": "s", "startedAt": "2026-01-01T00:00:00Z"}}
    return {"function": function, "variables": variables, "state": state or {}, "pending": {}}


def replied(*calls: Any) -> dict[str, Any]:
    reply: dict[str, Any] = json.loads(
        answer_request(agent, json.dumps({"calls": calls}).encode(), Resources())
    )
    return reply


def states(*thens: str) -> list[Any]:
    """The states that the answers to these events say, all with the first one's state."""
    return [item.get("state", {}).get("count") for item in replied(*map(call, thens))["answers"]]


def test_each_call_has_the_state_that_the_answer_before_it_left() -> None:
    assert states("", "", "nothing", "") == [1, 2, None, 3]


def test_a_session_that_ended_begins_anew_with_the_next_call() -> None:
    assert states("", "", "end", "") == [1, 2, None, 1]


def test_an_event_that_is_held_leaves_the_state_as_it_was() -> None:
    assert states("", "hold", "") == [1, None, 2]


def test_a_call_that_fails_is_the_last_one_of_a_reply() -> None:
    first, failed = replied(call(), call("break"), call())["answers"]

    assert first["state"] == {"count": 1, "$version": 2}
    assert failed["failed"]["code"] == "Odd"
    assert failed["failed"]["message"].endswith("it is told to")


def test_what_newer_code_wrote_is_not_answered() -> None:
    newer = call(state={"count": 1, "$version": 3})

    assert replied(newer) == {
        "unavailable": "the session's state has version 3, and Count is at 2: a newer worker wrote it"
    }
    assert len(replied(call(), call(function="nothing"))["answers"]) == 1


def test_what_is_no_request_is_told_so() -> None:
    for request in (b"no JSON", b"{}", b"[]"):
        assert json.loads(answer_request(agent, request, Resources())) == {
            "unavailable": "the request is no decide request"
        }
