"""Holding: an event whose handler has to wait is set aside as a whole, and acts once its session's state lets it."""

from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed import names
from heed.api.status import HeldEvent
from heed.core.compiler.program import Program
from heed.core.decision.decide import Decision, decide
from heed.core.events import Event, Received
from heed.core.ledger.headroom import Headroom
from heed.core.ledger.held import MAX_HELD_EVENTS, MAX_HELD_IN_SESSION, HeldEvents
from heed.core.ledger.ledger import Ledger, bind_to_stream, count_decided, drop_held, recall_held
from tests.builders.agents import ASKED, UID, job, program
from tests.builders.decisions import emitted, letter_of
from tests.builders.events import at, received, task_end
from tests.builders.tasks import session_task

OPEN, LINE, CLOSE, END = (f"com.example.{word}" for word in ("open", "line", "close", "over"))
HANDLERS: list[dict[str, Any]] = [
    {"name": "open", "type": OPEN, "state": {"lines": []}},
    {
        "name": "line",
        "type": LINE,
        "hold": {"until": "has(state.lines)", "for": "1h"},
        "state": {"lines": "${state.lines + [event.id]}"},
        "emit": [{"type": "x.line", "data": "${event.id}"}],
    },
    {"name": "over", "type": END, "end": True},
]
PLAIN = program(*HANDLERS)


class Stream:
    """Events of one session, decided one after the other as the engine does: what is ready comes first."""

    def __init__(self, program_: Program, ledger: Ledger | None = None) -> None:
        self.program, self.ledger = program_, ledger or Ledger()
        self.stored: dict[int, Received] = {}
        self.numbers = count(1)
        self.released: list[Decision] = []

    def come(self, type_: str, data: Any = None, *, time: float | None = None, **more: Any) -> Decision:
        """The decision on one more event; those on what it released are in `released`."""
        sequence = next(self.numbers)
        more.setdefault("correlationid", "s")
        return self.decided(received(sequence, type_, data, time=time, **more))

    def decided(self, came: Received, **options: Any) -> Decision:
        self.stored[came.sequence] = came
        decision = decide(self.program, self.ledger, came, **options)
        self.ledger, self.released = decision.ledger, []
        while self.ledger.held.ready:
            again = decide(self.program, self.ledger, self.stored[self.ledger.held.ready[0]])
            self.ledger = again.ledger
            self.released.append(again)
        return decision

    def due(self, time: float) -> Decision:
        """The due time of what is held comes."""
        moment = self.ledger.held.next_expiry()
        data = {"at": moment, "key": ""}
        return self.come("dev.heed.due.hold", data, time=time, inbox=True)


def outcomes(stream: Stream) -> list[tuple[int, str]]:
    return [(item.received.sequence, item.outcome) for item in stream.released]


def test_an_event_that_has_to_wait_leaves_nothing_but_its_place() -> None:
    stream = Stream(PLAIN)

    decision = stream.come(LINE)

    assert (decision.outcome, decision.session, decision.effects) == ("held", "s", ())
    held = HeldEvent("s", "line", at(1), at(3601), 3)
    assert decision.held == held
    assert stream.ledger == Ledger(cursor=decision.ledger.cursor, held=HeldEvents.of({1: held}))
    assert stream.ledger.cursor.sequence == 1
    assert count_decided(stream.ledger.totals) == 0


def test_an_event_that_need_not_wait_is_handled_as_if_there_were_no_hold() -> None:
    stream, same = Stream(PLAIN), Stream(program(HANDLERS[0], {**HANDLERS[1], "hold": None}, HANDLERS[2]))

    for each in (stream, same):
        each.come(OPEN)
        assert each.come(LINE).outcome == "handled"

    assert stream.ledger == same.ledger


def test_the_session_lets_it_go_on_under_its_own_place() -> None:
    stream = Stream(PLAIN)
    stream.come(LINE)

    stream.come(OPEN, time=90)

    (decision,) = stream.released
    assert (decision.outcome, decision.handlers) == ("handled", ("line",))
    assert decision.before == {"lines": []} and decision.after == {"lines": ["e1"]}
    (event,) = emitted(decision)
    assert event.id == names.event_id(UID, 1, 0)
    assert event.extensions["causationid"] == "e1"
    assert stream.ledger.held == HeldEvents()
    assert stream.ledger.totals.handled == 2
    assert stream.ledger.cursor.sequence == 2


def test_what_it_starts_begins_when_it_acts() -> None:
    agent = program(
        HANDLERS[0],
        {"type": LINE, "hold": {"until": "has(state.lines)"}, "start": [{"task": "work"}]},
        tasks={"work": job(timeout="60s")},
    )
    stream = Stream(agent)
    stream.come(LINE, time=10)

    stream.come(OPEN, time=1000)

    (task,) = stream.ledger.pending_tasks.values()
    assert (task.started_at, task.deadline) == (at(1000), at(1060))
    assert task.cause.sequence == 1


def test_a_session_that_begins_with_a_released_event_begins_now() -> None:
    agent = program(
        {"type": LINE, "hold": {"until": "event.data.n > 5 || agent.labels.?x.hasValue()"}, "state": {"n": 1}}
    )
    stream = Stream(agent)
    stream.come(LINE, {"n": 1}, time=10)
    stream.program = replace(agent, labels={"x": "1"}, generation=4)
    stream.ledger = recall_held(stream.ledger, 4)

    stream.come("com.example.other", time=500)

    assert [item.outcome for item in stream.released] == ["handled"]
    assert stream.ledger.sessions["s"].started_at == at(500)


def test_several_are_released_in_the_order_of_the_stream() -> None:
    stream = Stream(PLAIN)
    for _ in range(3):
        stream.come(LINE)

    stream.come(OPEN)

    assert outcomes(stream) == [(1, "handled"), (2, "handled"), (3, "handled")]
    assert stream.ledger.sessions["s"].state == {"lines": ["e1", "e2", "e3"]}


def test_what_still_has_to_wait_is_held_on_with_its_time_of_then() -> None:
    closing = {
        "type": CLOSE,
        "hold": {"until": "has(state.lines) && size(state.lines) > 1", "for": "1h"},
        "end": True,
    }
    stream = Stream(program(*HANDLERS, closing))
    stream.come(CLOSE)
    stream.come(OPEN)
    assert outcomes(stream) == [(1, "held")]

    stream.come(LINE, time=100)

    assert outcomes(stream) == [(1, "held")]
    assert stream.ledger.held.places[1].until == at(3601)
    assert stream.ledger.held.ready == ()

    stream.come(LINE)
    assert outcomes(stream) == [(1, "handled")]
    assert stream.ledger.sessions == {}


def test_only_a_change_of_its_own_session_has_it_looked_at_again() -> None:
    stream = Stream(PLAIN)
    stream.come(LINE)

    stream.come(OPEN, correlationid="t")
    assert stream.released == []
    stream.come(ASKED)
    assert stream.released == []
    assert list(stream.ledger.held.places) == [1]


def test_the_end_of_a_session_has_it_looked_at_again_without_a_state() -> None:
    stream = Stream(
        program(
            {"type": OPEN, "state": {"busy": True}},
            {"type": END, "end": True},
            {"type": LINE, "hold": {"until": "!has(state.busy)"}, "state": {"n": 1}},
        )
    )
    stream.come(OPEN)
    assert stream.come(LINE).outcome == "held"

    stream.come(END)

    assert outcomes(stream) == [(2, "handled")]
    assert stream.ledger.sessions["s"].state == {"n": 1}


def test_no_other_handler_acts_before_all_can() -> None:
    first = {"name": "first", "type": LINE, "state": {"first": True}}
    stream = Stream(program(HANDLERS[0], first, HANDLERS[1]))

    assert stream.come(LINE).outcome == "held"
    assert stream.ledger.sessions == {}
    stream.come(OPEN)

    assert stream.released[0].handlers == ("first", "line")
    assert stream.ledger.sessions["s"].state == {"first": True, "lines": ["e1"]}


def test_a_hold_sees_the_state_that_the_handler_before_leaves() -> None:
    stream = Stream(program({"type": LINE, "state": {"lines": []}}, HANDLERS[1]))

    assert stream.come(LINE).outcome == "handled"


def test_a_handler_whose_when_is_false_holds_nothing() -> None:
    stream = Stream(program({**HANDLERS[1], "when": "false"}))

    assert stream.come(LINE).outcome == "ignored"


def test_a_condition_that_breaks_is_a_dead_letter() -> None:
    stream = Stream(program({"type": LINE, "hold": {"until": "state.total > 1"}}))

    code, message, handler = letter_of(stream.come(LINE))

    assert (code, handler) == ("ExpressionFailed", "h0")
    assert message.startswith("spec.handlers[0].hold.until: ")
    assert stream.ledger.held == HeldEvents()


def test_a_held_event_touches_its_session() -> None:
    stream = Stream(program({"type": OPEN, "state": {"n": 1}}, HANDLERS[1]))
    stream.come(OPEN, time=1)
    stream.come(LINE, time=50)

    assert stream.ledger.sessions["s"].last_event_at == at(50)


def test_a_session_with_held_events_does_not_become_idle() -> None:
    agent = program(
        {"type": OPEN, "state": {"n": 1}},
        {**HANDLERS[1], "hold": {"until": "has(state.lines)", "for": "3h"}},
        session={"idleTimeout": "60s"},
    )
    stream = Stream(agent)
    stream.come(OPEN, time=1)
    stream.come(LINE, time=2)

    stream.come(OPEN, time=3000, correlationid="t")
    assert set(stream.ledger.sessions) == {"s", "t"}


# ── duplicates ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_copy_that_comes_later_is_held_too_and_a_duplicate_in_the_end() -> None:
    stream = Stream(PLAIN)
    stream.come(LINE, id_="x")
    assert stream.come(LINE, id_="x").outcome == "held"

    stream.come(OPEN)

    assert outcomes(stream) == [(1, "handled"), (2, "duplicates")]
    assert stream.come(LINE, id_="x").outcome == "duplicates"
    assert stream.ledger.held == HeldEvents()


def test_a_held_event_that_is_delivered_again_is_not_released_by_that() -> None:
    stream = Stream(PLAIN)
    stream.come(LINE)

    again = decide(PLAIN, stream.ledger, stream.stored[1])

    assert again.outcome == "duplicates"
    assert again.ledger.held == stream.ledger.held


def test_an_inbox_that_was_read_ahead_is_passed_over_though_it_is_held() -> None:
    came = received(7, LINE, inbox=True, correlationid="s")
    ledger = decide(PLAIN, Ledger(), came, ahead=True).ledger
    assert (ledger.cursor.sequence, ledger.cursor.inbox, list(ledger.held.places)) == (0, 7, [7])

    again = decide(PLAIN, ledger, came)

    assert (again.outcome, list(again.ledger.held.places)) == ("passed", [7])


# ── its time is over ────────────────────────────────────────────────────────────────────────────────────────────────

HANDLED = program(
    HANDLERS[0],
    {**HANDLERS[1], "hold": {"until": "has(state.lines)", "for": "1h", "onExpire": "Handle"}},
    {
        "name": "late",
        "type": names.HOLD_EXPIRED,
        "when": "event.data.event.data.n > 0",
        "emit": [{"type": "x.late", "data": "${event.data}"}],
        "state": {"late": "${event.id}"},
    },
)


def test_what_waited_for_too_long_is_a_dead_letter_of_its_own_place() -> None:
    stream = Stream(PLAIN)
    stream.come(LINE)

    assert stream.due(3601).outcome == "due"

    (decision,) = stream.released
    assert letter_of(decision) == (
        "HoldExpired",
        f"spec.handlers[1].hold.until: did not hold by {at(3601)}; redrive it once it does",
        "line",
    )
    (key,) = stream.ledger.outbox
    assert key == names.letter_id(UID, 1)
    assert stream.ledger.outbox[key].sequence == 1
    assert stream.ledger.held == HeldEvents()
    assert (stream.ledger.totals.dead_lettered, stream.ledger.totals.due) == (1, 1)
    assert stream.come(LINE, id_="e1").outcome == "duplicates"


def test_or_its_handlers_find_it_in_another_event() -> None:
    stream = Stream(HANDLED)
    stream.come(LINE, {"n": 1}, traceparent="00-1")

    stream.due(3601)

    (decision,) = stream.released
    assert (decision.outcome, decision.session, decision.handlers) == ("handled", "s", ("late",))
    (event,) = emitted(decision)
    original = stream.stored[1].event
    assert isinstance(original, Event) and isinstance(event.data, dict)
    assert event.data["event"]["id"] == "e1" and event.data["event"]["data"] == {"n": 1}
    assert {key: event.data[key] for key in ("handler", "heldSince", "heldUntil")} == {
        "handler": "line",
        "heldSince": at(1),
        "heldUntil": at(3601),
    }
    assert event.extensions["causationid"] == "e1"
    assert event.extensions["correlationid"] == "s"
    assert event.extensions["traceparent"] == "00-1"
    assert event.extensions["heedhops"] == original.hops + 1
    assert stream.ledger.sessions["s"].state == {"late": "e1"}


def test_where_none_of_them_acts_it_is_a_dead_letter_all_the_same() -> None:
    stream = Stream(HANDLED)
    stream.come(LINE, {"n": 0})

    stream.due(3601)

    assert letter_of(stream.released[0]) == (
        "HoldExpired",
        f"spec.handlers[1].hold.until: did not hold by {at(3601)}, and no handler of dev.heed.hold.expired acted on "
        "that; redrive it",
        "line",
    )


def test_what_was_in_the_stream_before_its_due_time_still_counts() -> None:
    stream = Stream(PLAIN)
    stream.come(LINE)

    stream.come(OPEN, time=9000)

    assert outcomes(stream) == [(1, "handled")]


def test_nothing_but_its_due_time_ends_its_time() -> None:
    stream = Stream(program({"type": OPEN, "state": {"n": 1}}, HANDLERS[1]))
    stream.come(LINE)

    stream.come(OPEN, time=9000)
    assert outcomes(stream) == [(1, "held")]
    stream.ledger = recall_held(stream.ledger, 4)
    stream.come(ASKED)
    assert outcomes(stream) == [(1, "held")]
    assert stream.ledger.held.next_expiry() == at(3601)

    stream.due(9001)
    assert outcomes(stream) == [(1, "dead_lettered")]


def test_one_due_time_is_that_of_all_whose_time_is_over() -> None:
    stream = Stream(PLAIN)
    for time in (1, 2, 3):
        stream.come(LINE, time=time)

    stream.due(3602)

    assert outcomes(stream) == [(1, "dead_lettered"), (2, "dead_lettered")]
    assert list(stream.ledger.held.places) == [3]


def test_the_brokers_clock_may_be_behind() -> None:
    stream = Stream(PLAIN)
    stream.come(LINE)

    assert stream.due(3000).outcome == "due"

    assert stream.ledger.held == HeldEvents()


@pytest.mark.parametrize(("claimed", "over"), [(3600, False), (3661, False), (3660, True), (9000, False)])
def test_a_due_time_that_the_ledger_does_not_know_says_no_more_than_the_clock(
    claimed: float, over: bool
) -> None:
    stream = Stream(PLAIN)
    stream.come(LINE)

    stream.come("dev.heed.due.hold", {"at": at(claimed), "key": ""}, time=3600, inbox=True)

    assert (stream.ledger.held == HeldEvents()) is over


def test_a_due_time_on_a_broadcast_subject_is_refused() -> None:
    stream = Stream(PLAIN)
    stream.come(LINE)

    assert (
        letter_of(stream.come("dev.heed.due.hold", {"at": at(3601), "key": ""}, time=4000))[0]
        == "ReservedType"
    )
    assert list(stream.ledger.held.places) == [1]


def test_a_longer_time_in_a_later_generation_counts() -> None:
    stream = Stream(PLAIN)
    stream.come(LINE)
    stream.program = replace(
        program({**HANDLERS[1], "hold": {"until": "has(state.lines)", "for": "2h"}}), generation=4
    )

    stream.due(3601)

    assert outcomes(stream) == [(1, "held")]
    assert stream.ledger.held.places[1] == HeldEvent("s", "line", at(1), at(7201), 4, "Held")


def test_where_its_handler_is_gone_it_is_ignored() -> None:
    stream = Stream(PLAIN)
    stream.come(LINE)
    stream.program = replace(program(HANDLERS[0]), generation=4)
    stream.ledger = recall_held(stream.ledger, 4)

    stream.come(ASKED)

    assert outcomes(stream) == [(1, "ignored")]
    assert stream.ledger.held == HeldEvents()


def test_a_generation_looks_once_at_what_an_earlier_one_held() -> None:
    stream = Stream(PLAIN)
    stream.come(LINE)
    stream.program = replace(PLAIN, generation=4)

    assert recall_held(stream.ledger, 3) is stream.ledger
    stream.ledger = recall_held(stream.ledger, 4)
    stream.come(ASKED)

    assert outcomes(stream) == [(1, "held")]
    assert recall_held(stream.ledger, 4) is stream.ledger


# ── bounds ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def holding(*sessions: str) -> Ledger:
    """A ledger that holds an event for each."""
    items = {place: HeldEvent(key, "line", at(0), at(9000), 3) for place, key in enumerate(sessions, 1)}
    return bind_to_stream(Ledger(held=HeldEvents.of(items)), "c")


@pytest.mark.parametrize(
    ("sessions", "outcome"),
    [
        (["s"] * (MAX_HELD_IN_SESSION - 1), "held"),
        (["s"] * MAX_HELD_IN_SESSION, "dead_lettered"),
        (["t"] * MAX_HELD_IN_SESSION, "held"),
        ([str(number) for number in range(MAX_HELD_EVENTS - 1)], "held"),
        ([str(number) for number in range(MAX_HELD_EVENTS)], "dead_lettered"),
    ],
)
def test_there_are_so_many_held_events_and_no_more(sessions: list[str], outcome: str) -> None:
    decision = decide(PLAIN, holding(*sessions), received(9000, LINE, correlationid="s"))

    assert decision.outcome == outcome
    if decision.letter:
        assert letter_of(decision) == (
            "HoldLimit",
            "100 events of the session are held already, or 5000 of the Agent; redrive it later",
            "line",
        )


def test_one_that_is_held_on_is_none_more() -> None:
    stream = Stream(
        program({"type": OPEN, "state": {"n": 1}}, HANDLERS[1]), holding(*["s"] * MAX_HELD_IN_SESSION)
    )
    for place in stream.ledger.held.places:
        stream.stored[place] = received(place, LINE, correlationid="s")

    stream.decided(received(200, OPEN, correlationid="s"))

    assert {item.outcome for item in stream.released} == {"held"}
    assert len(stream.ledger.held) == MAX_HELD_IN_SESSION


@pytest.mark.parametrize(("left", "outcome"), [(1000, "held"), (200, "waiting")])
def test_a_place_takes_headroom(left: int, outcome: str) -> None:
    ledger = holding("t")

    decision = decide(PLAIN, ledger, received(9, LINE, correlationid="s"), room=Headroom(left, 0))

    assert decision.outcome == outcome
    assert (9 in decision.ledger.waiting) is (outcome == "waiting")
    assert decision.growth == (24 if outcome == "waiting" else 257)


def test_the_first_one_is_held_however_full_the_status_is() -> None:
    decision = decide(PLAIN, Ledger(), received(9, LINE, correlationid="s"), room=Headroom(0, 0))

    assert decision.outcome == "held"


def test_one_that_finds_no_headroom_stays_ready_where_it_is() -> None:
    stream = Stream(PLAIN)
    stream.come(LINE)
    ledger = decide(PLAIN, stream.ledger, received(2, OPEN, correlationid="s")).ledger

    again = decide(PLAIN, ledger, stream.stored[1], room=Headroom(10, 0))

    assert again.outcome == "waiting"
    assert again.ledger.held == ledger.held
    assert len(again.ledger.waiting) == 0
    assert again.ledger.held.ready == (1,)


def test_what_the_stream_dropped_is_counted() -> None:
    ledger = holding("s", "t", "s")

    found = drop_held(ledger, [1, 2, 9])

    assert list(found.held.places) == [3]
    assert found.totals.expired == 2
    assert found.held.sessions == {"s": (3,)}


# ── redrives, and ends of tasks ─────────────────────────────────────────────────────────────────────────────────────


def test_the_end_of_a_task_changes_the_state_like_any_event() -> None:
    agent = program(
        {"type": names.TASK_COMPLETED, "state": {"lines": []}}, HANDLERS[1], tasks={"work": job()}
    )
    stream = Stream(agent, Ledger(pending_tasks={"t": session_task("s")}))
    stream.come(LINE)

    stream.decided(task_end(5, "t", 1))

    assert outcomes(stream) == [(1, "handled")]


# ── in any order ────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=60, deadline=None)
@given(st.permutations(list(enumerate([OPEN, LINE, LINE, LINE, CLOSE]))))
def test_early_or_late_the_outcome_is_the_same(order: list[tuple[int, str]]) -> None:
    closing = {
        "type": CLOSE,
        "hold": {"until": "has(state.lines) && size(state.lines) == 3"},
        "emit": [{"type": "x.n", "data": "${size(state.lines)}"}],
        "end": True,
    }
    stream = Stream(program(*HANDLERS, closing))
    for number, type_ in order:
        stream.come(type_, id_=f"n{number}")

    assert stream.ledger.sessions == {}
    assert stream.ledger.held == HeldEvents()
    assert (stream.ledger.totals.handled, stream.ledger.totals.emitted) == (5, 4)
    assert len(stream.ledger.recent_events) == 5
