"""Decisions on ticks of timers: when they count, what they carry, in which session they are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed import names
from heed.api.status import TimerState
from heed.core.compiler.program import Program
from heed.core.decision.decide import Decision, decide
from heed.core.due.timers import choose_event, scheduling_event
from heed.core.effects import CancelTask, StartTask
from heed.core.events import Event, Received, Redrive
from heed.core.ledger.headroom import Headroom
from heed.core.ledger.ledger import Ledger, settle
from heed.core.tasks.slots import SlotLimits
from heed.errors import DecisionFailed
from tests.builders.agents import AGENT, NAMESPACE, job, program
from tests.builders.decisions import letter_of
from tests.builders.events import at, received, task_end

TICKED = {"type": names.TIMER_FIRED, "state": {"of": "${event.data}"}}
NOTED = {"type": names.TIMER_FIRED, "state": {"at": "${event.data.scheduledAt}"}, "start": [{"task": "work"}]}
MINUTELY: dict[str, Any] = {"cron": "* * * * *"}


def clock(minutes: float) -> datetime:
    """The time so many minutes after noon."""
    return datetime.fromisoformat(at(minutes * 60)).astimezone(UTC)


def shown(minutes: float) -> str:
    """The same as a tick has it."""
    return at(minutes * 60)[:19] + "Z"


class Story:
    """An Agent with a timer, `t`, and one decision after the other."""

    def __init__(self, *handlers: dict[str, Any], tasks: bool = False, **timer: Any) -> None:
        self.program = self.compiled(*handlers, tasks=tasks, **timer)
        self.ledger, self.sequence = Ledger(), 0
        self.decided: list[Decision] = []

    @staticmethod
    def compiled(*handlers: dict[str, Any], tasks: bool = False, **timer: Any) -> Program:
        more = {"tasks": {"work": job()}} if tasks else {}
        return program(*(handlers or (TICKED,)), timers={"t": timer} if timer else {}, **more)

    def decide(self, received: Received, **more: Any) -> Decision:
        self.sequence = max(self.sequence, received.sequence)
        decision = decide(self.program, self.ledger, received, **more)
        self.ledger = settle(decision.ledger, decision.effects)
        self.decided.append(decision)
        return decision

    def hear(self, event: Event, minutes: float, redrive: Redrive | None = None, **more: Any) -> Decision:
        """The Agent's own event in its inbox."""
        subject = names.inbox_subject(NAMESPACE, AGENT, event.type)
        found = Received(self.sequence + 1, at(minutes * 60), subject, event, redrive)
        return self.decide(found, **more)

    def schedule(self, minutes: float = 0) -> Story:
        """The timers are scheduled so many minutes after noon."""
        assert self.hear(scheduling_event(self.program, self.ledger), minutes).outcome == "due"
        return self

    def due(self, minutes: float) -> Event:
        """What an engine publishes then."""
        event = choose_event(self.program, self.ledger, "t", clock(minutes))
        assert event is not None
        return event

    def tick(self, minutes: float) -> Decision:
        """What is due is published and decided."""
        return self.hear(self.due(minutes), minutes)

    @property
    def state(self) -> TimerState:
        return self.ledger.timers["t"]

    @property
    def counted(self) -> tuple[int, int, int]:
        """How many ticks were fired, missed and skipped."""
        totals = self.ledger.totals
        return totals.ticks_fired, totals.ticks_missed, totals.ticks_skipped


def cleared(story: Story) -> list[dict[str, Any]]:
    """The data of all ticks that were handled."""
    return [decision.after["of"] for decision in story.decided if decision.after is not None]


# ── scheduling ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_timer_is_scheduled_from_when_its_agent_heard_of_it() -> None:
    story = Story(**MINUTELY).schedule(0.5)

    digest = story.program.timers["t"].digest
    assert story.state == TimerState(digest, at(30)[:19] + "Z", shown(1))
    assert story.ledger.next_tick == shown(1)


def test_scheduling_again_changes_nothing() -> None:
    story = Story(**MINUTELY).schedule()
    before = story.ledger.timers

    story.schedule(5)

    assert story.ledger.timers is before


def test_an_edited_timer_goes_on_from_now_and_never_repeats_a_tick() -> None:
    story = Story(**MINUTELY).schedule()
    story.tick(1)
    story.program = Story.compiled(every="1h")
    story.schedule(1.5)
    assert (story.state.next_at, story.state.previous_at) == (shown(61.5), shown(1))

    story.program = Story.compiled(**MINUTELY)
    story.schedule(0.5)  # the broker's clock may be behind

    assert (story.state.next_at, story.state.previous_at) == (shown(2), shown(1))


def test_a_removed_timer_vanishes() -> None:
    story = Story(**MINUTELY).schedule()
    event = story.due(1)
    story.program = Story.compiled({})

    assert story.hear(event, 1).outcome == "stale"
    story.schedule(2)

    assert story.ledger.timers == {}
    assert story.ledger.next_tick is None


def test_what_is_edited_beside_the_schedule_leaves_its_times() -> None:
    story = Story(every="10m").schedule()
    story.tick(10)
    before = story.state
    story.program = Story.compiled(every="600s", overlap="Skip", data={"x": 1})
    story.schedule(11)

    assert story.state is before


def test_a_suspended_timer_does_not_tick_and_goes_on_later_without_making_up() -> None:
    story = Story(every="10m").schedule()
    story.tick(10)
    story.program = Story.compiled(every="10m", suspend=True)
    story.schedule(12)
    assert (story.state.next_at, story.state.suspended) == (None, True)
    assert choose_event(story.program, story.ledger, "t", clock(60)) is None

    story.program = Story.compiled(every="10m")
    story.schedule(45)

    assert (story.state.next_at, story.state.suspended) == (shown(50), None)
    assert story.tick(50).handlers == ("h0",)
    assert story.counted == (2, 0, 0)


def test_a_timer_that_is_new_and_suspended_waits() -> None:
    story = Story(every="10m", suspend=True).schedule()

    assert (story.state.next_at, story.state.suspended) == (None, True)


def test_once_is_once() -> None:
    story = Story(at=shown(5)).schedule()
    story.tick(5)
    assert story.state.next_at is None

    for suspended in (True, False):
        story.program = Story.compiled(at=shown(5), suspend=suspended)
        story.schedule(6)

    assert story.state.next_at is None


def test_what_is_past_when_it_is_written_never_comes() -> None:
    story = Story(at=shown(5)).schedule(5)

    assert story.state.next_at is None


# ── a tick ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_tick_is_handled_in_a_session_of_its_own_and_moves_the_timer_on() -> None:
    story = Story(**MINUTELY).schedule()

    decision = story.tick(1)

    assert (decision.outcome, decision.session) == ("handled", f"t@{shown(1)}")
    assert cleared(story) == [{"timer": "t", "scheduledAt": shown(1), "missed": 0}]  # a state holds no null
    assert (story.state.next_at, story.state.previous_at) == (shown(2), shown(1))
    assert story.state.session == f"t@{shown(1)}"
    assert story.counted == (1, 0, 0)


def test_a_tick_says_which_one_was_before() -> None:
    story = Story(**MINUTELY).schedule()
    story.tick(1)

    story.tick(2)

    assert cleared(story)[1] == {"timer": "t", "scheduledAt": shown(2), "previousAt": shown(1), "missed": 0}


def test_a_tick_is_an_event_under_an_id_that_derives_from_the_ledger() -> None:
    story = Story(**MINUTELY).schedule()

    early, late = story.due(1), story.due(1.9)

    assert early == late
    assert (early.type, early.time) == (names.TIMER_FIRED, shown(1))
    assert early.source == names.agent_source(NAMESPACE, AGENT)
    assert early.extensions == {"heedtimer": "t"}
    assert early.data == {"timer": "t", "scheduledAt": shown(1), "previousAt": None, "missed": 0}
    story.tick(1)
    assert story.due(2).id != early.id


def test_the_same_tick_twice_is_decided_once() -> None:
    story = Story(**MINUTELY).schedule()
    event = story.due(1)
    story.hear(event, 1)

    assert story.hear(event, 1).outcome == "duplicates"
    assert story.counted == (1, 0, 0)


def test_an_earlier_tick_is_stale() -> None:
    story = Story(**MINUTELY).schedule()
    early, late = story.due(1), story.due(3)
    assert story.hear(late, 3).outcome == "handled"

    assert story.hear(early, 3).outcome == "stale"
    assert story.counted == (1, 2, 0)


@pytest.mark.parametrize("timer", [{}, {"data": "${timer}"}])
def test_a_tick_tells_of_one_that_was_decided_since_it_was_published(timer: dict[str, Any]) -> None:
    story = Story(**MINUTELY, **timer).schedule()
    early, late = story.due(1), story.due(3)
    assert late.data == {"timer": "t", "scheduledAt": shown(3), "previousAt": None, "missed": 2}

    story.hear(early, 3)
    story.hear(late, 3)

    told = [(item["scheduledAt"], item.get("previousAt"), item["missed"]) for item in cleared(story)]
    assert told == [(shown(1), None, 0), (shown(3), shown(1), 1)]
    assert story.counted == (2, 1, 0)


def test_a_tick_of_the_schedule_before_is_stale() -> None:
    story = Story(**MINUTELY).schedule()
    event = story.due(1)
    story.program = Story.compiled(every="1h")

    assert story.hear(event, 1).outcome == "stale"
    story.schedule(1)
    assert story.hear(event, 1).outcome == "stale"
    assert story.state.next_at == shown(61)


def test_a_tick_without_a_handler_moves_the_timer_on() -> None:
    story = Story({}, **MINUTELY).schedule()

    assert story.tick(1).outcome == "ignored"
    assert story.state.next_at == shown(2)


def test_a_tick_whose_handler_fails_is_a_letter_and_moves_the_timer_on() -> None:
    story = Story({**TICKED, "when": "event.data.nothing == 1"}, **MINUTELY).schedule()

    decision = story.tick(1)

    assert decision.outcome == "dead_lettered"
    assert (story.state.next_at, story.state.previous_at) == (shown(2), shown(1))


def test_ticks_may_have_a_type_of_their_own() -> None:
    story = Story({"type": "com.example.tick"}, type="com.example.tick", **MINUTELY).schedule()

    assert story.tick(1).handlers == ("h0",)


# ── data and session ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_timer_says_what_its_ticks_carry() -> None:
    data = {
        "day": "${timer.scheduledAt.substring(0, 10)}",
        "of": "${agent.name}",
        "first": "${timer.previousAt == null}",
    }
    story = Story(data=data, **MINUTELY).schedule()

    story.tick(1)

    assert cleared(story) == [{"day": shown(1)[:10], "of": AGENT, "first": True}]


def test_a_timer_says_which_session_its_ticks_belong_to() -> None:
    story = Story(session="'of ' + timer.name", **MINUTELY).schedule()

    assert [story.tick(1).session, story.tick(2).session] == ["of t", "of t"]
    assert story.state.session == "of t"


@pytest.mark.parametrize(
    ("timer", "wanted"),
    [
        (
            {"session": "timer.previousAt"},
            (
                "BadSessionKey",
                "spec.timers.t.session: yields null, not a string of 1 to 256 characters; choose another key",
                None,
            ),
        ),
        (
            {"session": "string(1 / timer.missed)"},
            ("ExpressionFailed", "spec.timers.t.session: divide by zero", None),
        ),
        (
            {"data": {"n": ["${1 / timer.missed}"]}},
            ("TemplateFailed", "spec.timers.t.data.n[0]: ${1 / timer.missed}: divide by zero", None),
        ),
    ],
)
def test_expressions_that_fail_cost_one_tick(
    timer: dict[str, Any], wanted: tuple[str, str, str | None]
) -> None:
    story = Story(**timer, **MINUTELY).schedule()

    assert letter_of(story.tick(1)) == wanted
    assert story.state.next_at == shown(2)


def test_a_verdict_is_not_found_out_again_by_what_was_too_costly() -> None:
    story = Story(
        data={"n": "${1 / timer.missed}"}, session="string(1 / timer.missed)", **MINUTELY
    ).schedule()
    event = story.due(1)
    story.program = replace(story.program, verdict=DecisionFailed("TooCostly", "took long"))

    assert letter_of(story.hear(event, 1)) == ("TooCostly", "took long", None)


# ── late ticks ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_after_an_outage_the_latest_tick_tells_how_many_were_missed() -> None:
    story = Story(**MINUTELY).schedule()

    story.tick(10.5)

    assert cleared(story) == [{"timer": "t", "scheduledAt": shown(10), "missed": 9}]
    assert (story.counted, story.state.next_at) == ((1, 9, 0), shown(11))


def test_after_an_outage_all_ticks_come_one_after_the_other() -> None:
    story = Story(missed="All", **MINUTELY).schedule()

    for _ in range(3):
        story.tick(3.5)

    assert [data["scheduledAt"] for data in cleared(story)] == [shown(1), shown(2), shown(3)]
    assert choose_event(story.program, story.ledger, "t", clock(3.5)) is None
    assert story.counted == (3, 0, 0)


def test_after_an_outage_no_tick_is_made_up_for() -> None:
    story = Story(missed="None", cron="*/5 * * * *").schedule()

    decision = story.tick(14)

    assert (decision.outcome, decision.handlers) == ("due", ())
    assert (story.counted, story.state.next_at) == ((0, 2, 0), shown(15))
    assert story.state.previous_at is None


def test_dropped_ticks_are_dropped_once() -> None:
    story = Story(missed="None", cron="*/5 * * * *").schedule()
    event = story.due(14)
    story.hear(event, 14)

    assert story.hear(event, 14).outcome == "stale"
    assert story.counted == (0, 2, 0)


def test_a_tick_at_the_very_time_until_which_they_are_dropped_is_dropped() -> None:
    story = Story(missed="None", cron="*/5 * * * *").schedule()
    event = story.due(14)

    story.hear(replace(event, data={"timer": "t", "until": shown(10)}), 14)

    assert event.type == "dev.heed.due.dropped"
    assert (story.counted, story.state.next_at) == ((0, 2, 0), shown(15))


def test_a_deadline_drops_what_is_later() -> None:
    story = Story(startingDeadline="30s", **MINUTELY).schedule()

    assert story.tick(1.6).outcome == "due"
    assert story.tick(2.5).outcome == "handled"
    assert story.counted == (1, 1, 0)


@given(
    st.sampled_from(["Latest", "All", "None"]),
    st.lists(
        st.tuples(st.integers(0, 400), st.sampled_from(["publish", "repeat", "reorder"])),
        min_size=1,
        max_size=25,
    ),
)
def test_whatever_is_published_when_and_how_often_ticks_fire_once_in_order_and_all_are_counted(
    missed: str, story_: list[tuple[int, str]]
) -> None:
    story = Story(missed=missed, cron="*/30 * * * * *").schedule()
    told: list[Event] = []
    now = 0.0
    for seconds, what in story_:
        now += seconds / 60
        event = choose_event(story.program, story.ledger, "t", clock(now))
        if event is not None:
            told.append(event)
        again = told[-1:] if what == "publish" else told[-3:] if what == "repeat" else told[::-1][:3]
        for item in again:
            story.hear(item, now)

    fired = [data["scheduledAt"] for data in cleared(story)]
    assert fired == sorted(set(fired))
    counted = story.ledger.totals.ticks_fired + story.ledger.totals.ticks_missed
    until = datetime.fromisoformat(story.state.next_at or "")
    assert counted == (until - clock(0)).total_seconds() // 30 - 1
    assert story.ledger.totals.dead_lettered == 0


# ── overlap ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ticks_may_overlap() -> None:
    story = Story(NOTED, tasks=True, **MINUTELY).schedule()

    story.tick(1)
    story.tick(2)

    assert len(story.ledger.pending_tasks) == 2


def test_a_tick_is_skipped_while_the_one_before_has_tasks() -> None:
    story = Story(NOTED, tasks=True, overlap="Skip", **MINUTELY).schedule()
    story.tick(1)

    decision = story.tick(2)

    assert (decision.outcome, decision.effects) == ("due", ())
    assert (story.counted, story.state.next_at) == ((1, 0, 1), shown(3))
    assert (story.state.previous_at, story.state.session) == (shown(1), f"t@{shown(1)}")
    (task_id,) = story.ledger.pending_tasks
    story.decide(task_end(story.sequence + 1, task_id, time=150))
    assert story.tick(3).outcome == "handled"
    assert story.counted == (2, 0, 1)


def test_a_skipped_tick_that_comes_again_is_stale() -> None:
    story = Story(NOTED, tasks=True, overlap="Skip", **MINUTELY).schedule()
    story.tick(1)
    event = story.due(2)
    story.hear(event, 2)

    assert story.hear(event, 2).outcome == "stale"
    assert story.counted == (1, 0, 1)


def test_a_tick_replaces_the_session_of_the_one_before() -> None:
    story = Story(NOTED, tasks=True, overlap="Replace", **MINUTELY).schedule()
    story.tick(1)
    (old,) = story.ledger.pending_tasks

    decision = story.tick(2)

    assert list(story.ledger.sessions) == [f"t@{shown(2)}"]
    assert CancelTask(old, None) in decision.effects
    assert [effect.record.session for effect in decision.effects if isinstance(effect, StartTask)] == [
        f"t@{shown(2)}"
    ]
    assert old not in story.ledger.pending_tasks  # it is settled
    assert story.counted == (2, 0, 0)


def test_of_what_a_tick_replaces_only_what_may_run_is_stopped() -> None:
    twice = {**NOTED, "start": [{"task": "work"}, {"task": "work"}]}
    story = Story(twice, tasks=True, overlap="Replace", **MINUTELY)
    story.program = replace(story.program, slots=SlotLimits(1))
    story.schedule().tick(1)
    (runs,) = [key for key, task in story.ledger.pending_tasks.items() if task.phase != "Queued"]

    decision = story.tick(2)

    assert [effect for effect in decision.effects if isinstance(effect, CancelTask)] == [
        CancelTask(runs, None)
    ]
    sessions = {key: task.session for key, task in decision.ledger.pending_tasks.items()}
    assert sessions.pop(runs) == f"t@{shown(1)}"
    assert list(sessions.values()) == [f"t@{shown(2)}"] * 2


def test_a_tick_may_replace_its_own_session() -> None:
    handler = {**NOTED, "state": {"seen": "${has(state.seen) ? state.seen + 1 : 1}"}}
    story = Story(handler, tasks=True, overlap="Replace", session="'one'", **MINUTELY).schedule()
    story.tick(1)

    decision = story.tick(2)

    assert (decision.before, decision.after) == (None, {"seen": 1})
    assert len(story.ledger.pending_tasks) == 1


def test_a_session_without_tasks_is_not_replaced() -> None:
    story = Story(overlap="Replace", **MINUTELY).schedule()
    story.tick(1)

    story.tick(2)

    assert len(story.ledger.sessions) == 2


# ── no room, redrives, and what only looks like a tick ──────────────────────────────────────────────────────────────


def test_a_tick_that_waits_for_room_is_decided_later() -> None:
    story = Story(**MINUTELY).schedule()
    story.decide(received(story.sequence + 1, inbox=True))
    story.tick(1)
    event, full = story.due(2), Headroom(0, 0)
    waiting = story.hear(event, 2, room=full)
    assert waiting.outcome == "waiting"
    assert (story.counted, story.state.next_at) == ((1, 0, 0), shown(2))

    later = story.decide(waiting.received)

    assert later.outcome == "handled"
    assert (story.counted, story.state.next_at) == ((2, 0, 0), shown(3))


def redriven(story: Story, event: Event, attempt: int = 2) -> Decision:
    """A tick whose letter is redriven."""
    origin = names.inbox_subject(NAMESPACE, AGENT, event.type)
    subject = names.redrive_subject(NAMESPACE, AGENT, event.type)
    found = Received(story.sequence + 1, at(3600), subject, event, Redrive("letter", attempt, None, origin))
    return story.decide(found)


def test_a_redriven_tick_is_decided_again_wherever_its_timer_is() -> None:
    story = Story({**TICKED, "when": "event.data.nothing == 1"}, **MINUTELY).schedule()
    event = story.due(1)
    story.hear(event, 1)
    story.program = Story.compiled(data={"again": "${timer.scheduledAt}"}, **MINUTELY)
    before = story.ledger.timers

    decision = redriven(story, event)

    assert (decision.outcome, decision.session) == ("handled", f"t@{shown(1)}")
    assert decision.after == {"of": {"again": shown(1)}}
    assert (story.ledger.timers, story.counted) == (before, (1, 0, 0))
    assert redriven(story, event).outcome == "duplicates"
    assert redriven(story, event, attempt=3).outcome == "handled"


def test_a_redriven_tick_of_a_timer_that_is_gone_has_the_data_that_it_came_with() -> None:
    story = Story(**MINUTELY).schedule()
    event = story.due(1)
    story.program = Story.compiled()

    decision = redriven(story, event)

    assert decision.session == f"t@{shown(1)}"
    assert decision.after == {"of": {"timer": "t", "scheduledAt": shown(1), "missed": 0}}


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"scheduledAt": "soon", "previousAt": None, "missed": 0},
        {"scheduledAt": 7, "previousAt": None, "missed": 0},
        {"scheduledAt": shown(1), "previousAt": "once", "missed": 0},
        {"scheduledAt": shown(1), "previousAt": None, "missed": "0"},
        {"scheduledAt": "2026-01-31T12:01:00+00:00", "previousAt": None, "missed": 0},
        {"scheduledAt": "0001-01-01T00:00:00+14:00", "previousAt": None, "missed": 0},
    ],
)
def test_what_says_nothing_that_a_tick_could_say_changes_nothing(data: Any) -> None:
    story = Story(**MINUTELY).schedule()
    before = story.ledger.timers

    assert story.hear(replace(story.due(1), data=data), 1).outcome == "stale"
    assert story.ledger.timers == before


@pytest.mark.parametrize(
    "data", [None, {}, {"timer": "t"}, {"timer": "t", "until": "x"}, {"timer": "x", "until": shown(9)}]
)
def test_dropped_ticks_of_nothing_change_nothing(data: Any) -> None:
    story = Story(missed="None", cron="*/5 * * * *").schedule()
    before = story.ledger.timers

    assert story.hear(replace(story.due(14), data=data), 14).outcome == "stale"
    assert story.ledger.timers == before


@pytest.mark.parametrize(
    "more", [{"inbox": True}, {"source": names.agent_source(NAMESPACE, AGENT), "heedtimer": "t"}]
)
def test_ticks_of_others_are_refused(more: dict[str, Any]) -> None:
    story = Story(**MINUTELY).schedule()
    data = {"scheduledAt": shown(1), "previousAt": None, "missed": 0}

    decision = story.decide(received(2, names.TIMER_FIRED, data, time=60, **more))

    assert letter_of(decision) == (
        "ReservedType",
        "dev.heed.timer.fired is Heed's own to say; choose a type of your own",
        None,
    )
    assert story.state.next_at == shown(1)


def test_an_event_of_the_timers_type_that_another_one_sends_is_an_event_like_any_other() -> None:
    story = Story({"type": "com.example.tick"}, type="com.example.tick", **MINUTELY).schedule()

    decision = story.decide(received(2, "com.example.tick", inbox=True, time=60, heedtimer="t"))

    assert (decision.outcome, decision.session) == ("handled", "e2")
    assert story.state.next_at == shown(1)


def test_a_tick_may_be_held_and_has_its_data_when_it_acts() -> None:
    waiting = {"hold": {"until": "has(state.go)"}, "state": {"at": "${event.data.of}"}}
    story = Story(
        {"type": names.TIMER_FIRED, **waiting},
        {"type": "com.example.go", "state": {"go": True}},
        **MINUTELY,
        session="'s'",
        data={"of": "${timer.scheduledAt}"},
    ).schedule()
    held = story.tick(1)
    assert held.outcome == "held"
    story.decide(received(story.sequence + 1, "com.example.go", time=70, correlationid="s"))
    assert story.ledger.held.ready == (held.received.sequence,)

    released = story.decide(held.received)

    assert released.outcome == "handled"
    assert released.after == {"go": True, "at": shown(1)}
    assert story.tick(2).outcome == "handled"
