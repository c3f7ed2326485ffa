"""Where expressions stand in an Agent, and what is told of those that fail for every event."""

from typing import Any

import pytest

from heed import names
from heed.core.cel.variables import ALL_VARIABLES, SUBSCRIPTION_VARIABLES, TASK_VARIABLES
from heed.core.compiler.expression_sites import ExpressionSite, find_sites
from heed.core.compiler.trial_evaluation import try_expressions
from tests.builders.agents import ASKED, job, program

FAILED = names.TASK_FAILED
WHOLE = program(
    {
        "when": "event.data == 1",
        "state": {"a": "${event.id}", "b": ["${1}"]},
        "start": [{"task": "work", "input": "${event.data}"}, {"from": "${event.data}"}, {"task": "work"}],
        "emit": [{"type": "x.${event.id}", "to": "${event.id}"}, {"type": "x"}, {"from": "${event.data}"}],
    },
    {"type": FAILED, "when": "task.id == ''"},
    {"type": "dev.heed.>"},
    subscribe=[{"type": "a"}, {"type": ASKED, "where": "event.data == 1"}],
    session={"key": "event.id"},
    tasks={"work": job("${input}"), "idle": job("fixed")},
)


def test_every_expression_is_found_in_the_order_of_the_manifest() -> None:
    first = (ALL_VARIABLES, ASKED, 0, None)
    found = [
        (item.path, item.condition, item.known, item.pattern, item.handler, item.task)
        for item in find_sites(WHOLE)
    ]

    assert found == [
        ("spec.subscribe[1].where", True, SUBSCRIPTION_VARIABLES, ASKED, None, None),
        ("spec.session.key", False, SUBSCRIPTION_VARIABLES, None, None, None),
        (
            "spec.tasks.work.job.template.spec.containers[0].args[0]",
            False,
            TASK_VARIABLES,
            None,
            None,
            "work",
        ),
        ("spec.handlers[0].when", True, *first),
        ("spec.handlers[0].state.a", False, *first),
        ("spec.handlers[0].state.b[0]", False, *first),
        ("spec.handlers[0].start[0].input", False, *first),
        ("spec.handlers[0].start[1].from", False, *first),
        ("spec.handlers[0].emit[0].type", False, *first),
        ("spec.handlers[0].emit[0].to", False, *first),
        ("spec.handlers[0].emit[2].from", False, *first),
        ("spec.handlers[1].when", True, ALL_VARIABLES, FAILED, 1, None),
    ]


@pytest.mark.parametrize(
    ("pattern", "of_tasks"),
    [(FAILED, True), ("dev.heed.task.*", True), ("dev.heed.>", False), (">", False), (None, False)],
)
def test_some_places_see_events_of_tasks_only(pattern: str | None, of_tasks: bool) -> None:
    (first, *_) = find_sites(WHOLE)

    assert ExpressionSite("x", first.expression, ALL_VARIABLES, pattern).of_tasks is of_tasks


ALWAYS = "spec.handlers[0].when: fails for every event:"


def told(handler: dict[str, Any], **spec: Any) -> list[str]:
    """What is said of the expressions of an Agent, each tried by itself."""
    agent = program(handler, **spec)
    return [str(item) for place in find_sites(agent) for item in try_expressions(agent, place)]


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        ({"when": "event.data"}, []),
        ({"when": "event.data.n == 1"}, []),
        ({"when": "state.n > 1"}, []),
        (
            {"when": "event.id"},
            [f"{ALWAYS} is string, not a boolean; compare it with something"],
        ),
        (
            {"when": "event.subject"},
            [f"{ALWAYS} is string, not a boolean; compare it with something"],
        ),
        (
            {"when": "agent.labels"},
            [f"{ALWAYS} is map<dyn, dyn>, not a boolean; compare it with something"],
        ),
        ({"when": "event.id == 'x'"}, []),
        ({"state": {"a": "${event.id}"}}, []),
        ({"state": {"a": "${event.time.getSeconds()}"}}, 1),
        ({"state": {"a": "${event.dataschema + 1}"}}, 1),
        ({"state": {"a": "${event.datacontenttype + 1}"}}, 1),
        ({"state": {"a": "${session.startedAt + 1}"}}, 1),
        ({"state": {"a": "${session.key.size() + 1}"}}, []),
        ({"state": {"a": "${agent.name + agent.namespace}"}}, []),
        ({"state": {"a": "${agent.name + 1}"}}, 1),
        ({"state": {"a": "${agent.namespace + 1}"}}, 1),
        ({"state": {"a": "${event.correlationid + event.source + event.specversion}"}}, []),
        ({"state": {"a": "${event.correlationid + 1}"}}, 1),
        ({"state": {"a": "${event.source + 1}"}}, 1),
        ({"state": {"a": "${event.specversion + 1}"}}, 1),
        (
            {
                "state": {
                    "a": "${timestamp(event.time).getFullYear() + timestamp(session.startedAt).getFullYear()}"
                }
            },
            [],
        ),
        ({"type": FAILED, "state": {"a": "${task.id + task.name + task.kind + task.startedAt}"}}, []),
        ({"type": FAILED, "state": {"a": "${task.id + 1}"}}, 1),
        ({"type": FAILED, "state": {"a": "${task.name + 1}"}}, 1),
        ({"type": FAILED, "state": {"a": "${task.kind + 1}"}}, 1),
        ({"type": FAILED, "state": {"a": "${task.startedAt + 1}"}}, 1),
        ({"type": "com.example.>", "when": "event.type == 1 || event.type.startsWith('com')"}, []),
    ],
)
def test_what_fails_for_every_event_is_told_before_any(
    handler: dict[str, Any], said: list[str] | int
) -> None:
    found = told(handler)

    if isinstance(said, list):
        assert found == said
    else:
        assert len(found) == said
        assert found[0].startswith("spec.handlers[0].state.a: fails for every event: ")


def test_in_a_tasks_template_the_task_has_a_name() -> None:
    start = {"start": [{"task": "work"}]}

    assert told(start, tasks={"work": job("${task.id + task.name}")}) == []
    assert len(told(start, tasks={"work": job("${string(task.name + 1)}")})) == 1
    assert len(told(start, tasks={"work": job("${string(task.id + 1)}")})) == 1


def test_what_may_be_costly_is_not_tried() -> None:
    loop = "[1, 2, 3, 4, 5, 6, 7, 8]"
    deep = f"{loop}.all(a, {loop}.all(b, {loop}.all(c, {loop}.all(d, {loop}.all(e, event.id + 1 == a)))))"

    assert len(told({"when": "event.id + 1 == 2"})) == 1
    assert told({"when": deep}) == []
