"""Timers as a manifest writes them: compiled, and every mistake and doubt about them."""

from __future__ import annotations

from typing import Any

import pytest

from heed import names
from heed.api.agent import MAX_TIMERS
from heed.api.validation import parse_agent
from heed.core.compiler.expression_lint import lint_expressions
from heed.core.compiler.expression_sites import find_sites
from heed.core.compiler.lint import lint_agent
from heed.core.compiler.program import compile_agent
from heed.core.compiler.timers import CompiledTimer
from heed.core.schedule.cron import CronSchedule
from heed.core.schedule.schedule import Interval, digest_schedule
from heed.core.schedule.ticks import LatePolicy
from tests.builders.agents import manifest, problems, program

ON_TICK = {"type": names.TIMER_FIRED}


def with_timer(*handlers: dict[str, Any], **timer: Any) -> dict[str, Any]:
    """The manifest of an Agent with a timer, `nightly`, that a handler reacts to."""
    return manifest(*(handlers or (ON_TICK,)), timers={"nightly": timer})


def told(document: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in problems(document)]


def test_a_timer_is_compiled_with_what_it_does_not_say() -> None:
    (timer,) = program(ON_TICK, timers={"nightly": {"cron": "0 2 * * *"}}).timers.values()

    schedule = CronSchedule("0 2 * * *", "UTC")
    assert timer == CompiledTimer(
        name="nightly",
        schedule=schedule,
        late=LatePolicy("Latest", None),
        overlap="Allow",
        type="dev.heed.timer.fired",
        data=None,
        session=None,
        suspended=False,
        digest=digest_schedule(schedule),
    )


def test_a_timer_is_compiled_with_all_it_says() -> None:
    spec = {
        "every": "15m",
        "type": "com.example.tick",
        "data": {"since": "${timer.previousAt}"},
        "session": "agent.name",
        "startingDeadline": "90s",
        "missed": "All",
        "overlap": "Replace",
        "suspend": True,
    }
    (timer,) = program({}, timers={"often": spec}).timers.values()

    assert (timer.schedule, timer.late) == (Interval(900), LatePolicy("All", 90))
    assert (timer.overlap, timer.type, timer.suspended) == ("Replace", "com.example.tick", True)
    assert timer.data is not None and timer.session is not None
    assert [path for path, _ in timer.expressions] == ["data.since", "session"]


def test_an_agent_may_have_timers_and_no_subscription() -> None:
    document = with_timer(every="1h")
    del document["spec"]["subscribe"]

    agent = compile_agent(parse_agent(document))

    assert agent.subjects == agent.inbox
    assert lint_agent(parse_agent(document)) == []


def test_an_agent_with_neither_is_a_mistake() -> None:
    document = manifest({})
    del document["spec"]["subscribe"]

    assert told(document) == ["spec.subscribe: is missing; add it, or give the Agent `timers`"]


@pytest.mark.parametrize(
    ("timer", "wanted"),
    [
        (
            {"every": "1h", "startingDeadline": "0s"},
            ["spec.timers.nightly.startingDeadline: is over at once; use 1s at least"],
        ),
        ({}, ["spec.timers.nightly: has no schedule; give it one of `cron`, `every` and `at`"]),
        (
            {"cron": "0 25 * * *", "timeZone": "Berlin", "session": "timer.nme"},
            [
                'spec.timers.nightly.session: timer has no member "nme"; did you mean "name"?',
                'spec.timers.nightly.timeZone: "Berlin" is no time zone; write "Europe/Berlin"',
                'spec.timers.nightly.cron: "25" is no hour; it has 0-23; use *, a value, a range 1-5, a list 1,15 or a '
                "step */10",
            ],
        ),
        (
            {"every": "1h", "session": "size(timer.name)"},
            ["spec.timers.nightly.session: is int, not a string; wrap it in string(…)"],
        ),
        (
            {"every": "1h", "data": {"of": "${event.id}"}},
            ['spec.timers.nightly.data.of: unknown variable or function "event"; did you mean "agent"?'],
        ),
        (
            {"every": "1h", "data": {"of": None}},
            [
                "spec.timers.nightly.data.of: is null; "
                + 'write "${null}": Kubernetes drops null members from manifests'
            ],
        ),
        (
            {"every": "1h", "type": "dev.heed.task.completed"},
            ["spec.timers.nightly.type: dev.heed.* is reserved; choose a type of your own"],
        ),
        (
            {"every": "1h", "type": "com.example.*"},
            [
                'spec.timers.nightly.type: "com.example.*" is not an event type; use dot-separated tokens, such as '
                "com.example.nightly"
            ],
        ),
    ],
)
def test_mistakes_name_field_and_remedy(timer: dict[str, Any], wanted: list[str]) -> None:
    assert told(with_timer(**timer)) == wanted


@pytest.mark.parametrize(
    ("timer", "place"),
    [
        ({"every": "1h", "missed": "Some"}, "spec.timers.nightly.missed"),
        ({"every": "1h", "overlap": "Forbid"}, "spec.timers.nightly.overlap"),
        ({"every": "1 hour"}, "spec.timers.nightly.every"),
        ({"every": "1h", "startingDeadline": "-1s"}, "spec.timers.nightly.startingDeadline"),
        ({"every": "1h", "suspend": "yes"}, "spec.timers.nightly.suspend"),
        ({"crn": "@daily"}, "spec.timers.nightly.crn"),
    ],
)
def test_what_has_another_form_is_refused_where_it_stands(timer: dict[str, Any], place: str) -> None:
    assert [problem.path for problem in problems(with_timer(**timer))] == [place]


def test_there_are_so_many_timers_and_no_more() -> None:
    timers = {f"t{index}": {"every": "1h"} for index in range(MAX_TIMERS)}

    assert told(manifest(ON_TICK, timers=timers)) == []
    assert [
        problem.path for problem in problems(manifest(ON_TICK, timers={**timers, "more": {"every": "1h"}}))
    ] == ["spec.timers"]


@pytest.mark.parametrize(
    "type_", ["dev.heed.timer.fired", "dev.heed.timer.*", "dev.heed.timer.>", "dev.heed.>", ">"]
)
def test_handlers_may_react_to_ticks(type_: str) -> None:
    assert told(with_timer({"type": type_}, every="1h")) == []


@pytest.mark.parametrize("type_", ["dev.heed.timer.fird", "dev.heed.timer.fired.>"])
def test_handlers_of_ticks_that_never_come_are_a_mistake(type_: str) -> None:
    (problem,) = problems(with_timer({"type": type_}, every="1h"))

    assert problem.path == "spec.handlers[0].type"
    assert problem.message == f"no timer sends {type_}, and dev.heed.timer.* is reserved for what timers send"
    assert problem.remedy == 'did you mean "dev.heed.timer.fired"?'


def test_ticks_are_not_emitted() -> None:
    document = with_timer({**ON_TICK, "emit": [{"type": names.TIMER_FIRED}]}, every="1h")

    assert told(document) == [
        "spec.handlers[0].emit[0].type: dev.heed.* is reserved for what Heed itself says; choose a type of your own"
    ]


def test_a_timer_without_a_handler_is_doubted() -> None:
    agent = parse_agent(with_timer({}, every="1h"))

    assert [str(problem) for problem in lint_agent(agent)] == [
        "spec.timers.nightly: no handler has a type that matches dev.heed.timer.fired, so its ticks do nothing; add a "
        "handler with the type dev.heed.timer.fired"
    ]


def test_a_handler_of_a_tick_needs_no_subscription() -> None:
    agent = parse_agent(with_timer({"type": "org.example.tick"}, every="1h", type="org.example.tick"))

    assert lint_agent(agent) == []


def test_a_handler_of_ticks_without_a_timer_is_doubted() -> None:
    (problem,) = lint_agent(parse_agent(manifest(ON_TICK)))

    assert str(problem) == (
        "spec.handlers[0].type: no timer of the Agent sends dev.heed.timer.fired; add one to spec.timers, or correct it"
    )


def doubts(*handlers: dict[str, Any], **timers: dict[str, Any]) -> list[str]:
    """What lint says of the expressions of an Agent with these timers."""
    return [str(problem) for problem in lint_expressions(program(*handlers, timers=timers))]


def reading(member: str) -> dict[str, Any]:
    """A handler of ticks whose condition reads a member of their data."""
    return {**ON_TICK, "when": f"event.data.{member} == 'x'"}


@pytest.mark.parametrize("member", ["timer", "scheduledAt", "previousAt", "missed"])
def test_what_every_tick_has_needs_no_guard(member: str) -> None:
    assert doubts(reading(member), t={"every": "1h"}) == []


def test_what_no_tick_has_is_doubted() -> None:
    (unguarded, unknown) = sorted(doubts(reading("timr"), t={"every": "1h"}))

    assert unknown.startswith("spec.handlers[0].when: reads event.data.timr, which nothing asks for")
    assert unguarded == 'spec.handlers[0].when: no tick has event.data.timr; did you mean "timer"?'


def test_what_a_timer_puts_into_its_ticks_is_known() -> None:
    own = {"every": "1h", "data": {"kind": "${timer.name}"}}

    assert doubts(reading("kind"), t=own) == []
    assert len(doubts(reading("kind"), t=own, other={"every": "1h"})) == 1
    assert len(doubts(reading("missed"), t=own, other={"every": "1h"})) == 1
    assert doubts(reading("kind"), t=own, other={"every": "1h", "type": "com.example.other"}) == []


def test_what_only_a_tick_can_tell_is_not_known_before() -> None:
    (doubt,) = doubts(reading("kind"), t={"every": "1h", "data": "${{'kind': timer.name}}"})

    assert "which nothing asks for" in doubt


def test_expressions_of_timers_are_tried() -> None:
    timer = {"every": "1h", "data": {"since": "${timer.previousAt + duration('1h')}"}}

    (doubt,) = doubts(ON_TICK, t=timer)

    assert doubt.startswith("spec.timers.t.data.since: fails for every event: ")
    assert doubts(ON_TICK, t={"every": "1h", "data": {"n": "${timer.missed + 1}"}}) == []


def test_expressions_of_timers_have_their_places() -> None:
    timer = {"every": "1h", "data": ["${timer.name}"], "session": "timer.name"}

    sites = [(site.path, site.known.variables) for site in find_sites(program(ON_TICK, timers={"t": timer}))]

    assert sites == [
        ("spec.timers.t.data[0]", ("timer", "agent")),
        ("spec.timers.t.session", ("timer", "agent")),
    ]


def test_expressions_of_timers_count_towards_the_limits_of_an_agent() -> None:
    long = "'" + "x" * 1000 + "' == ''"
    timers = {f"t{index}": {"every": "1h", "data": [f"${{{long}}}"] * 3} for index in range(MAX_TIMERS)}

    (problem,) = problems(manifest(ON_TICK, timers=timers))

    assert problem.path == "spec"
    assert "expressions" in problem.message


def test_costly_expressions_of_timers_count_as_work_to_find_a_session() -> None:
    digits = "[1,2,3,4,5,6,7,8,9]"
    costly = f"{digits}.all(a, {digits}.all(b, {digits}.all(c, a * b * c > 0))) ? '' : ''"

    agent = program(ON_TICK, timers={"t": {"every": "1h", "session": costly}})

    assert not agent.opening.is_none
    assert program(ON_TICK).opening.is_none
