"""A script answers the tasks of a simulation: which rule answers which start, with what, and what is no script."""

from collections.abc import Collection
from typing import Any

import pytest

from heed.core.effects import AgentRef, TaskWork
from heed.core.simulation.steps import StubbedEnd
from heed.core.simulation.task_stubs import answer_from, parse_script
from heed.errors import InvalidManifest
from tests.builders.tasks import task_work

DOCUMENT: dict[str, Any] = {
    "task": {"id": "work-1", "name": "work"},
    "input": {"n": 7, "text": "tides"},
    "event": {"id": "e1", "type": "com.example.asked"},
    "session": {"key": "s1", "startedAt": "2026-01-31T12:00:00Z"},
    "agent": {"name": "clerk", "namespace": "demo"},
}


CLERK = AgentRef("demo", "clerk", "uid")


def starting(task: str = "work", **document: Any) -> TaskWork:
    """A task that starts, and what it is given."""
    return task_work(agent=CLERK, task=task, session="s1", document={**DOCUMENT, **document})


def script(*rules: dict[str, Any]) -> Any:
    """What answers by these rules, all of them for the task `work` where they name none."""
    return answer_from(parse_script([{"task": "work", **rule} for rule in rules], ["work", "other"]))


def mistakes(
    document: Any, tasks: tuple[str, ...] = ("work", "other"), events: Collection[str] | None = None
) -> list[str]:
    """What is wrong with a script."""
    try:
        parse_script(document, tasks, events)
    except InvalidManifest as error:
        return [str(problem) for problem in error.problems]
    return []


def refusal(*rules: dict[str, Any]) -> str:
    """What is said where a rule breaks on a task."""
    with pytest.raises(InvalidManifest) as raised:
        script(*rules)(starting())
    return str(raised.value)


@pytest.mark.parametrize(
    ("rule", "answer"),
    [
        ({}, StubbedEnd()),
        ({"result": None}, StubbedEnd()),
        ({"result": 0}, StubbedEnd(result=0)),
        (
            {"result": {"n": "${input.n + 1}", "text": "of ${input.text}"}},
            StubbedEnd(result={"n": 8, "text": "of tides"}),
        ),
        (
            {"result": "${session.key} ${event.type} ${task.id} ${agent.name}"},
            StubbedEnd(result="s1 com.example.asked work-1 clerk"),
        ),
        ({"result": "${event.correlationid}"}, StubbedEnd(result="e1")),
        ({"result": "${state}"}, StubbedEnd(result={})),
        ({"reason": "Unlucky"}, StubbedEnd(reason="Unlucky")),
        (
            {
                "reason": "JobFailed",
                "message": "sorry",
                "exitCode": 3,
                "cause": "OOMKilled",
                "container": "main",
            },
            StubbedEnd(None, "JobFailed", "sorry", 3, "OOMKilled", "main"),
        ),
        ({"reason": "JobFailed", "exitCode": 0}, StubbedEnd(reason="JobFailed", exit_code=0)),
        ({"reason": "JobFailed", "after": "e2"}, StubbedEnd(reason="JobFailed", after="e2")),
        ({"result": 1, "after": "e2"}, StubbedEnd(result=1, after="e2")),
        ({"when": "input.n == 7 && event.correlationid == 'e1'", "result": 1}, StubbedEnd(result=1)),
        ({"when": "input.n == 8", "result": 1}, None),
        ({"task": "other", "result": 1}, None),
    ],
)
def test_a_rule_answers_the_starts_that_it_fits(rule: dict[str, Any], answer: StubbedEnd | None) -> None:
    assert script(rule)(starting()) == answer


def test_the_flow_of_an_event_is_its_own_where_it_has_one() -> None:
    answer = script({"result": "${event.correlationid}"})

    assert answer(starting(event={"id": "e1", "correlationid": "c1"})) == StubbedEnd(result="c1")


def test_a_task_without_a_file_is_answered_all_the_same() -> None:
    bare = task_work(agent=CLERK, session="s1", document={})

    assert script({"result": "${input}"})(bare) == StubbedEnd(result=None)
    assert script({"result": "${event}"})(bare) == StubbedEnd(result={"correlationid": None})


def test_the_first_rule_that_fits_answers() -> None:
    answer = script({"when": "input.n > 7", "result": 1}, {"result": 2}, {"result": 3})

    assert answer(starting()) == StubbedEnd(result=2)
    assert answer(starting(input={"n": 8})) == StubbedEnd(result=1)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_rule_answers_so_many_times(times: int) -> None:
    answer = script({"times": times, "result": 1}, {"result": 2})

    found = [answer(starting()) for _ in range(4)]

    assert found == [StubbedEnd(result=1)] * times + [StubbedEnd(result=2)] * (4 - times)


def test_a_start_that_a_rule_does_not_fit_uses_nothing_up() -> None:
    answer = script({"times": 1, "when": "input.n == 7", "result": 1})

    assert [answer(starting(input={"n": n})) for n in (6, 7, 7)] == [None, StubbedEnd(result=1), None]
    assert [answer(starting("other"))] == [None]


def test_a_rule_for_one_start_counts_those_that_it_fits() -> None:
    answer = script(
        {"run": 2, "when": "input.n == 7", "result": "second seven"},
        {"run": 3, "result": "third"},
        {"run": 4, "result": "fourth"},
        {"result": "any"},
    )

    found = [answer(starting(input={"n": n})) for n in (7, 6, 7, 7, 6)]

    assert found == [StubbedEnd(result=text) for text in ("any", "any", "second seven", "fourth", "any")]


def test_what_an_earlier_rule_answers_counts_for_the_later_ones_that_wait_for_their_start_only() -> None:
    answer = script(
        {"times": 1, "result": "first"}, {"times": 1, "result": "next"}, {"run": 2, "result": "second"}
    )

    assert [answer(starting()) for _ in range(3)] == [
        StubbedEnd(result="first"),
        StubbedEnd(result="next"),
        None,
    ]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            {"when": "input.missing > 1"},
            '[0].when: there is no "missing"; guard it with has(…) or use .?missing.orValue(…)',
        ),
        ({"when": "input.text"}, "[0].when: is string, not a boolean; compare it with something"),
        (
            {"result": {"a": "${input.missing}"}},
            '[0].result.a: ${input.missing}: there is no "missing"; guard it with has(…) or use .?missing.orValue(…)',
        ),
    ],
)
def test_a_rule_that_breaks_says_where(rule: dict[str, Any], said: str) -> None:
    assert refusal(rule) == said
    assert refusal({"task": "other"}, rule) == said.replace("[0]", "[1]")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"task": "wrk"}, '[0].task: no Agent has a task "wrk"; tasks are: work, other'),
        (
            {"result": None, "reason": "x"},
            "[0]: has a result and a reason; a task completes or fails, not both",
        ),
        ({"message": "m"}, "[0]: has no reason; give a failed task a `reason`, such as JobFailed"),
        ({"exitCode": 0}, "[0]: has no reason; give a failed task a `reason`, such as JobFailed"),
        ({"cause": ""}, "[0]: has no reason; give a failed task a `reason`, such as JobFailed"),
        ({"container": "main"}, "[0]: has no reason; give a failed task a `reason`, such as JobFailed"),
        ({"run": 1, "times": 1}, "[0]: has run and times; run is one start, times the first so many"),
        ({"run": 0}, "[0].run: is 0; write at least 1"),
        ({"times": 0}, "[0].times: is 0; write at least 1"),
        ({"times": "1"}, "[0].times: is a string, not a whole number; write a whole number"),
        ({"when": ""}, "[0].when: is empty; fill it in, or leave the field out"),
        ({"reason": ""}, "[0].reason: is empty; fill it in, or leave the field out"),
        ({"after": ""}, "[0].after: is empty; fill it in, or leave the field out"),
        ({"exit_code": 1}, '[0].exit_code: there is no such field; did you mean "exitCode"?'),
        ({"when": "1 + 1"}, "[0].when: is int, not a boolean; compare it with something"),
        (
            {"result": {"a": ["${inptu}"]}},
            '[0].result.a[0]: unknown variable or function "inptu"; did you mean "input"?',
        ),
    ],
)
def test_a_mistake_in_a_rule_has_its_place(rule: dict[str, Any], said: str) -> None:
    assert mistakes([{"task": "work", **rule}]) == [said]
    later = [{"task": "work"}, {"task": "work", **rule}]
    assert mistakes(later) == [said.replace("[0]", "[1]", 1)]


def test_all_mistakes_of_a_script_are_told_at_once() -> None:
    wrong = {"task": "wrk", "when": "nothing", "result": "${nothing}", "run": 1, "times": 1, "after": "e9"}

    assert [item.partition(": ")[0] for item in mistakes([wrong, wrong], events=["e1"])] == [
        *("[0].task", "[0]", "[0].when", "[0].result"),
        *("[1].task", "[1]", "[1].when", "[1].result"),
        *("[0].after", "[1].after"),
    ]


def test_where_there_are_no_tasks_it_says_so() -> None:
    assert mistakes([{"task": "work"}], ()) == ['[0].task: no Agent has a task "work"; tasks are: none']


@pytest.mark.parametrize(
    ("after", "events", "said"),
    [
        ("line-1", None, []),
        ("line-1", ["line-1", "line-2"], []),
        ("line1", ["x", "line-1"], ['[0].after: no given event has the id "line1"; did you mean "line-1"?']),
        ("z", ["line-1"], ['[0].after: no given event has the id "z"; name the id of one, such as line-1']),
        ("z", [], ['[0].after: no given event has the id "z"; name the id of one, such as line-1']),
    ],
)
def test_the_event_that_an_end_comes_after_is_a_given_one(
    after: str, events: list[str] | None, said: list[str]
) -> None:
    assert mistakes([{"task": "work", "after": after}], events=events) == said


def test_a_script_is_a_list_of_maps() -> None:
    assert mistakes({"task": "work"}) == [": is a map, not a list; write a list: items that begin with `- `"]
    assert mistakes(["work"]) == ["[0]: is a string, not a map; write a map: `name: value`"]
    assert mistakes([{}]) == ["[0].task: is missing; add it"]
    assert mistakes([]) == []
