"""No room in the status: events wait in the stream, in order, and are decided when there is room again."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from heed import names
from heed.api.status import Session
from heed.core.compiler.program import Program
from heed.core.decision.decide import Decision, decide
from heed.core.events import Received
from heed.core.ledger.deferred import MAX_DEFERRED_EVENTS, DeferredEvents
from heed.core.ledger.headroom import Headroom
from heed.core.ledger.ledger import (
    Ledger,
    bind_to_stream,
    count_decided,
    drop_deferred,
    dump_ledger,
    load_ledger,
    make_patch,
    skip_expired,
)
from tests.builders.agents import job, program
from tests.builders.decisions import after, decide_each
from tests.builders.events import at, received, task_end
from tests.builders.values import as_stored, merged

CLOSE = "com.example.close"
NOTES = "${state.?n.orValue([]) + [event.id]}"
AGENT = program(
    {"name": "open", "state": {"n": NOTES}},
    {"name": "close", "type": CLOSE, "end": True, "emit": [{"type": "x.closed", "data": NOTES}]},
    {"name": "broken", "type": "com.example.broken", "when": "state.nothing > 1", "end": True},
)
WORKER = program(
    {"name": "open", "state": {"n": "1"}, "start": [{"task": "work"}]},
    {"name": "done", "type": names.TASK_COMPLETED, "state": {"a": "${event.data.result}"}},
    tasks={"work": job()},
)
NONE, PLENTY = Headroom(0, 0), Headroom(10**6, 3000)
BUSY = Ledger(sessions={"busy": Session(at(0), at(0), "busy", {"n": []})})


def opened(sequence: int, session: str) -> Received:
    return received(sequence, correlationid=session)


def closed(sequence: int, session: str) -> Received:
    return received(sequence, CLOSE, correlationid=session)


def waiting(*events: Received, agent: Program = AGENT, ledger: Ledger | None = None) -> Ledger:
    """The ledger after events for which there was no room."""
    ledger = ledger or BUSY
    for event in events:
        decision = decide(agent, ledger, event, room=NONE)
        assert decision.outcome == "waiting"
        ledger = decision.ledger
    return ledger


def test_a_new_session_waits_where_there_is_no_room_and_the_cursor_goes_on() -> None:
    decision = decide(AGENT, BUSY, opened(1, "a"), room=NONE)

    assert (decision.outcome, decision.effects) == ("waiting", ())
    assert decision.ledger.cursor.sequence == 1
    assert decision.ledger.waiting.places == {1: names.waiting_digest("a")}
    assert count_decided(decision.ledger.totals) == 0
    assert list(decision.ledger.sessions) == ["busy"]


def test_one_session_finds_room_in_any_case() -> None:
    assert decide(AGENT, Ledger(), opened(1, "a"), room=NONE).outcome == "handled"


def test_what_waited_is_decided_as_if_it_came_now() -> None:
    ledger = waiting(opened(1, "a"))

    decision = decide(AGENT, ledger, opened(1, "a"), room=PLENTY)

    assert decision.outcome == "handled"
    assert decision.ledger.sessions["a"].state == {"n": ["e1"]}
    assert len(decision.ledger.waiting) == 0
    assert decide(AGENT, decision.ledger, opened(1, "a"), room=PLENTY).outcome == "duplicates"


def test_it_goes_on_waiting_without_a_trace_while_there_is_none() -> None:
    ledger = waiting(opened(1, "a"), opened(2, "b"))

    again = decide(AGENT, ledger, opened(1, "a"), room=NONE)

    assert again.outcome == "waiting"
    assert dump_ledger(again.ledger) == dump_ledger(ledger)


def test_a_session_that_exists_goes_on_with_what_is_kept_for_it() -> None:
    ledger = after(AGENT, opened(1, "a"))

    new = decide(AGENT, ledger, opened(2, "b"), room=Headroom(1200, 1200))
    old = decide(AGENT, ledger, opened(2, "a"), room=Headroom(1200, 1200))

    assert (new.outcome, old.outcome) == ("waiting", "handled")


def test_what_ends_a_session_never_waits_for_room() -> None:
    agent = program({"state": {"n": "x" * 3000}}, {"type": CLOSE, "end": True})
    ledger = after(agent, opened(1, "a"))

    assert decide(agent, ledger, closed(2, "a"), room=Headroom(0, 0)).outcome == "handled"


def test_events_of_a_session_stay_in_order_behind_its_first() -> None:
    # Given two that wait for the same session, and one of another
    ledger = waiting(opened(1, "a"), opened(2, "b"))
    ledger = decide(AGENT, ledger, closed(3, "a"), room=PLENTY).ledger
    assert list(ledger.waiting.places) == [1, 2, 3]

    # When there is room, and a later one comes first
    assert decide(AGENT, ledger, opened(4, "a"), room=PLENTY).outcome == "waiting"
    decisions = decide_each(AGENT, [opened(1, "a"), opened(2, "b"), closed(3, "a")], ledger)

    # Then
    assert [decision.outcome for decision in decisions] == ["handled"] * 3
    assert [decision.before for decision in decisions] == [None, None, {"n": ["e1"]}]


def test_who_would_open_a_session_waits_behind_those_that_came_before() -> None:
    ledger = waiting(opened(1, "a"))

    assert decide(AGENT, ledger, opened(2, "b"), room=PLENTY).outcome == "waiting"


def test_an_event_does_not_break_on_a_state_that_is_still_to_come() -> None:
    ledger = waiting(opened(1, "a"))

    decision = decide(AGENT, ledger, received(2, "com.example.broken", correlationid="a"), room=PLENTY)

    assert decision.outcome == "waiting"


def test_the_end_of_a_task_is_decided_with_the_last_bit_of_room() -> None:
    ledger = after(WORKER, opened(1, "a"))
    (task,) = ledger.pending_tasks

    decision = decide(WORKER, ledger, task_end(2, task, "short"), room=Headroom(1000, 1000))

    assert decision.outcome == "handled"


def test_the_end_of_a_task_that_cannot_fit_is_a_dead_letter_and_its_task_is_over() -> None:
    ledger = after(WORKER, opened(1, "a"))
    (task,) = ledger.pending_tasks

    decision = decide(WORKER, ledger, task_end(2, task, "long"), room=Headroom(10, 1000))

    assert decision.letter is not None
    assert decision.letter.code == "StatusFull"
    assert decision.ledger.pending_tasks == {}


def test_an_event_that_waits_in_vain_is_counted() -> None:
    ledger = drop_deferred(waiting(opened(1, "a"), opened(2, "b")), [1])

    assert list(ledger.waiting.places) == [2]
    assert ledger.totals.expired == 1


def test_the_status_keeps_what_waits() -> None:
    before = waiting(opened(1, "a"), opened(2, "b"), opened(10, "a"))
    after_ = decide(AGENT, before, opened(1, "a"), room=PLENTY).ledger

    assert load_ledger(as_stored(dump_ledger(before))) == before
    assert list(load_ledger(as_stored(dump_ledger(before))).waiting.places) == [1, 2, 10]
    assert merged(as_stored(dump_ledger(before)), make_patch(before, after_)) == as_stored(
        dump_ledger(after_)
    )


def test_a_cursor_that_was_taken_away_gives_up_what_waits_in_the_old_stream() -> None:
    status = as_stored(
        dump_ledger(waiting(opened(2, "a"), opened(3, "b"), ledger=after(AGENT, opened(1, "c"))))
    )
    del status["cursor"]

    ledger = load_ledger(status)

    assert (len(ledger.waiting), ledger.totals.expired) == (0, 2)
    assert "c" in ledger.sessions
    assert merged(status, make_patch(ledger, replace(ledger, sessions={})))["sessions"] == {}


def test_the_inbox_alone_is_read_ahead_and_nothing_of_it_is_decided_twice() -> None:
    # Given a task whose end stands far behind the cursor
    ledger = after(WORKER, opened(1, "a"))
    (task,) = ledger.pending_tasks
    end = task_end(90, task, "x")

    # When it is decided ahead, and then the cursor comes by
    ledger = decide(WORKER, ledger, end, ahead=True).ledger
    assert (ledger.cursor.sequence, ledger.cursor.inbox) == (1, 90)
    decisions = decide_each(WORKER, [opened(2, "b"), task_end(80, "other"), end, opened(91, "c")], ledger)

    # Then
    assert [item.outcome for item in decisions] == ["handled", "passed", "passed", "handled"]
    assert decisions[-1].ledger.cursor.inbox is None
    assert count_decided(decisions[-1].ledger.totals) == 4
    assert decisions[-1].ledger.totals.tasks_completed == 1


def test_a_stream_made_anew_gives_other_names_to_the_same_places() -> None:
    old = decide(WORKER, bind_to_stream(Ledger(), "2026-01-01T00:00:00Z"), opened(1, "a")).ledger
    new = decide(WORKER, bind_to_stream(Ledger(), "2026-01-02T00:00:00Z"), opened(1, "a")).ledger

    assert set(old.pending_tasks).isdisjoint(new.pending_tasks)
    assert bind_to_stream(old, "2026-01-02T00:00:00Z") is old


def test_what_the_stream_dropped_before_it_was_read_is_counted() -> None:
    ledger = after(AGENT, opened(3, "a"))

    moved = skip_expired(ledger, 10)

    assert (moved.cursor.sequence, moved.totals.expired) == (10, 7)
    assert skip_expired(ledger, 3) is ledger
    assert skip_expired(Ledger(), 10).totals.expired == 0


def test_what_the_stream_dropped_from_its_middle_is_counted_once() -> None:
    ledger = after(AGENT, opened(3, "a"))

    holed = skip_expired(ledger, 3, gone=4)
    assert (holed.cursor.sequence, holed.totals.expired) == (3, 4)

    assert skip_expired(ledger, 10, gone=4).totals.expired == 7, "they may be the same ones"
    assert skip_expired(ledger, 5, gone=4).totals.expired == 4
    assert skip_expired(Ledger(), 10, gone=4).totals.expired == 4


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["open", "open", "close"]), st.sampled_from("abcd"), st.booleans()),
        max_size=40,
    ),
    st.lists(st.booleans(), max_size=200),
)
def test_with_room_or_without_every_session_goes_through_the_same(
    steps: list[tuple[str, str, bool]], rooms: list[bool]
) -> None:
    """Room comes and goes; in the end each session has seen its own events, all of them, in the stream's order."""
    events = [
        (opened if kind == "open" else closed)(place, session)
        for place, (kind, session, _) in enumerate(steps, 1)
    ]
    stream = {event.sequence: event for event in events}
    taken: list[Decision] = []
    ledger, left = BUSY, iter(rooms)

    def take(event: Received, room: Headroom | None) -> bool:
        nonlocal ledger
        decision = decide(AGENT, ledger, event, room=room)
        ledger = decision.ledger
        if decision.outcome != "waiting":
            taken.append(decision)
        return decision.outcome != "waiting"

    for event in events:
        take(event, PLENTY if next(left, True) else NONE)
        while len(ledger.waiting) and next(left, False):
            take(stream[ledger.waiting.first(1)[0]], PLENTY)
    while len(ledger.waiting):
        assert take(stream[ledger.waiting.first(1)[0]], PLENTY)

    usual = decide_each(AGENT, events)
    for session in "abcd":
        mine = [
            (item.received.sequence, item.before, item.after) for item in taken if item.session == session
        ]
        theirs = [
            (item.received.sequence, item.before, item.after) for item in usual if item.session == session
        ]
        assert mine == theirs
    assert count_decided(ledger.totals) == len(events)


def test_places_stay_in_order_however_they_come() -> None:
    waiting_ = DeferredEvents.of({5: "x", 2: "y"}).with_event(4, "k").with_event(9, "k")

    assert list(waiting_.places) == [2, 4, 5, 9]
    assert waiting_.with_event(4, "k") is waiting_
    assert waiting_.without_event(3) is waiting_
    assert waiting_.without_event(4).blocks("k", 10)
    assert not waiting_.without_event(4).without_event(9).blocks("k", 10)


def test_more_events_than_may_wait_are_letters_that_say_so_and_are_remembered() -> None:
    full = replace(BUSY, waiting=DeferredEvents.of(dict.fromkeys(range(1, MAX_DEFERRED_EVENTS + 1), "x")))
    late = opened(MAX_DEFERRED_EVENTS + 1, "a")

    last = decide(AGENT, drop_deferred(full, [1]), late, room=NONE)
    refused = decide(AGENT, full, late, room=NONE)
    again = decide(AGENT, refused.ledger, replace(late, sequence=MAX_DEFERRED_EVENTS + 2), room=NONE)

    assert (last.outcome, len(last.ledger.waiting)) == ("waiting", MAX_DEFERRED_EVENTS)
    assert refused.letter is not None
    assert (refused.letter.code, refused.letter.message) == (
        "Saturated",
        "10000 events wait for room already; redrive it later",
    )
    assert (refused.ledger.waiting, again.outcome) == (full.waiting, "duplicates")
    assert decide(AGENT, refused.ledger, opened(MAX_DEFERRED_EVENTS, "b"), room=NONE).outcome == "waiting"


def test_what_is_given_up_adds_to_what_was_lost_before() -> None:
    status = dump_ledger(waiting(opened(1, "a"), opened(2, "b")))
    del status["cursor"]
    status["totals"]["expired"] = 5

    assert load_ledger(status).totals.expired == 7


def test_however_places_come_and_go_what_is_left_is_the_same() -> None:
    one, two = names.waiting_digest("one"), names.waiting_digest("two")
    all_ = DeferredEvents().with_event(3, "one").with_event(1, "two").with_event(7, "one")

    assert all_ == DeferredEvents.of({1: two, 3: one, 7: one})
    assert all_.without_event(3) == DeferredEvents.of({1: two, 7: one})
    assert all_.without_event(3).without_event(7) == DeferredEvents.of({1: two})
    assert all_.without_event(1).without_event(3).without_event(7) == DeferredEvents()
    assert [all_.first(count) for count in (0, 1, 2, 9)] == [[], [1], [1, 3], [1, 3, 7]]
    assert [all_.blocks("one", sequence) for sequence in (2, 3, 4)] == [False, False, True]
