"""Every event ends in exactly one total, and the cursor moves past it, whatever a publisher sends."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed import names
from heed.core.compiler.program import Program
from heed.core.decision.decide import decide
from heed.core.effects import Publish
from heed.core.events import Event, Received
from heed.core.ledger.dedup_window import DEDUP_WINDOW_SIZE
from heed.core.ledger.ledger import Ledger, count_decided, settle
from tests.builders.agents import AGENT, ASKED, NAMESPACE, job, program
from tests.builders.decisions import after, decide_each, only_task, session_states
from tests.builders.events import at, malformed, received, task_end

COUNTING = program({"state": {"n": "${state.?n.orValue(0) + 1}"}})
WORKING = program(
    {"when": "!has(state.begun)", "state": {"begun": True}, "start": [{"task": "work"}]},
    {"type": "com.example.stop", "end": True},
    {"type": "com.example.halt", "cancel": [{"task": "work"}]},
    {"type": names.TASK_COMPLETED, "state": {"result": "${event.data.result}"}},
    tasks={"work": job("${input}")},
)


# ── one total each ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("event", "total"),
    [
        (received(1), "handled"),
        (received(1, "com.example.unknown"), "ignored"),
        (received(1, "org.other.asked"), "ignored"),
        (malformed(1), "dead_lettered"),
        (received(1, names.TASK_COMPLETED), "dead_lettered"),
        (received(1, names.TASK_FAILED, inbox=True), "stale"),
        (task_end(1, "work-0000000000"), "stale"),
        (received(1, "dev.heed.task.progress", inbox=True, subject="work-0000000000"), "stale"),
        (replace(received(1), subject=names.inbox_subject(NAMESPACE, "another", ASKED)), "ignored"),
        (replace(malformed(1), subject=names.event_subject("elsewhere", ASKED)), "ignored"),
    ],
)
def test_an_event_is_counted_once_and_passed(event: Received, total: str) -> None:
    decision = decide(COUNTING, Ledger(), event)

    assert decision.outcome == total
    assert decision.received is event
    assert getattr(decision.ledger.totals, total) == 1
    assert count_decided(decision.ledger.totals) == 1
    assert decision.ledger.cursor.sequence == 1


events = st.builds(
    received,
    st.integers(1, 40),
    st.sampled_from([ASKED, "com.example.stop", "com.example.no", names.TASK_FAILED, "org.other"]),
    st.sampled_from([None, {"n": 1}, "text", b"\xff", [1]]),
    id_=st.sampled_from(["a", "b", "c"]),
    source=st.sampled_from(["/x", "/y"]),
    time=st.integers(0, 200_000),
    inbox=st.booleans(),
    subject=st.none() | st.just("work-0000000000"),
)


@given(st.lists(events | st.builds(malformed, st.integers(1, 40)), max_size=12))
def test_any_sequence_of_events_adds_up(sequence: list[Received]) -> None:
    decisions = decide_each(WORKING, sequence)

    for number, decision in enumerate(decisions, 1):
        assert count_decided(decision.ledger.totals) == number
        assert decision.ledger.cursor.sequence == max(item.sequence for item in sequence[:number])


# ── duplicates ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_source_and_id_is_decided_once() -> None:
    ledger = after(COUNTING, received(1, id_="x"), received(2, id_="x"))

    assert (ledger.totals.handled, ledger.totals.duplicates) == (1, 1)
    assert ledger.cursor.sequence == 2


def test_the_same_id_of_another_source_is_another_event() -> None:
    ledger = after(COUNTING, received(1, id_="x"), received(2, id_="x", source="/other"))

    assert ledger.totals.handled == 2


def test_source_and_id_cannot_be_shifted_into_each_other() -> None:
    ledger = after(COUNTING, received(1, id_="c", source="/a b"), received(2, id_="b c", source="/a "))

    assert ledger.totals.handled == 2


def test_a_duplicate_changes_neither_state_nor_effects() -> None:
    first, second = decide_each(WORKING, [received(1, id_="x"), received(2, id_="x")])

    assert second.effects == ()
    assert session_states(second.ledger) == session_states(first.ledger)
    assert second.ledger.pending_tasks == first.ledger.pending_tasks


def test_an_event_that_was_dead_lettered_is_a_duplicate_too() -> None:
    broken = program({"state": {"n": "${event.data.n}"}})

    ledger = after(broken, received(1, id_="x"), received(2, data={"n": 1}, id_="x"))

    assert (ledger.totals.dead_lettered, ledger.totals.duplicates) == (1, 1)


def test_within_the_remembered_window_a_duplicate_is_known_and_after_it_not() -> None:
    others = [received(number, id_=f"o{number}") for number in range(2, DEDUP_WINDOW_SIZE + 1)]
    ledger = after(COUNTING, received(1, id_="x"), *others)

    within = decide(COUNTING, ledger, received(600, id_="x"))
    one_more = decide(COUNTING, ledger, received(600, id_="new"))
    beyond = decide(COUNTING, one_more.ledger, received(601, id_="x"))

    assert within.outcome == "duplicates"
    assert beyond.outcome == "handled"
    assert len(beyond.ledger.recent_events) == DEDUP_WINDOW_SIZE


@pytest.mark.parametrize("noise", ["org.other.noise", "com.example.noise"])
def test_a_flood_of_ignored_events_does_not_push_decided_ones_out_of_the_window(noise: str) -> None:
    agent = program({"state": {"n": 1}}, {"type": ">", "when": "event.type == 'x'"})
    flood = [received(number, noise) for number in range(2, DEDUP_WINDOW_SIZE + 10)]
    ledger = after(agent, received(1, id_="x"), *flood)

    assert ledger.totals.ignored == len(flood)
    assert decide(agent, ledger, received(9000, id_="x")).outcome == "duplicates"


@pytest.mark.parametrize("sequence", [0, 3, 7])
def test_what_lies_before_the_cursor_was_decided(sequence: int) -> None:
    ledger = after(COUNTING, received(7))

    decision = decide(COUNTING, ledger, received(sequence, id_="new"))

    assert decision.outcome == "duplicates"
    assert decision.ledger.cursor == ledger.cursor
    assert session_states(decision.ledger) == session_states(ledger)


def test_ends_of_tasks_are_told_apart_by_the_task_and_not_by_their_id() -> None:
    two = program(
        {"start": [{"task": "work", "input": 1}, {"task": "work", "input": 2}]},
        {"type": names.TASK_COMPLETED, "state": {"n": "${state.?n.orValue(0) + 1}"}},
        tasks={"work": job()},
    )
    ledger = after(two, received(1))
    first, second = ledger.pending_tasks

    ledger = decide_each(two, [task_end(2, first, id_="same"), task_end(3, second, id_="same")], ledger)[
        -1
    ].ledger

    assert session_states(ledger) == {"e1": {"n": 2}}


# ── tasks that nobody waits for ─────────────────────────────────────────────────────────────────────────────────────


def test_the_second_end_of_a_task_is_stale() -> None:
    ledger = after(WORKING, received(1))
    task = only_task(ledger)

    decisions = decide_each(WORKING, [task_end(2, task, 1), task_end(3, task, 2, id_="other")], ledger)

    assert [decision.outcome for decision in decisions] == ["handled", "stale"]
    assert session_states(decisions[-1].ledger)["e1"]["result"] == 1


def test_the_end_of_an_abandoned_task_is_stale() -> None:
    ledger = after(WORKING, received(1), received(2, "com.example.stop", correlationid="e1"))
    task = only_task(ledger)

    decision = decide(WORKING, ledger, task_end(3, task, 1))

    assert ledger.pending_tasks[task].phase == "Abandoned"
    assert decision.outcome == "stale"
    assert session_states(decision.ledger) == {}


def test_the_first_end_of_a_task_being_cancelled_counts_whatever_it_says() -> None:
    ledger = after(WORKING, received(1), received(2, "com.example.halt", correlationid="e1"))
    task = only_task(ledger)

    completed = decide(WORKING, ledger, task_end(3, task, 1))
    cancelled = decide(WORKING, completed.ledger, task_end(4, task, reason="Cancelled"))

    assert ledger.pending_tasks[task].phase == "Cancelling"
    assert completed.outcome == "handled"
    assert cancelled.outcome == "stale"
    assert completed.ledger.totals.tasks_completed == 1


def test_an_end_that_no_handler_wants_still_ends_the_task() -> None:
    quiet = program({"start": [{"task": "work"}]}, tasks={"work": job()})
    ledger = after(quiet, received(1))

    decision = decide(quiet, ledger, task_end(2, only_task(ledger), reason="DeadlineExceeded"))

    assert decision.outcome == "ignored"
    assert decision.ledger.pending_tasks == {}
    assert decision.ledger.sessions == {}
    assert decision.ledger.totals.tasks_failed == 1
    assert decision.ledger.recent_tasks[-1].reason == "DeadlineExceeded"


@pytest.mark.parametrize("data", [None, "text", [1], {"reason": {"deep": 1}}, {"reason": "x" * 9999}])
def test_odd_data_of_a_tasks_end_do_no_harm(data: Any) -> None:
    ledger = after(WORKING, received(1))
    end = task_end(2, only_task(ledger), reason="Broken")
    assert isinstance(end.event, Event)

    decision = decide(WORKING, ledger, replace(end, event=replace(end.event, data=data)))

    assert decision.ledger.pending_tasks == {}
    assert len(decision.ledger.recent_tasks[-1].reason or "") <= 100


# ── hostile publishers ──────────────────────────────────────────────────────────────────────────────────────────────


def test_ends_of_tasks_may_not_be_broadcast() -> None:
    ledger = after(WORKING, received(1))
    task = only_task(ledger)

    decision = decide(WORKING, ledger, received(2, names.TASK_COMPLETED, {"result": 1}, subject=task))

    assert decision.letter is not None
    assert decision.letter.code == "ReservedType"
    assert task in decision.ledger.pending_tasks


@pytest.mark.parametrize(
    "hops", ["9" * 5000, 2**31 - 1, "99999999999999999999", "-1", "x", "", "٣", True, 1.5, "1e9"]
)
def test_whatever_is_claimed_as_hops_an_event_can_be_decided_and_stored(hops: Any) -> None:
    decision = decide(WORKING, Ledger(), received(1, heedhops=hops))

    assert decision.outcome == "handled"
    assert 0 <= decision.ledger.pending_tasks[only_task(decision.ledger)].cause.hops <= 64


@pytest.mark.parametrize(
    "event",
    [
        Event("i", "s", ASKED, b"\xff\x00" * 10),
        Event("i" * 1024, "s" * 1024, ASKED),
        Event("i", "s", ASKED, {"a": "\ud800"}),
        Event("i", "s", ASKED, {"a": 2**80}),
        Event("i", "s", ASKED, extensions={"traceparent": "x" * 100_000, "correlationid": "é" * 256}),
        Event("i", "s", ASKED, "x" * 1_000_000),
    ],
    ids=["bytes", "long ids", "half a surrogate", "huge number", "long trace", "long text"],
)
def test_hostile_events_are_handled_or_dead_lettered(event: Event) -> None:
    hostile = Received(1, at(1), names.event_subject(NAMESPACE, ASKED), event)

    decision = decide(WORKING, Ledger(), hostile)

    assert decision.outcome in ("handled", "dead_lettered")
    assert decision.ledger.cursor.sequence == 1


@pytest.mark.parametrize(
    ("correlationid", "outcome"),
    [("k" * 256, "handled"), ("k" * 257, "dead_lettered"), ("ü\n*>./ ", "handled")],
)
def test_a_session_key_may_be_anything_of_some_length(correlationid: str, outcome: str) -> None:
    assert decide(COUNTING, Ledger(), received(1, correlationid=correlationid)).outcome == outcome


# ── dead letters ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_dead_letter_is_owed_until_it_is_published() -> None:
    decision = decide(COUNTING, Ledger(), malformed(5))

    ((key, owed),) = decision.ledger.outbox.items()
    assert key == names.letter_id(COUNTING.agent.uid, 5)
    assert owed.subject == names.dead_subject(NAMESPACE, AGENT)
    assert owed.letter is not None
    assert (owed.letter.code, owed.letter.generation) == ("BadData", 3)
    assert decision.effects == (Publish(key, owed),)
    assert settle(decision.ledger, decision.effects).outbox == {}


def test_a_cause_of_any_length_is_shortened() -> None:
    event = received(1, data={"k": "x" * 50_000})
    decision = decide(program({"state": {"n": "${{'a': 1}[event.data.k]}"}}), Ledger(), event)

    assert decision.letter is not None
    assert len(decision.letter.message) <= 1000


def test_equal_inputs_give_equal_decisions() -> None:
    def again(program_: Program) -> Ledger:
        return after(program_, received(1), received(2, "com.example.stop"), malformed(3))

    assert again(WORKING) == again(replace(WORKING))
