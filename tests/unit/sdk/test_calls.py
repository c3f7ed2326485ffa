"""Calls of handlers: what functions are given, what their returned values become, and how they fail."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import pytest

from heed.sdk import (
    Agent,
    AgentInfo,
    AnyEvent,
    Choice,
    Completed,
    Event,
    Failed,
    Progress,
    Reaction,
    Resource,
    Session,
    State,
    cancel,
    emit,
    end,
    hold,
)
from heed.sdk.calls import answer_call
from heed.sdk.errors import CodeError, CodeTooOld
from heed.sdk.injection import Resources


class Asked(Event, type="com.example.asked"):
    """A question."""

    topic: str


class Wild(Event, type="com.example.*"):
    """Events of several types."""


class Untyped(Event):
    """An event whose class has no type."""


class Known(State):
    """What is known."""

    topic: str | None = None


class Other(State):
    """Another state."""


agent = Agent("researcher", state=Known)


@agent.task()
def work(n: int) -> int:
    return n


question = agent.approval("question", title="May it?")


def handler_of(function: Callable[..., Any], trigger: Any = Asked) -> Agent:
    """An Agent with one handler, and the tasks of `agent`."""
    made = Agent("researcher", state=Known)
    made.tasks = agent.tasks
    made.on(trigger)(function)
    return made


def call(
    function: str, data: Any = None, state: Mapping[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """A call as a worker gets it."""
    variables = {
        "event": {"id": "1", "source": "/s", "type": "com.example.asked", "correlationid": "q", "data": data},
        "session": {"key": "q", "startedAt": "2026-01-01T00:00:00Z"},
        "agent": {"name": "researcher", "namespace": "demo", "labels": {"team": "a"}},
    }
    return {"function": function, "variables": variables | more, "state": dict(state or {})}


def answer(
    function: Callable[..., Any], data: Any = None, trigger: Any = Asked, **more: Any
) -> dict[str, Any]:
    """The answer of a function, without its place."""
    data = {"topic": "tides"} if data is None else data
    found = answer_call(handler_of(function, trigger), call(function.__name__, data, **more), Resources())
    assert found.pop("place").startswith("test_calls.py:")
    return found


# ── what is returned ────────────────────────────────────────────────────────────────────────────────────────────────


RETURNED: list[tuple[Reaction, dict[str, Any]]] = [
    (None, {}),
    ([], {}),
    ((None, []), {}),
    (Known(topic="x"), {"state": {"topic": "x"}}),
    (Known(), {"state": {}}),
    (end(), {"end": True}),
    ((Known(topic="x"), end()), {"state": {"topic": "x"}, "end": True}),
    ((None, [end()]), {"end": True}),
    ([work.start(n=1), work.start(n=2)], {"start": [{"task": "work", "input": {"n": n}} for n in (1, 2)]}),
    (
        (Known(), [work.start(n=1, task_priority=7), cancel(work)]),
        {"state": {}, "start": [{"task": "work", "input": {"n": 1}, "priority": 7}], "cancel": ["work"]},
    ),
    (emit(Asked(topic="x")), {"emit": [{"type": "com.example.asked", "data": {"topic": "x"}}]}),
    (
        [emit(Asked(topic="x"), subject="s", to="other")],
        {"emit": [{"type": "com.example.asked", "data": {"topic": "x"}, "subject": "s", "to": "other"}]},
    ),
    (hold("90s"), {"hold": {"seconds": 90, "handled": False}}),
    (hold(on_expire="Handle"), {"hold": {"seconds": 86400, "handled": True}}),
]


@pytest.mark.parametrize(("returned", "expected"), RETURNED)
def test_what_a_handler_returns_is_state_and_effects(returned: Reaction, expected: dict[str, Any]) -> None:
    def begin(event: Asked, state: Known) -> Reaction:
        return returned

    assert answer(begin) == expected


def test_effects_may_come_as_a_tuple() -> None:
    def begin(event: Asked) -> Any:
        return (end(), cancel(work), end())

    assert answer(begin) == {"end": True, "cancel": ["work"]}


def test_a_handler_may_be_a_coroutine() -> None:
    async def begin(event: Asked, state: Known) -> Reaction:
        await asyncio.sleep(0)
        return state.set(topic=event.topic)

    assert answer(begin) == {"state": {"topic": "tides"}}


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (1, r"returned int; return a state, effects, or \(state, \[effects\]\)"),
        ("text", "returned str;"),
        ({"topic": "x"}, "returned dict;"),
        ([Asked(topic="x")], "returned Asked among its effects;"),
        ((Known(), [Known()]), "returned Known among its effects;"),
        (Other(), "returned a Other, not a Known"),
        ([work], "returned FunctionTask among its effects;"),
    ],
)
def test_anything_else_is_a_bad_answer(returned: Any, message: str) -> None:
    def begin(event: Asked) -> Any:
        return returned

    with pytest.raises(CodeError, match=message) as caught:
        answer(begin)

    assert caught.value.code == "BadAnswer"


# ── what is given ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_handler_is_given_what_its_parameters_want() -> None:
    made: list[list[str]] = []

    def make() -> list[str]:
        made.append([])
        return made[-1]

    seen: list[Any] = []

    def begin(
        event: Asked,
        state: Known,
        who: Session,
        info: AgentInfo,
        client: Annotated[list[str], Resource(make)],
    ) -> None:
        seen.append((event, event.meta.correlationid, state, who, info))
        client.append(event.topic)

    resources, one = Resources(), handler_of(begin)
    for topic in ("tides", "comets"):
        answer_call(one, call("begin", {"topic": topic}, {"topic": "old"}), resources)

    assert seen[0] == (
        Asked(topic="tides"),
        "q",
        Known(topic="old"),
        Session("q", "2026-01-01T00:00:00Z"),
        AgentInfo("researcher", "demo", {"team": "a"}),
    )
    assert made == [["tides", "comets"]]  # made once for the worker


def task_call(trigger: Any, data: Any, input: Any = None) -> Any:
    """What a handler of a task event is given."""
    seen: list[Any] = []

    def begin(event: Any) -> None:
        seen.append(event)

    answer(begin, data, trigger, input=input, task={"id": "work-1", "name": "work", "attempt": 2})
    return seen[0]


def test_a_completed_task_has_its_result_as_the_declared_type() -> None:
    done: Completed[int] = task_call(work.completed, {"result": 3, "attempt": 4}, {"n": 3})

    assert (done.result, done.input, done.task_id, done.attempt, done.meta.id) == (
        3,
        {"n": 3},
        "work-1",
        4,
        "1",
    )


def test_an_attempt_that_the_event_does_not_tell_is_that_of_the_task() -> None:
    assert task_call(work.completed, {"result": 3}).attempt == 2


def test_a_result_of_another_type_is_a_bad_result() -> None:
    with pytest.raises(CodeError, match="the result of task work: input should be a valid integer") as caught:
        task_call(work.completed, {"result": "many"})

    assert caught.value.code == "BadResult"


def test_an_answer_is_a_choice() -> None:
    done = task_call(
        question.completed, {"result": {"choice": "approve", "answeredBy": "ann", "fields": {"n": 1}}}
    )

    assert done.result == Choice(choice="approve", answered_by="ann", fields={"n": 1})


def test_a_failed_task_says_why() -> None:
    data = {"reason": "DeadlineExceeded", "message": "late", "exitCode": 3, "cause": "Evicted", "attempt": 2}

    failed: Failed = task_call(work.failed, data, {"n": 1})

    assert (failed.reason, failed.message, failed.exit_code, failed.cause) == (
        "DeadlineExceeded",
        "late",
        3,
        "Evicted",
    )
    assert (failed.input, failed.task_id, failed.attempt) == ({"n": 1}, "work-1", 2)


def test_progress_is_what_the_task_said() -> None:
    said: Progress = task_call(work.progress, ["half"])

    assert (said.data, said.task_id) == (["half"], "work-1")


def test_a_pattern_gives_the_event_as_it_is() -> None:
    seen: list[Any] = []

    def begin(event: AnyEvent) -> None:
        seen.append(event)

    answer(begin, [1, 2], "com.example.>")

    assert seen == [AnyEvent(data=[1, 2])]


def test_pending_tasks_are_there_for_who_reads_them() -> None:
    def begin(event: Asked, state: Known) -> Reaction:
        return state.set(topic=",".join(state.pending(work)))

    assert answer(begin) == {"state": {"topic": ""}}
    found = answer_call(
        handler_of(begin), call("begin", {"topic": "x"}) | {"pending": {"work": ["a", "b"]}}, Resources()
    )
    assert found["state"] == {"topic": "a,b"}


# ── how it fails ────────────────────────────────────────────────────────────────────────────────────────────────────


def _deeper(topic: str) -> str:
    raise LookupError(f"nothing on {topic}")


def test_an_exception_is_told_with_the_line_that_raised_it() -> None:
    def begin(event: Asked) -> None:
        _deeper(event.topic)

    with pytest.raises(CodeError) as caught:
        answer(begin)

    first = caught.value.message.splitlines()[0]
    assert (
        first == f"begin (test_calls.py:{_deeper.__code__.co_firstlineno + 1}): LookupError: nothing on tides"
    )
    assert (caught.value.code, "Traceback" in caught.value.message) == ("HandlerFailed", True)


def test_an_exception_of_a_library_is_told_with_the_users_line() -> None:
    def begin(event: Asked) -> None:
        int(event.topic)
        asyncio.run(None)  # type: ignore[arg-type]

    with pytest.raises(CodeError) as caught:
        answer(begin, {"topic": "7"})

    line = begin.__code__.co_firstlineno + 2
    assert caught.value.message.startswith(f"begin (test_calls.py:{line}): ValueError: ")


def test_a_value_that_does_not_fit_is_told_in_one_line() -> None:
    def begin(event: Asked, state: Known) -> Reaction:
        return state.set(topic=1)

    with pytest.raises(
        CodeError, match=r"\): ValidationError: of Known: topic: input should be a valid string\n"
    ):
        answer(begin)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (
            Wild(),
            r"Wild is of several types, com\.example\.\*, and cannot be emitted; emit one of a single type",
        ),
        (Untyped(), "Untyped has no type and cannot be emitted"),
    ],
)
def test_what_has_no_type_of_its_own_cannot_be_emitted(event: Event, message: str) -> None:
    def begin(asked: Asked) -> Reaction:
        return emit(event)

    with pytest.raises(CodeError, match=rf"^begin \(test_calls.py:\d+\): {message}") as caught:
        answer(begin)

    assert caught.value.code == "BadType"


def test_a_long_traceback_is_cut() -> None:
    def begin(event: Asked) -> None:
        raise ValueError("x" * 10_000)

    with pytest.raises(CodeError) as caught:
        answer(begin)

    assert len(caught.value.message.split("\n", 1)[1]) <= 4000


def test_data_that_do_not_fit_name_the_function() -> None:
    def begin(event: Asked) -> None: ...

    line = begin.__code__.co_firstlineno
    with pytest.raises(
        CodeError, match=rf"^begin \(test_calls.py:{line}\): com.example.asked is no Asked: topic"
    ):
        answer(begin, {})


def test_an_input_that_does_not_fit_is_told_with_the_function() -> None:
    def begin(event: Asked) -> Reaction:
        return [work.start(m=1)]

    with pytest.raises(
        CodeError, match=r"^begin \(test_calls.py:\d+\): task work: n: field required"
    ) as caught:
        answer(begin)

    assert caught.value.code == "BadInput"


def test_a_function_that_is_not_there_is_too_old() -> None:
    with pytest.raises(CodeTooOld, match="there is no function gone; it has: begin"):
        answer_call(handler_of(begin_), call("gone"), Resources())


def begin_(event: Asked) -> None:
    """A handler."""


begin_.__name__ = "begin"


def test_a_state_of_newer_code_waits() -> None:
    def begin(event: Asked, state: Known) -> None: ...

    with pytest.raises(CodeTooOld, match="a newer worker wrote it"):
        answer(begin, state={"$version": 2})
