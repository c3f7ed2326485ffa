"""Writing holds and sessions that end: mistakes and doubts are told, and a simulation shows what is set aside."""

from datetime import timedelta
from typing import Any

import pytest

from heed import names
from heed.api.validation import parse_agent
from heed.cli.simulate.render import narrate
from heed.core.compiler.expression_lint import lint_expressions
from heed.core.compiler.lint import lint_agent
from heed.core.compiler.program import compile_agent
from heed.core.simulation.report import HELD_FIELDS, build_report
from heed.core.simulation.simulator import simulate
from tests.builders.agents import manifest, problems, program
from tests.unit.simulations import message

OPEN, LINE = "com.example.open", "com.example.line"
SETS = {"name": "open", "type": OPEN, "state": {"open": True}}


def held(**hold: Any) -> dict[str, Any]:
    return {"name": "line", "type": LINE, "hold": {"until": "has(state.open)", **hold}, "state": {"n": 1}}


def mistakes(*handlers: dict[str, Any], **spec: Any) -> list[str]:
    return [str(item) for item in problems(manifest(SETS, *handlers, **spec))]


def doubts(*handlers: dict[str, Any], **spec: Any) -> list[str]:
    agent = parse_agent(manifest(SETS, *handlers, **spec))
    return [str(item) for item in lint_agent(agent, expressions=lint_expressions(compile_agent(agent)))]


LATE = {"name": "late", "type": names.HOLD_EXPIRED}
GONE = {"name": "gone", "type": names.SESSION_EXPIRED}


def test_a_hold_has_defaults() -> None:
    (_, handler) = program(SETS, held()).reactions

    assert handler.hold is not None
    assert (handler.hold.seconds, handler.hold.handled) == (86400, False)
    assert program(SETS).reactions[0].hold is None


def test_one_with_everything_is_fine() -> None:
    handlers = (held(**{"for": "90s", "onExpire": "Handle"}), LATE, GONE)
    session = {"maxAge": "2h", "onExpire": "Emit"}

    assert mistakes(*handlers, session=session) == []
    assert doubts(*handlers, session=session) == []
    compiled = program(SETS, *handlers, session=session)
    assert (compiled.max_age, compiled.announces_ends) == (7200, True)
    assert compiled.reactions[1].hold is not None
    assert (compiled.reactions[1].hold.seconds, compiled.reactions[1].hold.handled) == (90, True)


@pytest.mark.parametrize(
    ("hold", "said"),
    [
        ({"until": "stat.open"}, "spec.handlers[1].hold.until: "),
        ({"until": "size(state)"}, "spec.handlers[1].hold.until: "),
        ({"until": "task.name == 'x'"}, "spec.handlers[1].hold.until: "),
        ({"for": "soon"}, "spec.handlers[1].hold.for: "),
        ({"for": "9999d"}, "spec.handlers[1].hold.for: "),
        ({"onExpire": "Forget"}, "spec.handlers[1].hold.onExpire: "),
        ({"utnil": "true"}, "spec.handlers[1].hold.utnil: "),
    ],
)
def test_what_cannot_be_is_told_at_its_place(hold: dict[str, Any], said: str) -> None:
    (mistake,) = mistakes(held(**hold))

    assert mistake.startswith(said)


def test_until_is_what_a_hold_cannot_do_without() -> None:
    (mistake,) = mistakes({"type": LINE, "hold": {}})

    assert mistake == "spec.handlers[1].hold.until: is missing; add it"


def test_what_is_to_be_handled_needs_a_handler() -> None:
    assert mistakes(held(onExpire="Handle")) == [
        f"spec.handlers[1].hold.onExpire: no handler has the type {names.HOLD_EXPIRED}; add one, or write "
        "`onExpire: DeadLetter`"
    ]
    assert mistakes(held(onExpire="Handle"), {"type": "dev.heed.hold.*"}) == []


@pytest.mark.parametrize(
    "type_",
    [names.TASK_COMPLETED, "dev.heed.task.*", names.HOLD_EXPIRED, names.SESSION_EXPIRED, ">", "*.heed.>"],
)
def test_what_heed_says_of_tasks_holds_and_sessions_cannot_wait(type_: str) -> None:
    assert mistakes({**held(), "type": type_}) == [
        f"spec.handlers[1].hold: {type_} may be an event of a task, a hold or a session, which cannot wait; "
        "hold only events of narrower types"
    ]


@pytest.mark.parametrize("type_", [LINE, "com.example.*", "com.>"])
def test_events_of_others_may(type_: str) -> None:
    assert mistakes({**held(), "type": type_}) == []


def test_many_conditions_count_as_expressions() -> None:
    until = " || ".join(["has(state.open)"] * 53)  # nearly 1024 characters
    handlers = [{"name": f"n{index}", "type": LINE, "hold": {"until": until}} for index in range(63)]

    assert mistakes(*handlers) == []
    (mistake,) = mistakes(*({**item, "when": until.replace("||", "&&")} for item in handlers))
    assert mistake.startswith("spec: has more than 1000 expressions, or 65536 characters of them")


# ── doubts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_state_that_may_not_be_there_is_to_be_asked_for() -> None:
    assert doubts(held(until="state.open")) == [
        "spec.handlers[1].hold.until: reads state.open: an event that comes before there is one is dead-lettered, not "
        "held; write has(state.open) && …"
    ]
    assert doubts(held(until="has(state.open) && state.open")) == []
    assert doubts(held(until="state.?open.orValue(false)")) == []
    assert doubts({**held(), "when": "has(state.open) && state.open"}) == []


def test_a_member_that_no_handler_sets_is_told() -> None:
    (doubt,) = doubts(held(until="has(state.opne)"))

    assert doubt.startswith("spec.handlers[1].hold.until: no handler sets state.opne")


def test_an_end_that_is_not_heard_or_not_said_is_told() -> None:
    assert doubts(session={"onExpire": "Emit"}) == [
        f"spec.session.onExpire: no handler has the type {names.SESSION_EXPIRED}; add one, or write `onExpire: Forget`"
    ]
    assert doubts(GONE) == [
        "spec.handlers[1].type: no session says its end; write `onExpire: Emit` in spec.session, or remove the handler"
    ]
    assert doubts(LATE) == [
        "spec.handlers[1].type: no `hold` comes to it; write `onExpire: Handle` in one, or remove the handler"
    ]
    assert doubts({"type": "dev.heed.>"}) == []


@pytest.mark.parametrize(
    ("handler", "member"),
    [(LATE, "handler"), (LATE, "heldSince"), (GONE, "reason"), (GONE, "key")],
)
def test_what_is_in_every_such_event_needs_no_guard(handler: dict[str, Any], member: str) -> None:
    spec: dict[str, Any] = {"session": {"onExpire": "Emit"}}
    others = [item for item in (held(onExpire="Handle"), LATE, GONE) if item is not handler]
    asked = {**handler, "when": f"event.data.{member} == 'x'"}

    assert doubts(*others, asked, **spec) == []
    (doubt,) = doubts(*others, {**handler, "when": "event.data.state == 'x'"}, **spec)
    assert "event.data.state" in doubt


# ── in a simulation ─────────────────────────────────────────────────────────────────────────────────────────────────

AGENT = program(SETS, held(**{"for": "1h"}))


def told(*types: str, hours: float = 0) -> dict[str, Any]:
    given = [message(f"e{index}", type_, correlationid="s") for index, type_ in enumerate(types, 1)]
    return build_report(simulate([AGENT], given, lambda work: None, advance=timedelta(hours=hours)))


def entries(report: dict[str, Any]) -> list[tuple[int, str, str]]:
    return [
        (event["sequence"], event["origin"], delivery["outcome"])
        for event in report["events"]
        for delivery in event["deliveries"]
    ]


def test_what_is_set_aside_and_released_has_an_entry_for_each() -> None:
    report = told(LINE, OPEN)

    assert entries(report) == [(1, "given", "held"), (2, "given", "handled"), (1, "released", "handled")]
    assert (
        report["events"][0]["deliveries"][0]["why"]
        == "line holds it, until 2026-01-01T01:00:01.000000Z at most"
    )
    assert report["events"][2]["time"] == "2026-01-01T00:00:02.000000Z"
    assert report["outcomes"] == {"handled": 2, "held": 1}
    assert report["held"] == []


def test_what_is_held_in_the_end_is_listed() -> None:
    (item,) = told(LINE)["held"]

    assert tuple(item) == HELD_FIELDS
    assert item == {
        "agent": "demo/researcher",
        "sequence": 1,
        "session": "s",
        "handler": "line",
        "since": "2026-01-01T00:00:01.000000Z",
        "until": "2026-01-01T01:00:01.000000Z",
    }


def test_the_clock_moves_through_the_end_of_its_time() -> None:
    assert entries(told(LINE, hours=0.9)) == [(1, "given", "held")]
    assert entries(told(LINE, hours=1)) == [
        (1, "given", "held"),
        (2, "due", "due"),
        (1, "released", "deadLettered"),
    ]


def test_people_are_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    narrate(told(LINE, OPEN, LINE))
    narrate(told(LINE))

    text = capsys.readouterr().out
    assert "#1  com.example.line  e1  (released)" in text
    assert "held, session s: line holds it, until 2026-01-01T01:00:01.000000Z at most" in text
    assert "#1 is held by line until session s lets it go on, or it is 2026-01-01T01:00:01.000000Z" in text
