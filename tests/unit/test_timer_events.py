"""The events that timers come to, whole: each under an id derived from what it says and since when that is so."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from heed import names
from heed.api.status import Cursor
from heed.core.compiler.program import Program
from heed.core.due.timers import choose_event, parse_time, schedule_timers, scheduling_event
from heed.core.events import Event
from heed.core.ledger.ledger import Ledger
from tests.builders.agents import AGENT, NAMESPACE, UID, program
from tests.builders.events import at

SOURCE = names.agent_source(NAMESPACE, AGENT)
NOON = "2026-01-31T12:00:00Z"


def ticking(**timer: Any) -> Program:
    return program({"type": names.TIMER_FIRED}, timers={"t": {"every": "10m", **timer}})


def test_a_tick_says_when_it_was_scheduled_and_how_many_were_missed() -> None:
    agent = ticking()
    ledger = schedule_timers(agent, Ledger(), parse_time(at(0)))

    event = choose_event(agent, ledger, "t", parse_time(at(1300)))

    assert event == Event(
        id=names.digest("timer", UID, "t", NOON, "2026-01-31T12:20:00Z"),
        source=SOURCE,
        type=names.TIMER_FIRED,
        time="2026-01-31T12:20:00Z",
        datacontenttype="application/json",
        data={"timer": "t", "scheduledAt": "2026-01-31T12:20:00Z", "previousAt": None, "missed": 1},
        extensions={"heedtimer": "t"},
    )


def test_ticks_that_are_too_late_are_said_to_be_dropped() -> None:
    agent = ticking(startingDeadline="30s")
    ledger = schedule_timers(agent, Ledger(), parse_time(at(0)))

    event = choose_event(agent, ledger, "t", parse_time(at(1300)))

    assert event == Event(
        id=names.digest("dropped", UID, "t", NOON, "2026-01-31T12:10:00Z", "2026-01-31T12:21:40Z"),
        source=SOURCE,
        type=names.DUE_TICKS_DROPPED,
        time="2026-01-31T12:21:40Z",
        datacontenttype="application/json",
        data={"timer": "t", "until": "2026-01-31T12:21:40Z"},
    )


def test_nothing_is_said_before_a_tick_is_due() -> None:
    agent = ticking()
    ledger = schedule_timers(agent, Ledger(), parse_time(at(0)))
    just_before = parse_time(at(600)) - timedelta.resolution

    assert choose_event(agent, ledger, "t", just_before) is None
    assert choose_event(agent, ledger, "t", parse_time(at(600))) is not None


@pytest.mark.parametrize(
    ("cursor", "created"),
    [(Cursor(names.STREAM, sequence=7, created=at(0)), at(0)), (Cursor(names.STREAM, sequence=7), "")],
)
def test_timers_are_asked_to_be_scheduled_once_for_each_place_and_generation(
    cursor: Cursor, created: str
) -> None:
    agent = ticking()

    event = scheduling_event(agent, Ledger(cursor=cursor))

    assert event == Event(
        id=names.digest("timers", UID, 3, created, 7),
        source=SOURCE,
        type=names.DUE_TIMERS_CHANGED,
        datacontenttype="application/json",
        data={"generation": 3},
    )
    other = scheduling_event(replace(agent, generation=4), Ledger(cursor=cursor))
    assert event.id != other.id
