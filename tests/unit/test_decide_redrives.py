"""Dead letters decided again: once for each redrive, by the handlers of now, with the task that they belonged to."""

from dataclasses import replace

import pytest

from heed import names
from heed.api.validation import parse_agent
from heed.core.compiler.program import compile_agent
from heed.core.decision.decide import decide
from heed.core.decision.explain import why_ignored
from heed.core.events import Event, Received, Redrive
from heed.core.ledger.ledger import Ledger, count_decided
from tests.builders.agents import AGENT, ASKED, NAMESPACE, job, manifest, program
from tests.builders.decisions import after, decide_each, emitted
from tests.builders.events import received, task_end
from tests.builders.policies import allowed_by, grant

BROKEN = program({"name": "note", "state": {"x": "${event.data.missing}"}})
MENDED = program({"name": "note", "state": {"x": "${event.id}"}})


def again(original: Received, sequence: int, attempt: int = 2, task: str | None = None) -> Received:
    """The same message, redriven."""
    assert isinstance(original.event, Event)
    subject = names.redrive_subject(NAMESPACE, AGENT, original.event.type)
    redrive = Redrive("letter-1", attempt, task, original.subject)
    return replace(original, sequence=sequence, subject=subject, redrive=redrive)


def test_it_is_decided_by_the_handlers_of_now_although_it_is_remembered() -> None:
    dead = received(1, data={})
    ledger = after(BROKEN, dead)

    decision = decide(MENDED, ledger, again(dead, 2))

    assert decision.outcome == "handled"
    assert decision.after == {"x": "e1"}


def test_it_is_decided_once_however_often_it_is_sent() -> None:
    dead = received(1, data={})
    ledger = after(BROKEN, dead)

    decisions = decide_each(MENDED, [again(dead, 2), again(dead, 3)], ledger)

    assert [decision.outcome for decision in decisions] == ["handled", "duplicates"]


def test_each_failure_is_a_letter_that_counts_the_attempts() -> None:
    dead = received(1, data={})
    ledger = after(BROKEN, dead)

    second = decide(BROKEN, ledger, again(dead, 2))
    third = decide(BROKEN, second.ledger, again(dead, 3, attempt=3))

    assert ledger.outbox[next(iter(ledger.outbox))].letter.attempt == 1  # type: ignore[union-attr]
    assert (second.letter.attempt, third.letter.attempt) == (2, 3)  # type: ignore[union-attr]
    assert count_decided(third.ledger.totals) == 3


@pytest.mark.parametrize(
    ("data", "outcome"), [({"n": "text"}, "ignored"), ({"n": 1}, "ignored"), ({"n": 7}, "handled")]
)
def test_a_broadcast_event_meets_the_subscriptions_of_now_like_one_published_afresh(
    data: dict[str, object], outcome: str
) -> None:
    # Given an event that died of a subscription's condition, which was mended then
    handler = {"name": "note", "state": {"n": "${event.data.n}"}, "emit": [{"type": "com.noted"}]}
    where = "type(event.data.n) == int && event.data.n > 5"
    broken = program(handler, subscribe=[{"type": ASKED, "where": "event.data.m > 5"}])
    mended = program(handler, subscribe=[{"type": ASKED, "where": where}])
    dead = received(1, data=data)
    ledger = after(broken, dead)
    assert ledger.totals.dead_lettered == 1

    # When it is redriven, and published afresh
    redriven = decide(mended, ledger, again(dead, 2))
    afresh = decide(mended, Ledger(), received(2, data=data))

    # Then both come to the same
    assert redriven.outcome == afresh.outcome == outcome
    assert len(emitted(redriven)) == len(emitted(afresh)) == (outcome == "handled")
    assert why_ignored(mended, redriven) == why_ignored(mended, afresh)


def test_a_broadcast_event_that_is_subscribed_to_no_more_is_ignored() -> None:
    dead = received(1, data={})
    elsewhere = program({"name": "note", "state": {"x": "${event.id}"}}, subscribe=[{"type": "com.other"}])

    decision = decide(elsewhere, after(BROKEN, dead), again(dead, 2))

    assert decision.outcome == "ignored"
    assert why_ignored(elsewhere, decision) == f"no subscription has the type {ASKED}"


def test_a_condition_that_still_breaks_is_a_letter_again() -> None:
    broken = program({"name": "note"}, subscribe=[{"type": ASKED, "where": "event.data.n > 5"}])
    dead = received(1, data={"n": "text"})

    decision = decide(broken, after(broken, dead), again(dead, 2))

    assert decision.letter is not None
    assert (decision.letter.code, decision.letter.attempt) == ("ExpressionFailed", 2)


def test_a_direct_message_needs_no_subscription() -> None:
    dead = received(1, data={}, inbox=True)
    elsewhere = program({"name": "note", "state": {"x": "${event.id}"}}, subscribe=[{"type": "com.other"}])

    assert decide(elsewhere, after(BROKEN, dead), again(dead, 2)).outcome == "handled"


def test_a_letter_of_another_namespace_meets_the_subscriptions_to_that_one() -> None:
    # Given an Agent that hears events of shop, and had died of one, and of one of its own namespace
    agent = parse_agent(manifest({"name": "note"}, subscribe=[{"type": ASKED, "namespace": "shop"}]))
    hearing = compile_agent(agent, allowed_by(grants=[grant("shop", ">")]))
    theirs = replace(received(1), subject=names.event_subject("shop", ASKED))
    own = received(1)

    # When letters of both are redriven
    outcomes = [decide(hearing, Ledger(), again(letter, 2)).outcome for letter in (theirs, own)]

    # Then
    assert outcomes == ["handled", "ignored"]


def test_an_end_that_nobody_may_broadcast_is_not_believed_by_way_of_a_redrive() -> None:
    broadcast = received(1, names.TASK_COMPLETED, {"result": 1}, subject="work-1")
    record = '{"session": "c", "input": {}, "id": "work-1", "name": "work", "kind": "job", "startedAt": ""}'

    decision = decide(MENDED, Ledger(), again(broadcast, 2, task=record))

    assert decision.letter is not None
    assert decision.letter.code == "ReservedType"


def test_the_end_of_a_task_comes_back_with_its_task() -> None:
    # Given an end whose handler broke
    start = {"name": "begin", "state": {"t": "1"}, "start": [{"task": "work", "input": {"n": 7}}]}
    done = {"name": "done", "type": names.TASK_COMPLETED}
    tasks = {"work": job()}
    broken = program(start, {**done, "state": {"r": "${event.data.nothing}"}}, tasks=tasks)
    mended = program(start, {**done, "state": {"r": "${[task.name, input.n]}"}}, tasks=tasks)
    ledger = after(broken, received(1, correlationid="c"))
    (task,) = ledger.pending_tasks
    end = task_end(2, task, 1)
    dead = decide(broken, ledger, end)
    assert dead.letter is not None
    assert dead.letter.task is not None

    # When it is redriven, twice
    decisions = decide_each(
        mended,
        [again(end, 3, task=dead.letter.task), again(end, 4, task=dead.letter.task)],
        dead.ledger,
    )

    # Then
    assert [item.outcome for item in decisions] == ["handled", "duplicates"]
    assert decisions[0].session == "c"
    assert decisions[0].ledger.sessions["c"].state == {"t": "1", "r": ["work", 7]}
    assert decisions[0].ledger.totals.tasks_completed == 1


def test_the_end_of_a_task_that_breaks_again_keeps_its_task_and_is_remembered() -> None:
    done = {"name": "done", "type": names.TASK_COMPLETED, "state": {"r": "${event.data.nothing}"}}
    broken = program({"start": [{"task": "work", "input": 7}]}, done, tasks={"work": job()})
    ledger = after(broken, received(1))
    (task,) = ledger.pending_tasks
    end = task_end(2, task, 1)
    dead = decide(broken, ledger, end)
    assert dead.letter is not None
    kept = dead.letter.task

    first, same, next_ = decide_each(
        broken,
        [again(end, 3, task=kept), again(end, 4, task=kept), again(end, 5, 3, task=kept)],
        dead.ledger,
    )

    assert [item.outcome for item in (first, same, next_)] == ["dead_lettered", "duplicates", "dead_lettered"]
    for item, attempt in ((first, 2), (next_, 3)):
        assert item.letter is not None
        assert (item.letter.task, item.letter.attempt) == (kept, attempt)


def test_an_end_without_its_task_is_stale() -> None:
    end = task_end(2, "work-1", 1)

    assert decide(MENDED, after(MENDED, received(1)), again(end, 3)).outcome == "stale"


def test_a_task_that_cannot_be_read_is_a_letter_again() -> None:
    end = task_end(2, "work-1", 1)

    decision = decide(MENDED, after(MENDED, received(1)), again(end, 3, task="[]"))

    assert decision.letter is not None
    assert decision.letter.code == "BadRedrive"
