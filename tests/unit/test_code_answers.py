"""Answers of code as they come over the broker, and ends of functions: whatever is in them, the Agent goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from nats.aio.msg import Msg

from heed import names
from heed.api.code import CodeAnswer, CodeHold
from heed.bus.client.connection import Connection
from heed.bus.code_workers import NatsCodeWorkers, read_reply
from heed.bus.codec.cloudevents import encode
from heed.bus.function_runner import FunctionTasks, read_end
from heed.core.decision.code import AnswerMissing, CodeCall, FailedAnswer, KnownAnswers
from heed.core.effects import AgentRef, TaskEnd
from heed.core.events import Event
from heed.errors import CodeUnavailable
from heed.settings import Settings, StreamSettings
from tests.builders.tasks import session_task
from tests.unit.memorybus import MemoryBus


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


def nested(levels: int, member: str = "state") -> str:
    """A reply whose state, or whose event's data, nests so deep."""
    inner = "[" * (levels - 1) + "]" * (levels - 1)
    state = '{"a": ' + inner + "}"
    return (
        '{"answers": ['
        + {"state": f'{{"state": {state}}}', "emit": f'{{"emit": [{{"data": {state}}}]}}'}[member]
        + "]}"
    )


@pytest.mark.parametrize(
    ("reply", "code", "message"),
    [
        pytest.param(nested(100_000), "TooDeep", "64 levels", id="too deep to read"),
        pytest.param(nested(65), "TooDeep", "64 levels", id="too deep"),
        pytest.param(nested(64), "", "", id="as deep as may be"),
        pytest.param(nested(900, "emit"), "TooDeep", "64 levels", id="an event too deep"),
        pytest.param(nested(64, "emit"), "", "", id="an event as deep as may be"),
        pytest.param('{"answers": [{"state": {"a": NaN}}]}', "NumberOutOfRange", "nan", id="NaN"),
        pytest.param('{"answers": [{"state": {"a": 1e999}}]}', "NumberOutOfRange", "inf", id="infinity"),
        pytest.param('{"answers": [{"state": {"a": 9223372036854775807}}]}', "", "", id="largest number"),
        pytest.param(
            '{"answers": [{"state": {"a": 9223372036854775808}}]}', "NumberOutOfRange", "", id="larger"
        ),
        pytest.param(
            r'{"answers": [{"state": {"a": "\ud800"}}]}', "BadData", "surrogate", id="half a character"
        ),
        pytest.param(json.dumps({"answers": [{"cancel": [1] * 10_001}]}), "BadAnswer", "10000", id="many"),
        pytest.param(
            json.dumps({"answers": [{"emit": [{}] * 10_001}]}), "BadAnswer", "10001", id="many events"
        ),
        pytest.param(
            json.dumps({"answers": [{"start": [{}] * 10_001}]}), "BadAnswer", "10001", id="many tasks"
        ),
        pytest.param(json.dumps({"answers": [{"cancel": ["t"] * 10_000}]}), "", "", id="as many as may be"),
        pytest.param(
            json.dumps({"answers": [{str(number): 1 for number in range(65)}]}),
            "BadAnswer",
            "65 members",
            id="odd",
        ),
        pytest.param(
            json.dumps({"answers": [{"failed": {"code": "x" * 65, "message": "m" * 9000}}]}),
            "HandlerFailed",
            "m" * 8000,
            id="long code",
        ),
        pytest.param(
            json.dumps({"answers": [{"failed": {"code": [1], "message": 2}}]}), "HandlerFailed", "", id="no"
        ),
        pytest.param(
            '{"answers": [{"failed": {"code": "A b", "message": "\\ud800"}}]}',
            "HandlerFailed",
            "?",
            id="odd code",
        ),
    ],
)
def test_an_answer_without_measure_fails_its_event(reply: str, code: str, message: str) -> None:
    (found,) = read_reply(reply.encode(), 1)

    if not code:
        assert isinstance(found, CodeAnswer)
        return
    assert isinstance(found, FailedAnswer)
    assert found.code == code and message in found.message
    assert len(found.message) <= 8000


def test_the_place_of_an_answer_is_a_line() -> None:
    (found,) = replied({"answers": [{"end": True, "place": "x" * 300}]})
    assert isinstance(found, CodeAnswer) and found.place == "x" * 200


async def test_where_the_broker_lets_in_no_workers_none_is_asked() -> None:
    workers = NatsCodeWorkers(Connection(Settings(), "test"), missing="make new keys")

    with pytest.raises(CodeUnavailable, match=r"^make new keys$"):
        await workers.ask(AgentRef("demo", "spy", "uid"), "abcd1234", [])


def test_why_a_worker_cannot_answer_is_text() -> None:
    with pytest.raises(CodeUnavailable, match="has no answers"):
        replied({"unavailable": {"a": 1}})
    with pytest.raises(CodeUnavailable) as told:
        read_reply(b'{"unavailable": "\\ud800' + b"x" * 2000 + b'"}', 1)
    assert str(told.value) == "?" + "x" * 999


def test_ends_say_no_more_than_a_line_and_never_that_work_was_lost() -> None:
    long = read_end("t-1", done({"completed": False, "reason": "r" * 200, "message": "m" * 9000}))
    assert (len(long.reason or ""), len(long.message or "")) == (100, 8000)
    for reason in ("FunctionLost", "JobLost", 7, None, ""):
        assert read_end("t-1", done({"completed": False, "reason": reason})).reason == "Error"


class Owner:
    """An Agent that waits for an approval, a Job and a function, and hears of ends."""

    def __init__(self) -> None:
        self.pending_tasks = {
            f"{kind}-0123456789abcdef": replace(session_task("s"), kind=kind)
            for kind in ("function", "job", "approval")
        }
        self.ends: list[str] = []

    def waits(self, attempt_id: str) -> bool:
        return True

    def report(self, end: TaskEnd) -> bool:
        self.ends.append(end.task_id)
        return True


@pytest.mark.parametrize(
    ("task", "heard"), [("function", True), ("job", False), ("approval", False), ("unknown", False)]
)
async def test_a_worker_ends_functions_and_nothing_else(task: str, heard: bool) -> None:
    owner, served = Owner(), Served()
    tasks = FunctionTasks(served, MemoryBus(), StreamSettings())  # type: ignore[arg-type]
    tasks.runner_of(AgentRef("demo", "spy", "uid"), owner)
    await tasks.listen()
    event = done({"completed": True, "result": 1})
    headers, payload = encode(event)
    subject = names.task_subject("demo", "spy", f"{task}-0123456789abcdef", names.TASK_DONE)

    await served.take(Msg(None, subject, "", payload, headers))  # type: ignore[arg-type]

    assert owner.ends == ([f"{task}-0123456789abcdef"] if heard else [])


class Served:
    """A connection with one client, which hears what the test says."""

    async def serve_clients(self, begin: Any) -> None:
        await begin(self)

    async def subscribe(self, subject: str, cb: Any) -> None:
        self.take = cb


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


def known(*sizes: int) -> tuple[KnownAnswers, list[bool]]:
    """Answers whose states are so large, and which of them are still there."""
    answers = KnownAnswers()
    calls = [CodeCall(f"f{number}", {}, {}) for number in range(len(sizes))]
    for call, size in zip(calls, sizes, strict=True):
        answers.add(call, CodeAnswer(state={"a": "x" * size}))
    return answers, [_is_known(answers, call) for call in calls]


def _is_known(answers: KnownAnswers, call: CodeCall) -> bool:
    try:
        answers(call)
    except AnswerMissing:
        return False
    return True


def test_answers_that_a_worker_makes_large_are_not_all_kept() -> None:
    mib = 1024**2
    assert known(*[mib] * 15)[1] == [True] * 15
    assert known(*[mib] * 16)[1] == [False] + [True] * 15
    assert known(*[20 * mib] * 9)[1] == [False] + [True] * 8
    assert known(*[1] * 4097)[1] == [False] + [True] * 4096


def test_an_answer_that_is_given_again_is_the_newest_and_counts_once() -> None:
    mib = 1024**2
    answers, there = known(*[mib] * 15)
    again = CodeCall("f0", {}, {})
    answers.add(again, CodeAnswer(state={"a": "x" * mib}))
    assert all(there)
    assert all(_is_known(answers, CodeCall(f"f{number}", {}, {})) for number in range(15))

    answers.add(CodeCall("more", {}, {}), CodeAnswer(state={"a": "x" * mib}))
    assert _is_known(answers, again)
    assert not _is_known(answers, CodeCall("f1", {}, {}))
