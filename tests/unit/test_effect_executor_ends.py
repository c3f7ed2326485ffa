"""Cancellations, deadlines and the ends of tasks: what is published of them, and what becomes of their starts."""

from dataclasses import replace
from typing import Any

import pytest

from heed import names
from heed.api.status import PendingTask, QueuePlace
from heed.core.due.due_times import DueTime
from heed.core.effects import CancelTask, TaskEnd
from heed.core.events import Event
from heed.core.ledger.ledger import Ledger
from heed.engine.effect_executor import RETRY_BACKOFF
from heed.errors import BusUnavailable, MalformedEvent, TaskUnavailable
from heed.util.clock import timestamp
from tests.integration.waiting import until
from tests.unit.inmemory import AGENT, FUTURE, INBOX, PAST, Bench, pending, start, turns

OVER = DueTime(PAST, "deadline", "t-1")


def ended(task_id: str = "t-1", **changes: Any) -> TaskEnd:
    return replace(TaskEnd(task_id, "run-1", PAST, True, result=7), **changes)


# ── cancellations and deadlines ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_cancelled_task_is_removed_and_its_failure_told(bench: Bench) -> None:
    began = timestamp()
    bench.executor().perform([CancelTask("t-1", pending("Cancelling"))])
    await turns()

    assert bench.runner.happened == [("cancel", "t-1")]
    ((subject, event),) = bench.bus.published
    assert (subject, event.id, event.subject) == (
        INBOX + names.TASK_FAILED,
        names.digest("cancelled", "t-1"),
        "t-1",
    )
    assert event.data == {"task": "work", "reason": "Cancelled"}
    assert began <= str(event.time) <= timestamp()


async def test_a_start_under_way_is_awaited_before_its_cancellation(bench: Bench) -> None:
    bench.runner.open.clear()
    executor = bench.executor()
    executor.perform([start()])
    await turns()
    executor.perform([CancelTask("t-1", pending("Cancelling"))])
    await turns()
    assert bench.runner.happened == []

    bench.runner.open.set()
    await turns()

    assert bench.runner.happened == [("start", "t-1"), ("cancel", "t-1")]


async def test_a_start_that_failed_is_not_tried_after_its_cancellation(bench: Bench) -> None:
    bench.runner.trouble.append(TaskUnavailable("no"))
    executor = bench.executor()
    executor.perform([start()])
    await turns()

    executor.perform([CancelTask("t-1", None)])
    await until(lambda: bool(bench.runner.happened))

    assert bench.runner.happened == [("cancel", "t-1")]
    await until(lambda: executor.has_room(1))
    assert bench.runner.started == []


async def test_the_end_of_a_task_that_was_cancelled_is_not_told_again(bench: Bench) -> None:
    executor = bench.executor()
    executor.perform([CancelTask("t-1", pending("Cancelling"))])
    await turns()

    executor.start_reporting(pending("Cancelling"), ended())
    await turns()

    assert len(bench.bus.published) == 1


async def test_a_task_over_its_time_is_removed_and_fails_once(bench: Bench) -> None:
    executor, record, began = bench.executor(), pending("Started", deadline=PAST), timestamp()

    executor.start_expiring(OVER, record)
    executor.start_expiring(OVER, record)
    executor.start_reporting(record, ended())
    await turns()

    assert bench.runner.happened == [("cancel", "t-1")]
    ((subject, event),) = bench.bus.published
    assert (subject, event.id, event.subject) == (
        INBOX + names.TASK_FAILED,
        names.digest("deadline", "t-1"),
        "t-1",
    )
    assert began <= str(event.time) <= timestamp()
    message = f"not done by {PAST}, its timeout after the event that started it"
    assert event.data == {"task": "work", "reason": "DeadlineExceeded", "message": message}


@pytest.mark.parametrize(
    "record",
    [
        replace(pending("Queued", deadline=PAST), queue=QueuePlace(PAST, 1)),
        replace(pending("Retrying", deadline=PAST, due=FUTURE), attempt=2),
        pending("Started", deadline=PAST, kind="wait", due=FUTURE),
    ],
    ids=["queued", "between attempts", "wait"],
)
async def test_of_what_waits_there_is_nothing_to_remove(bench: Bench, record: PendingTask) -> None:
    bench.executor().perform([CancelTask("t-1", replace(record, phase="Cancelling"), record.attempt)])
    bench.executor().start_expiring(OVER, record)
    await turns()

    assert bench.runner.happened == []
    reasons = [event.data["reason"] for _, event in bench.bus.published if isinstance(event.data, dict)]
    assert reasons == ["Cancelled", "DeadlineExceeded"]


async def test_its_start_is_given_up(bench: Bench) -> None:
    bench.runner.trouble.append(TaskUnavailable("no"))
    executor = bench.executor()
    executor.perform([start()])
    await turns()

    executor.start_expiring(OVER, pending(deadline=PAST))
    await until(lambda: bool(bench.bus.published))

    assert bench.runner.happened == [("cancel", "t-1")]


# ── ends ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_end_is_published_once_and_told(bench: Bench) -> None:
    executor = bench.executor()

    executor.start_reporting(pending("Started"), ended())
    executor.start_reporting(pending("Started"), ended(id="run-2"))
    await turns()

    ((subject, event),) = bench.bus.published
    assert (subject, event.id, event.time) == (INBOX + names.TASK_COMPLETED, "run-1", PAST)
    assert event.data == {"task": "work", "result": 7}
    assert bench.watcher.ends == [(AGENT, ended())]
    assert bench.runner.happened == []


async def test_its_published_result_is_looked_for(bench: Bench) -> None:
    subject = names.task_subject("demo", "researcher", "t-1", names.TASK_RESULT)
    bench.bus.results[subject] = Event("r", "/task", names.TASK_RESULT, {"large": True})

    bench.executor().start_reporting(pending("Started"), ended(published=True))
    await turns()

    assert [data for *_, data in bench.ends()] == [{"task": "work", "result": {"large": True}}]


async def test_an_end_that_cannot_be_published_now_is_tried_again(bench: Bench) -> None:
    bench.bus.trouble.append(BusUnavailable("away"))

    bench.executor().start_reporting(pending("Started"), ended())
    await until(lambda: bool(bench.bus.published))

    assert bench.watcher.troubles == [(AGENT, "publish the end of a task", "away", RETRY_BACKOFF.first_s)]


async def test_so_is_the_end_at_a_deadline(bench: Bench) -> None:
    bench.bus.trouble.append(BusUnavailable("away"))

    bench.executor().start_expiring(OVER, pending("Started", deadline=PAST))
    await until(lambda: bool(bench.bus.published))

    assert bench.watcher.troubles == [(AGENT, "end a task at its deadline", "away", RETRY_BACKOFF.first_s)]


async def test_an_end_that_the_broker_does_not_take_is_told_in_few_words(bench: Bench) -> None:
    bench.bus.trouble.append(MalformedEvent("too large"))
    record = pending("Started")
    record = replace(record, cause=replace(record.cause, traceparent="00-aa-bb-01"))

    bench.executor().start_reporting(record, ended())
    await turns()

    ((subject, event),) = bench.bus.published
    assert (subject, event.id) == (INBOX + names.TASK_FAILED, "run-1")
    assert event.data == {"task": "work", "reason": "BadResult", "message": "too large"}
    assert "traceparent" not in event.extensions
    assert [(end.completed, end.reason) for _, end in bench.watcher.ends] == [(False, "BadResult")]


async def test_the_end_of_a_task_whose_start_still_fails_gives_that_up(bench: Bench) -> None:
    bench.runner.trouble.append(TaskUnavailable("no"))
    executor = bench.executor()
    executor.perform([start()])
    await turns()

    executor.start_reporting(pending("Owed"), ended())
    await until(lambda: bool(bench.bus.published))

    assert bench.runner.happened == []
    assert [effect.id for _, effect in bench.watcher.effects] == []


async def test_the_end_of_a_started_one_gives_nothing_up(bench: Bench) -> None:
    bench.runner.trouble.append(TaskUnavailable("no"))
    executor = bench.executor()
    executor.perform([start()])
    await turns()

    executor.start_reporting(pending("Started"), ended())
    await until(lambda: bool(bench.bus.published))

    assert bench.runner.happened == [("start", "t-1")]


LOST = ended(completed=False, result=None, reason="JobLost")


@pytest.mark.parametrize("phase", ["Owed", "Started"])
async def test_a_lost_task_that_a_try_under_way_may_make_anew_is_removed(bench: Bench, phase: Any) -> None:
    bench.runner.open.clear()
    executor = bench.executor()
    executor.perform([start()])
    await turns()

    executor.start_reporting(pending(phase), LOST)
    await turns()
    assert bench.bus.published == []
    bench.runner.open.set()
    await turns()

    assert bench.runner.happened == [("start", "t-1"), ("cancel", "t-1")]
    assert [data["reason"] for *_, data in bench.ends()] == [LOST.reason]


@pytest.mark.parametrize("end", [LOST, ended()], ids=["lost", "completed"])
async def test_where_none_is_under_way_or_it_was_not_lost_nothing_is_removed(
    bench: Bench, end: TaskEnd
) -> None:
    executor = bench.executor()
    if end is not LOST:
        bench.runner.open.clear()
        executor.perform([start()])
        await turns()
        bench.runner.open.set()

    executor.start_reporting(pending(), end)
    await turns()

    assert ("cancel", "t-1") not in bench.runner.happened
    assert len(bench.bus.published) == 1


@pytest.mark.parametrize(
    ("record", "end", "reason"),
    [
        (pending("Started", deadline=PAST), LOST, "DeadlineExceeded"),
        (pending("Started", deadline=FUTURE), LOST, LOST.reason),
        (pending("Started"), LOST, LOST.reason),
        (pending("Started", deadline=PAST), replace(LOST, reason="Failed"), "Failed"),
    ],
)
async def test_a_task_lost_after_its_deadline_is_over_its_time(
    bench: Bench, record: PendingTask, end: TaskEnd, reason: str
) -> None:
    bench.executor().start_reporting(record, end)
    await turns()

    assert [data["reason"] for *_, data in bench.ends()] == [reason]


async def test_nothing_of_a_ledger_without_tasks_is_kept(bench: Bench) -> None:
    executor = bench.executor()
    executor.update_ledger(Ledger())
    executor.perform([start()])
    await turns()

    assert len(bench.runner.started) == 1
