"""What conditions need of an event that it need not have, and the guards that are proposed."""

from dataclasses import replace
from typing import Any

import pytest

from heed.core.compiler.expression_sites import find_sites
from heed.core.compiler.program import Program
from heed.core.compiler.unguarded_members import (
    MemberGuards,
    find_nullable_parents,
    find_unguarded,
    suggest_guard,
)
from tests.builders.agents import ASKED, job, program
from tests.builders.policies import event_type
from tests.unit.test_event_types import schemas

NOTHING = "which nothing asks for and no EventType here requires"
NOT_EVERY = "which not every event has"
OF_TASKS = "which only events of tasks have"
FAILED, ANY = "dev.heed.task.failed", "dev.heed.task.*"


def agent_with_task(*handlers: dict[str, Any], **spec: Any) -> Program:
    """An Agent with a task."""
    return program(*handlers, **{"tasks": {"work": job()}, **spec})


def missing(agent: Program) -> list[str]:
    """What its conditions read and nothing asks for."""
    places = list(find_sites(agent))
    guards = MemberGuards.of(agent, places)
    return [str(problem) for place in places for problem in find_unguarded(place, guards)]


def breaking(agent: Program) -> list[str]:
    """What breaks where null is on the way."""
    return [str(problem) for place in find_sites(agent) for problem in find_nullable_parents(place, agent)]


def warning(place: str, path: str, why: str, remedy: str, other: int | None = None) -> str:
    """The whole of a warning."""
    although = "" if other is None else f", although spec.handlers[{other}] may react to it"
    return f"spec.{place}: reads {path}, {why}: an event without it is dead-lettered{although}; write {remedy} && …"


GUARD = "has(event.data.a) && type(event.data.a) == map && has(event.data.a.b)"


@pytest.mark.parametrize(
    ("when", "path", "why", "remedy"),
    [
        ("event.data.a", "event.data.a", NOTHING, "has(event.data.a)"),
        ("event.data.a.b", "event.data.a", NOTHING, GUARD),
        ("has(event.data.a.b)", "event.data.a", NOTHING, "has(event.data.a)"),
        ("has(event.data.a) && event.data.a.b == 1", "event.data.a.b", NOTHING, GUARD),
        ("event.data.?a.orValue({'b': 1}).b == 1", "event.data.a.b", NOTHING, GUARD),
        ("event.data.a[0] == 1", "event.data.a", NOTHING, "has(event.data.a)"),
        ("event.data.a.all(x, x.b == 1)", "event.data.a", NOTHING, "has(event.data.a)"),
        ("event.data['a-b'] == 1", 'event.data["a-b"]', NOTHING, 'has(event.data["a-b"])'),
        ("event.subject == 'x'", "event.subject", NOT_EVERY, "has(event.subject)"),
        ("event.time == 'x'", "event.time", NOT_EVERY, "has(event.time)"),
        ("event.tenant == 'x'", "event.tenant", NOT_EVERY, "has(event.tenant)"),
    ],
)
def test_what_an_event_need_not_have_is_named_with_the_guard(
    when: str, path: str, why: str, remedy: str
) -> None:
    assert missing(agent_with_task({"when": when})) == [warning("handlers[0].when", path, why, remedy)]


@pytest.mark.parametrize(
    "when",
    [
        *(
            "true",
            "event.id == 'x'",
            "event.correlationid == event.type",
            "event.data == 'x'",
            "state.x == 1",
        ),
        *("has(event.data.a)", "has(event.data.a) && event.data.a == 1", "event.data.?a.orValue(1) == 1"),
        *("event.data.all(x, x.b == 1)", "'a' in event.data && event.data.a == 1", "session.key == 'x'"),
        *("has(event.tenant) && event.tenant == 'x'", f"{GUARD} && event.data.a.b == 1"),
    ],
)
def test_what_is_there_or_asked_for_is_not(when: str) -> None:
    assert missing(agent_with_task({"when": when})) == []


def test_only_conditions_make_a_letter_of_it() -> None:
    assert (
        missing(
            agent_with_task(
                {"state": {"a": "${event.data.a}"}, "emit": [{"type": "x.y", "data": "${event.data.b}"}]}
            )
        )
        == []
    )


def test_each_missing_member_is_told_once() -> None:
    found = missing(
        agent_with_task({"when": "event.data.a.b == 1 && event.data.c == 1 && event.data.a.d == 2"})
    )

    assert found == [
        warning("handlers[0].when", "event.data.a", NOTHING, GUARD),
        warning("handlers[0].when", "event.data.c", NOTHING, "has(event.data.c)"),
    ]


def test_a_subscription_is_guarded_by_itself() -> None:
    where = [{"type": "com.example.>", "where": "event.data.a == 1"}]

    assert missing(agent_with_task({"end": True}, subscribe=where)) == [
        warning("subscribe[0].where", "event.data.a", NOTHING, "has(event.data.a)")
    ]


@pytest.mark.parametrize(
    ("subscribe", "told"),
    [
        ([{"type": "com.example.>", "where": "has(event.data.a)"}], False),
        ([{"type": "com.example.>", "where": "has(event.data.a.b) || has(event.data)"}], False),
        ([{"type": "com.example.>", "where": "has(event.data.b)"}], True),
        ([{"type": "com.example.>"}], True),
        ([{"type": ASKED, "where": "has(event.data.a)"}, {"type": "com.example.question.*"}], True),
        ([{"type": ASKED, "where": "has(event.data.a)"}, {"type": "org.other.>"}], False),
        ([{"type": "org.other.>", "where": "has(event.data.a)"}], True),
    ],
)
def test_what_every_subscription_that_brings_events_asks_for_is_there(
    subscribe: list[dict[str, Any]], told: bool
) -> None:
    found = missing(agent_with_task({"when": "event.data.a == 1"}, subscribe=subscribe))

    assert any(item.startswith("spec.handlers[0]") for item in found) is told


def test_another_handler_that_may_react_is_named() -> None:
    when = {"when": "event.data.a == 1"}

    assert missing(agent_with_task({"end": True}, when)) == [
        warning("handlers[1].when", "event.data.a", NOTHING, "has(event.data.a)", other=0)
    ]
    assert missing(agent_with_task({"type": "com.example.other"}, when)) == [
        warning("handlers[1].when", "event.data.a", NOTHING, "has(event.data.a)")
    ]
    assert missing(agent_with_task({"type": "com.example.other"}, {"type": "com.>"}, when))[0].endswith(
        "although spec.handlers[1] may react to it; write has(event.data.a) && …"
    )


def test_what_all_of_several_handlers_read_is_what_they_tell_events_apart_by() -> None:
    one, other = {"when": "event.data.a == 1"}, {"when": "event.data.a == 2"}

    assert missing(agent_with_task(one, other)) == []
    assert len(missing(agent_with_task(one))) == 1
    assert len(missing(agent_with_task(one, other, {"end": True}))) == 2
    assert len(missing(agent_with_task(one, {"when": "has(event.data.a)"}))) == 1
    assert len(missing(agent_with_task(one, {"when": "event.data.b == 1"}))) == 2
    assert missing(agent_with_task(one, {"when": "event.data.a.c == 2"})) == []


@pytest.mark.parametrize(
    ("type_", "when", "path"),
    [
        (FAILED, "event.data.reason == 'x'", None),
        (FAILED, "event.data.task.name == 'x'", None),
        (FAILED, "event.data.exitCode == 1", "event.data.exitCode"),
        (FAILED, "event.data.message == 'x'", "event.data.message"),
        ("dev.heed.task.completed", "event.data.result == 'x'", None),
        ("dev.heed.task.completed", "event.data.result.a == 'x'", None),
        ("dev.heed.task.completed", "event.data.zz == 'x'", None),
        (ANY, "event.data.result == 'x'", "event.data.result"),
        (ANY, "event.data.reason == 'x'", "event.data.reason"),
        (ANY, "event.data.task.id == 'x'", None),
        (FAILED, "event.subject == 'x'", None),
        (FAILED, "task.name == 'x'", None),
    ],
)
def test_the_ends_of_tasks_have_what_they_have(type_: str, when: str, path: str | None) -> None:
    expected = [] if path is None else [warning("handlers[0].when", path, NOTHING, f"has({path})")]

    assert missing(agent_with_task({"type": type_, "when": when})) == expected


def test_what_hears_of_everything_asks_for_the_task() -> None:
    assert missing(agent_with_task({"type": ">", "when": "task.name == 'x'"})) == [
        warning("handlers[0].when", "task.name", OF_TASKS, "has(task.name)")
    ]
    assert missing(agent_with_task({"type": ">", "when": "has(task.name) && task.name == 'x'"})) == []


def test_what_an_event_type_requires_is_there() -> None:
    a, ab = {"required": ["a"]}, {"required": ["a"], "properties": {"a": {"required": ["b"]}}}
    base = agent_with_task({"when": "event.data.a.b == 1"})

    def with_types(*types: Any) -> Program:
        return replace(base, schemas=schemas(*types))

    assert missing(with_types(event_type(ab))) == []
    assert missing(with_types(event_type(a))) == [
        warning("handlers[0].when", "event.data.a.b", NOTHING, GUARD)
    ]
    assert missing(with_types(event_type(ab, "com.example.other"))) == missing(base)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("event", "data", "a"), "has(event.data.a)"),
        (("event", "data", "a", "b"), GUARD),
        (
            ("event", "data", "a", "b", "c"),
            f"{GUARD} && type(event.data.a.b) == map && has(event.data.a.b.c)",
        ),
        (("event", "data", "a", "[]", "b"), "has(event.data.a)"),
        (("event", "tenant"), "has(event.tenant)"),
        (("task", "name"), "has(task.name)"),
    ],
)
def test_a_guard_asks_on_the_way_whether_it_is_a_map(path: tuple[str, ...], text: str) -> None:
    assert suggest_guard(path) == text


# ── null on the way ─────────────────────────────────────────────────────────────────────────────────────────────────


def null(path: str, on_the_way: str, asked: str) -> str:
    """The whole of a warning of this sort."""
    return (
        f"spec.handlers[0].when: reads {path}, an error where {on_the_way} is null or a text; "
        f"ask for type({asked}) == map first"
    )


A = null("event.data.a.b", "event.data.a", "event.data.?a.orValue(null)")


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("has(event.data.a) && has(event.data.a.b)", [A]),
        ("has(event.data.a) && event.data.a.b == 1", [A]),
        ("has(event.data.a) && event.data.a.b.c == 1", [A]),
        ("has(event.data.a) && event.data.a.b == 1 && event.data.a.c == 2", [A]),
        (
            "event.data.?a.?b.?c.orValue(1) == 1",
            [A, null("event.data.a.b.c", "event.data.a.b", "event.data.a.?b.orValue(null)")],
        ),
        ("event.data.a.b == 1", []),
        ("has(event.data.a) && event.data.a != null && event.data.a.b == 1", []),
        ("has(event.data.a) && type(event.data.a) == map && has(event.data.a.b)", []),
        ("type(event.data.?a.orValue(null)) == map && has(event.data.a.b)", []),
        ("has(event.data.a) && event.data.a.all(x, x.b)", []),
        ("has(event.tenant) && has(event.tenant.x)", []),
        ("has(state.a) && has(state.a.b)", []),
    ],
)
def test_what_may_be_null_where_a_member_is_read_of_it(when: str, expected: list[str]) -> None:
    assert breaking(agent_with_task({"when": when})) == expected


def test_ends_of_tasks_and_what_a_type_requires_hold_no_surprise() -> None:
    when = "has(event.data.a) && event.data.a.b == 1"
    types = event_type({"required": ["a"], "properties": {"a": {"required": ["b"]}}})

    assert breaking(agent_with_task({"type": ANY, "when": when})) == []
    assert breaking(replace(agent_with_task({"when": when}), schemas=schemas(types))) == []
    assert breaking(
        replace(agent_with_task({"when": when}), schemas=schemas(event_type({"required": ["a"]})))
    ) == [A]
