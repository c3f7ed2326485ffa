"""Dead letters decided again: once for each redrive, by the handlers of now, with the task that they belonged to."""

from dataclasses import replace

from heed import names
from heed.core.decide import decide
from heed.core.events import Received, Redrive
from heed.core.ledger import total_decided
from tests.unit.builders import AGENT, NAMESPACE, after, fold, job, program, received, task_end

BROKEN = program({"name": "note", "state": {"x": "${event.data.missing}"}})
MENDED = program({"name": "note", "state": {"x": "${event.id}"}})


def again(original: Received, sequence: int, attempt: int = 2, task: str | None = None) -> Received:
    """The same message, redriven."""
    assert not isinstance(original.event, type(None))
    subject = names.redrive_subject(NAMESPACE, AGENT, original.event.type)  # type: ignore[union-attr]
    return replace(original, sequence=sequence, subject=subject, redrive=Redrive("letter-1", attempt, task))


def test_it_is_decided_by_the_handlers_of_now_although_it_is_remembered() -> None:
    dead = received(1, data={})
    ledger = after(BROKEN, dead)

    decision = decide(MENDED, ledger, again(dead, 2))

    assert decision.outcome == "handled"
    assert decision.after == {"x": "e1"}


def test_it_is_decided_once_however_often_it_is_sent() -> None:
    dead = received(1, data={})
    ledger = after(BROKEN, dead)

    decisions = fold(MENDED, [again(dead, 2), again(dead, 3)], ledger)

    assert [decision.outcome for decision in decisions] == ["handled", "duplicates"]


def test_each_failure_is_a_letter_that_counts_the_attempts() -> None:
    dead = received(1, data={})
    ledger = after(BROKEN, dead)

    second = decide(BROKEN, ledger, again(dead, 2))
    third = decide(BROKEN, second.ledger, again(dead, 3, attempt=3))

    assert ledger.outbox[next(iter(ledger.outbox))].letter.attempt == 1  # type: ignore[union-attr]
    assert (second.letter.attempt, third.letter.attempt) == (2, 3)  # type: ignore[union-attr]
    assert total_decided(third.ledger.totals) == 3


def test_it_needs_no_subscription_any_more() -> None:
    dead = received(1, data={})
    elsewhere = program({"name": "note", "state": {"x": "${event.id}"}}, subscribe=[{"type": "com.other"}])

    assert decide(elsewhere, after(BROKEN, dead), again(dead, 2)).outcome == "handled"


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
    decisions = fold(
        mended,
        [again(end, 3, task=dead.letter.task), again(end, 4, task=dead.letter.task)],
        dead.ledger,
    )

    # Then
    assert [item.outcome for item in decisions] == ["handled", "duplicates"]
    assert decisions[0].session == "c"
    assert decisions[0].ledger.sessions["c"].state == {"t": "1", "r": ["work", 7]}
    assert decisions[0].ledger.totals.tasks_completed == 1


def test_an_end_without_its_task_is_stale() -> None:
    end = task_end(2, "work-1", 1)

    assert decide(MENDED, after(MENDED, received(1)), again(end, 3)).outcome == "stale"


def test_a_task_that_cannot_be_read_is_a_letter_again() -> None:
    end = task_end(2, "work-1", 1)

    decision = decide(MENDED, after(MENDED, received(1)), again(end, 3, task="[]"))

    assert decision.letter is not None
    assert decision.letter.code == "BadRedrive"
