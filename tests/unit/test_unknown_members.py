"""Members that never are, of each variable: what is said of them, and of which nothing is."""

from typing import Any

import pytest

from heed.core.compiler.expression_sites import find_sites
from heed.core.compiler.unknown_members import KnownMembers, find_unknown_members
from tests.builders.agents import job, program

TASKS = {"work": job(), "other": job()}
ATTRIBUTES = (
    "known here are id, source, type, specversion, correlationid, data, "
    "subject, time, datacontenttype, dataschema"
)
COMPLETED, FAILED, ANY = (f"dev.heed.task.{name}" for name in ("completed", "failed", "*"))


def found(*handlers: dict[str, Any], **spec: Any) -> list[str]:
    """What is said of an Agent's expressions, in the order of the manifest."""
    agent = program(*handlers, **{"tasks": TASKS, **spec})
    members = KnownMembers.of(agent)
    return [str(problem) for place in find_sites(agent) for problem in find_unknown_members(place, members)]


def reading(source: str, **more: Any) -> dict[str, Any]:
    """A handler that reads something."""
    return {"state": {"a": "${" + source + "}"}, **more}


# ── events ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "source",
    [
        *("event", "event.id", "event.source", "event.correlationid", "event.specversion", "event.subject"),
        *("event.data", "event.data.x.y", "event.dataschema", "event.datacontenttype", "event.time"),
        *("event.time.getHours()", "event.id.map(c, c)", "event.map(k, k)", "event.data.map(x, x.y)"),
        *(
            "event.tenant",
            "event.x1",
            "event.causationid",
            "has(event.dat) && event.dat == 'x'",
            "event.?idd",
        ),
        *("has(event.idd)", "'dat' in event"),
    ],
)
def test_what_an_event_may_have_is_not_doubted(source: str) -> None:
    assert found(reading(source)) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("event.id.x", "event.id is a text, which has no members; read it as a whole"),
        ("event.subject.x.y", "event.subject is a text, which has no members; read it as a whole"),
        ("has(event.type.x)", "event.type is a text, which has no members; read it as a whole"),
        *(
            (
                f"event.{name}",
                f'"{name}" is no attribute of CloudEvents, so it would be an extension that senders set; '
                f'did you mean "{meant}"?',
            )
            for name, meant in (
                *(("dat", "data"), ("dta", "data"), ("datta", "data"), ("idd", "id"), ("i", "id")),
                *(("tpye", "type"), ("sourc", "source"), ("emit", "time")),
            )
        ),
        (
            "event.tenant.x",
            f"event.tenant would be an extension attribute, which has no members; {ATTRIBUTES}",
        ),
        (
            "event.typ.x + event.typ.y",
            'event.typ would be an extension attribute, which has no members; did you mean "type"?',
        ),
        (
            "event.Data",
            'no event has an attribute "Data": their names are of lower-case letters and digits; '
            'did you mean "data"?',
        ),
        (
            "event.correlationId == event.id",
            'no event has an attribute "correlationId": their names are of lower-case letters and digits; '
            'did you mean "correlationid"?',
        ),
        (
            "event['x-y'].z",
            'no event has an attribute "x-y": their names are of lower-case letters and digits; '
            + ATTRIBUTES,
        ),
    ],
)
def test_what_no_event_has_is_named(source: str, said: str) -> None:
    assert found(reading(source)) == [f"spec.handlers[0].state.a: {said}"]


ENDS = {
    COMPLETED: "task, result, message, attempt",
    FAILED: "task, reason, message, exitCode, cause, container, pod, attempt, retryable, retryAfter",
}


@pytest.mark.parametrize("type_", [COMPLETED, FAILED])
def test_the_data_of_an_end_have_these_members(type_: str) -> None:
    members = ENDS[type_].split(", ")
    for name in members:
        assert found(reading(f"event.data.{name}", type=type_)) == []
    (other,) = {COMPLETED, FAILED} - {type_}
    for name in set(ENDS[other].split(", ")) - set(members):
        (said,) = found(reading(f"event.data.{name}", type=type_))
        assert said.startswith(f"spec.handlers[0].state.a: the end of a task has no event.data.{name}; ")


@pytest.mark.parametrize(
    ("type_", "source", "said"),
    [
        (COMPLETED, "event.data.zz", f"event.data.zz; known here are {ENDS[COMPLETED]}"),
        (COMPLETED, "event.data.resul.x", 'event.data.resul; did you mean "result"?'),
        (FAILED, "has(event.data.zz)", f"event.data.zz; known here are {ENDS[FAILED]}"),
        (
            ANY,
            "event.data.zz",
            "event.data.zz; known here are task, result, message, attempt, reason, exitCode, cause, container, pod, "
            "retryable, retryAfter",
        ),
        (COMPLETED, "event.data", None),
        (COMPLETED, "event.data.map(k, k)", None),
        (COMPLETED, "event.data.result.zz", None),
        (ANY, "event.data.result", None),
        (ANY, "event.data.exitCode", None),
        ("dev.heed.task.progress", "event.data.zz", None),
        (">", "event.data.zz", None),
        ("dev.heed.>", "event.data.zz", None),
    ],
)
def test_what_the_data_of_ends_may_have_depends_on_what_is_heard(
    type_: str, source: str, said: str | None
) -> None:
    expected = [] if said is None else [f"spec.handlers[0].state.a: the end of a task has no {said}"]

    assert found(reading(source, type=type_)) == expected


def test_where_a_task_may_send_progress_its_data_are_its_own() -> None:
    publishing = {"work": job(publish=True), "other": job()}

    assert found(reading("event.data.zz", type=ANY), tasks=publishing) == []
    assert len(found(reading("event.data.zz", type=COMPLETED), tasks=publishing)) == 1


# ── variables whose members are fixed ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("has(agent.zz)", 'agent never has a member "zz"; known here are name, namespace, labels'),
        ("'kee' in session", 'session never has a member "kee"; did you mean "key"?'),
        ("agent.?nam.orValue('')", 'agent never has a member "nam"; did you mean "name"?'),
    ],
)
def test_a_member_that_is_only_asked_for_never_is_either(source: str, said: str) -> None:
    assert found(reading(source)) == [f"spec.handlers[0].state.a: {said}"]
    assert found(reading("agent.labels.x + session.key + agent.name")) == []


# ── the state ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("state", "known"),
    [
        ({"b": 1}, "known here are b"),
        ({"b": "${event.x}", "c": "${null}"}, "known here are b, c"),
        ("${ {'c': 1, 'b': event.x} }", "known here are b, c"),
        ("${event.x ? {'b': 1} : {'c': 1}}", "known here are b, c"),
        ("${event.x ? {'b': 1} : event.y ? {'d': 1} : {'c': 1}}", "known here are b, c, d"),
        ("${event.data}", None),
        ("${event.x ? {'b': 1} : event.c}", None),
        ("${ {event.x: 1, 'b': 2} }", None),
        ("${ {1: 2} }", None),
        ("${[1]}", None),
    ],
)
def test_the_names_in_the_state_are_those_that_handlers_set(state: Any, known: str | None) -> None:
    condition = {"when": "has(state.zz) || has(state.b)"}
    expected = [] if known is None else [f"spec.handlers[1].when: no handler sets state.zz; {known}"]

    assert found({"state": state}, condition) == expected


def test_where_no_handler_sets_any_it_is_said_where_to() -> None:
    assert found({"when": "state.zz.x == state.zz.y"}, {"state": {}}) == [
        "spec.handlers[0].when: no handler sets state.zz; write it in the `state` of a handler"
    ]
    assert found({"state": {"abc": 1}}, {"state": {"x": 1}}, {"when": "has(state.abd)"}) == [
        'spec.handlers[2].when: no handler sets state.abd; did you mean "abc"?'
    ]


# ── inputs ──────────────────────────────────────────────────────────────────────────────────────────────────────────

START = {"start": [{"task": "work", "input": {"x": 1}}, {"task": "other", "input": "${ {'y': 1} }"}]}
PLACE = "job.template.spec.containers[0].args[0]"


def test_the_input_of_a_task_is_what_starts_of_it_give() -> None:
    tasks = {"work": job("${input.x} ${input.y}"), "other": job("${input.x} ${input.y}")}

    assert found(START, tasks=tasks) == [
        f"spec.tasks.work.{PLACE}: no start gives input.y; known here are x",
        f"spec.tasks.other.{PLACE}: no start gives input.x; known here are y",
    ]


def test_a_handler_of_ends_sees_the_inputs_of_all_tasks() -> None:
    assert found(START, reading("has(input.x) || has(input.y)", type=ANY)) == []
    assert found(START, reading("has(input.zz)", type=ANY)) == [
        "spec.handlers[1].state.a: no start gives input.zz; known here are x, y"
    ]


@pytest.mark.parametrize(
    "more",
    [
        {"start": [{"from": "${event.data}"}]},
        {"start": [{"task": "work", "input": "${event.data}"}]},
        {"start": [{"task": "work", "input": "${ {event.id: 1} }"}]},
    ],
)
def test_what_only_events_can_tell_is_not_doubted(more: dict[str, Any]) -> None:
    assert found(START, more, reading("has(input.zz)", type=ANY)) == []


def test_a_task_that_nothing_starts_or_without_input_is_not_doubted() -> None:
    tasks = {"work": job("${input.zz}"), "other": job()}

    assert found({"end": True}, tasks=tasks) == []
    assert found({"start": [{"task": "work"}]}, tasks=tasks) == []
    assert found({"start": [{"task": "work"}, {"task": "work", "input": {"x": 1}}]}, tasks=tasks) == [
        f"spec.tasks.work.{PLACE}: no start gives input.zz; known here are x"
    ]
