"""What is checked of an Agent's spec before any event comes, each rule by itself and in full words."""

from typing import Any

import pytest

from heed import names
from heed.api.handler import EmitSpec, HandlerSpec
from heed.api.task import TaskSpec
from heed.core.cel.template import compile_template
from heed.core.cel.variables import SUBSCRIPTION_VARIABLES
from heed.core.codec.canonical_json import INT_MAX, INT_MIN
from heed.core.compiler import validation
from heed.core.compiler.validation import Compiler
from heed.errors import Problem
from tests.builders.agents import ASKED, job
from tests.unit.checks import said, spec


def handler(**fields: Any) -> HandlerSpec:
    return HandlerSpec.model_validate({"name": "h", "type": ASKED, **fields})


# ── compiling ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_not_there_compiles_to_nothing() -> None:
    compiler = Compiler([])

    assert compiler.expression(None, "here") is None
    assert compiler.template(None, "here") is None
    assert compiler.expression("1 + 1", "here") is not None
    assert compiler.template({"a": 1}, "here") is not None
    assert compiler.problems == []


@pytest.mark.parametrize(
    ("source", "condition", "problems"),
    [
        ("true", True, []),
        ("1 + 1", False, []),
        ("1 + 1", True, ["here: is int, not a boolean; compare it with something"]),
        ("evnt", False, ['here: unknown variable or function "evnt"; did you mean "event"?']),
    ],
)
def test_an_expression_that_does_not_compile_is_a_problem(
    source: str, condition: bool, problems: list[str]
) -> None:
    assert said(Compiler.expression, source, "here", condition=condition) == problems


def test_a_template_that_does_not_compile_is_a_problem_at_its_place() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]

    assert said(Compiler.template, {"a": ["${evnt}"]}, "here") == [
        'here.a[0]: unknown variable or function "evnt"; did you mean "event"?'
    ]
    assert said(Compiler.template, deep, "here") == ["here: nests too deep; flatten it"]


def test_only_what_is_known_in_a_place_compiles_there() -> None:
    problems: list[Problem] = []
    compiler = Compiler(problems, SUBSCRIPTION_VARIABLES)

    assert compiler.template("${event.id}", "here") is not None
    assert compiler.template("${state.n}", "here") is None
    assert compiler.expression("state.n == 1", "there") is None
    assert [item.path for item in problems] == ["here", "there"]
    assert {item.message.partition(";")[0] for item in problems} == {'unknown variable or function "state"'}


# ── names, keys and tasks ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_name_is_that_of_one_handler() -> None:
    found = said(validation.check_names, spec({"name": "a"}, {"name": "b"}, {"name": "a"}, {"name": "a"}))

    assert found == [
        f'spec.handlers[{index}].name: "a" is the name of spec.handlers[0] too; give each handler its own name'
        for index in (2, 3)
    ]


def test_what_comes_anyway_needs_no_subscription() -> None:
    subscribe = [
        {"type": "a"},
        {"type": "dev.heed.task.failed"},
        {"type": "dev.heedless.x"},
        {"type": "dev.heed.x"},
    ]

    assert said(validation.check_names, spec(subscribe=subscribe)) == [
        "spec.subscribe[1].type: task events come through the inbox and need no subscription; "
        "remove it; a handler with that `type` gets them",
        "spec.subscribe[3].type: what Heed itself says comes through the inbox and needs no subscription; "
        "remove it; a handler with that `type` gets it",
    ]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (None, None),
        ("event.id", None),
        ("'x' + string(1)", None),
        ("1", "is int, not a string; wrap it in string(…)"),
        ("1u", "is uint, not a string; wrap it in string(…)"),
        ("1.5", "is double, not a string; wrap it in string(…)"),
        ("1 < 2", "is bool, not a string; wrap it in string(…)"),
        ("[1]", "is list<int>, not a string; yield a string"),
        ("b'x'", "is bytes, not a string; yield a string"),
    ],
)
def test_a_key_is_a_string(source: str | None, problem: str | None) -> None:
    key = Compiler([]).expression(source, "key")

    assert said(validation.check_key, key) == ([] if problem is None else [f"spec.session.key: {problem}"])


def test_a_task_has_work_to_do() -> None:
    broken: dict[str, Any] = {"template": {"spec": {"containers": []}}}

    assert said(validation.check_work, TaskSpec(), None, "here") == [
        "here: has no work to do; give it one of job, wait, approval, resource, function, http, llm"
    ]
    assert said(validation.check_work, TaskSpec(job=broken), None, "here") == []
    assert said(validation.check_work, TaskSpec(job=broken), compile_template(broken), "here") == [
        "here.job.template.spec.containers: there is no container; a job needs at least one container"
    ]
    assert said(validation.check_work, TaskSpec(**job()), compile_template(job()["job"]), "here") == []


@pytest.mark.parametrize(
    ("task", "tasks", "problems"),
    [
        (None, {}, []),
        ("work", {"work": job()}, []),
        ("wrk", {"work": job(), "a": job()}, ['here: unknown task "wrk"; spec.tasks has: a, work']),
        ("wrk", {}, ['here: unknown task "wrk"; spec.tasks has: none']),
    ],
)
def test_a_task_that_is_named_exists(task: str | None, tasks: dict[str, Any], problems: list[str]) -> None:
    assert said(validation.check_task, task, "here", spec(tasks=tasks)) == problems


# ── handlers ────────────────────────────────────────────────────────────────────────────────────────────────────────

NO_STATE = "here.state: is neither a map nor one ${CEL} that yields a map; write `state: {key: value}`"


@pytest.mark.parametrize(
    ("fields", "problems"),
    [
        ({}, []),
        ({"type": "dev.heed.task.*"}, []),
        ({"type": names.TASK_PROGRESS}, []),
        (
            {"type": "dev.heed.task.done"},
            [
                "here.type: no task sends dev.heed.task.done, and dev.heed.task.* is reserved for what tasks send; "
                'did you mean "dev.heed.task.progress"?'
            ],
        ),
        ({"end": True}, []),
        (
            {"end": True, "start": [{"task": "work"}]},
            ["here.end: a handler that ends its session cannot start tasks; start them in another handler"],
        ),
        (
            {"cancel": [{"task": "work"}, {"task": "wrk"}]},
            ['here.cancel[1].task: unknown task "wrk"; spec.tasks has: work'],
        ),
        ({"state": {}}, []),
        ({"state": "${event.data}"}, []),
        ({"state": "${"}, []),
        ({"state": "text"}, [NO_STATE]),
        ({"state": "a ${event.data}"}, [NO_STATE]),
        ({"state": "${event.data} "}, [NO_STATE]),
        ({"state": [1]}, [NO_STATE]),
        ({"state": 7}, [NO_STATE]),
        (
            {"state": {"a": {"b": None}}},
            ['here.state.a.b: is null; write "${null}": Kubernetes drops null members from manifests'],
        ),
    ],
)
def test_what_a_handler_does_makes_sense(fields: dict[str, Any], problems: list[str]) -> None:
    assert said(validation.check_handler, handler(**fields), "here", spec(tasks={"work": job()})) == problems


@pytest.mark.parametrize(
    ("fields", "problems"),
    [
        ({"type": "x.y", "to": "clerk"}, []),
        ({"type": "x.${event.id}", "to": "${event.id}"}, []),
        ({"from": "${[]}"}, []),
        (
            {"type": "x y"},
            ['here.type: "x y" is not an event type; use dot-separated tokens, such as com.example.done'],
        ),
        (
            {"type": "dev.heed.task.x"},
            ["here.type: dev.heed.* is reserved for what Heed itself says; choose a type of your own"],
        ),
        ({"type": "x", "to": "A b"}, ['here.to: "A b" is not the name of an Agent; use a-z, 0-9 and -']),
        (
            {"type": "x", "data": [1, {"a": None}]},
            ['here.data[1].a: is null; write "${null}": Kubernetes drops null members from manifests'],
        ),
    ],
)
def test_what_is_said_of_an_event_can_be_sent(fields: dict[str, Any], problems: list[str]) -> None:
    assert said(validation.check_emitted, EmitSpec.model_validate(fields), "here") == problems


ONE_OF = "here: needs either `task` or `from`; give exactly one of `task` and `from`"
FROM = "here.from: is not one ${CEL}; write `from: ${…}` with an expression that yields a list"


@pytest.mark.parametrize(
    ("value", "many", "problems"),
    [
        ("a", None, []),
        (None, "${[]}", []),
        (None, None, [ONE_OF]),
        ("a", "${[]}", [ONE_OF]),
        ("a", "x", [ONE_OF, FROM]),
        (None, "[]", [FROM]),
        (None, "${[]}${[]}", [FROM]),
        (None, "${", []),
    ],
)
def test_an_item_is_one_thing_or_where_many_come_from(
    value: str | None, many: str | None, problems: list[str]
) -> None:
    assert said(validation.check_one_of, "here", "task", value, many) == problems


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        (None, []),
        ([None], []),
        (INT_MAX, []),
        (INT_MIN, []),
        (INT_MAX + 1, ["here: 9223372036854775808 does not fit 64 bits; write it as a string"]),
        (INT_MIN - 1, ["here: -9223372036854775809 does not fit 64 bits; write it as a string"]),
        ({"a": [1, 2**64]}, ["here.a[1]: 18446744073709551616 does not fit 64 bits; write it as a string"]),
        (1e30, []),
    ],
)
def test_values_reach_the_operator_as_they_are_written(value: Any, problems: list[str]) -> None:
    assert said(validation.check_values, value, "here") == problems


@pytest.mark.parametrize("box", [lambda value: [value], lambda value: {"a": value}])
def test_values_are_looked_at_down_to_a_hundred_levels(box: Any) -> None:
    def nested(depth: int) -> Any:
        value: Any = 2**64
        for _ in range(depth):
            value = box(value)
        return value

    assert len(said(validation.check_values, nested(100), "here")) == 1
    assert said(validation.check_values, nested(101), "here") == []
