"""What the limits of policies allow one decision, on both sides of each of them."""

import pytest

from heed import names
from heed.api.status import Cursor, PendingTask, Session, TaskRate
from heed.core.decision import quotas
from heed.core.decision.model import EmitRequest, HandlerResult, StartRequest
from heed.core.ledger.ledger import Ledger
from heed.core.policy.permissions import Quota, Quotas
from tests.builders.decisions import failure_of
from tests.builders.events import at
from tests.builders.tasks import pending_task

MINUTE = "2026-01-31T12:01:00Z"
SAYS = "AgentPolicy demo/strict allows at most"


def cap(most: int) -> Quota:
    return Quota(most, ("demo/strict",))


def wishes(count: int) -> HandlerResult:
    """So many tasks that are to start, the last of them by another handler."""
    first, last = StartRequest("first", "work", None), StartRequest("last", "work", None)
    return HandlerResult({}, starts=[first] * (count - 1) + [last] * bool(count))


HELD = {
    "a": pending_task(),
    "b": pending_task(phase="Owed"),
    "c": pending_task(phase="Cancelling"),
    "d": pending_task(phase="Abandoned"),
}


@pytest.mark.parametrize(
    ("starts", "cancelled", "pending"),
    [
        (0, {}, None),
        (1, {}, None),
        (2, {}, None),
        (3, {}, 3),
        (3, {"a": pending_task(phase="Abandoned")}, None),
        (3, {"a": pending_task(phase="Cancelling")}, 3),
    ],
)
def test_so_many_tasks_may_be_pending(
    starts: int, cancelled: dict[str, PendingTask], pending: int | None
) -> None:
    def check() -> None:
        quotas.check_starts(
            Quotas(pending_tasks=cap(5)), Ledger(pending_tasks=HELD), cancelled, wishes(starts)
        )

    if pending is None:
        check()
    else:
        message = f"{SAYS} 5 pending tasks; there are {pending}, and {starts} more would start"
        assert failure_of(check) == ("PolicyViolation", message, "last")


def test_what_starts_nothing_is_within_every_limit() -> None:
    ledger = Ledger(Cursor("S", 1, at(60)), pending_tasks=HELD, task_rate=TaskRate(MINUTE, 9))

    quotas.check_starts(Quotas(pending_tasks=cap(0), tasks_per_minute=cap(0)), ledger, {}, wishes(0))


@pytest.mark.parametrize(
    ("time", "known", "so_far"),
    [
        (60.0, TaskRate(MINUTE, 3), 3),
        (119.9, TaskRate(MINUTE, 3), 3),
        (120.0, TaskRate(MINUTE, 3), 0),
        (59.9, TaskRate(MINUTE, 3), 0),
        (60.0, None, 0),
    ],
)
def test_so_many_tasks_may_start_in_a_minute(time: float, known: TaskRate | None, so_far: int) -> None:
    ledger = Ledger(Cursor("S", 1, at(time)), task_rate=known)
    limited = Quotas(tasks_per_minute=cap(5))

    quotas.check_starts(limited, ledger, {}, wishes(5 - so_far))
    assert failure_of(quotas.check_starts, limited, ledger, {}, wishes(6 - so_far)) == (
        "PolicyViolation",
        f"{SAYS} 5 tasks per minute; {so_far} have started, and {6 - so_far} more would",
        "last",
    )
    assert quotas.count_starts(limited, ledger, 2) == TaskRate(f"{at(time)[:16]}:00Z", so_far + 2)
    assert quotas.count_starts(Quotas(), ledger, 2) is None


def test_before_the_first_event_no_minute_has_begun() -> None:
    assert quotas.count_starts(Quotas(tasks_per_minute=cap(1)), Ledger(), 1) == TaskRate(":00Z", 1)


SESSION = Session(at(0), at(0), "c")
TWO = {"a": SESSION, "b": SESSION}


@pytest.mark.parametrize(
    ("most", "before", "kept", "fits"),
    [
        (None, TWO, {**TWO, "s": SESSION}, True),
        (3, TWO, {**TWO, "s": SESSION}, True),
        (2, TWO, {**TWO, "s": SESSION}, False),
        (2, TWO, TWO, True),
        (1, TWO, TWO, True),
        (1, {**TWO, "s": SESSION}, {**TWO, "s": SESSION}, True),
    ],
)
def test_so_many_sessions_there_may_be(
    most: int | None, before: dict[str, Session], kept: dict[str, Session], fits: bool
) -> None:
    def check() -> None:
        limited = Quotas(sessions=None if most is None else cap(most))
        quotas.check_session(
            limited, Ledger(sessions=before), "s", kept, HandlerResult({}, handlers=["first", "last"])
        )

    if fits:
        check()
    else:
        message = f"{SAYS} 2 sessions; this event would open another one"
        assert failure_of(check) == ("PolicyViolation", message, "last")


@pytest.mark.parametrize(
    ("most", "hops", "fits"), [(None, 9, True), (2, 1, True), (2, 2, False), (2, 3, False)]
)
def test_events_may_be_so_far_from_their_origin(most: int | None, hops: int, fits: bool) -> None:
    def check() -> None:
        emits = [EmitRequest("first", {}), EmitRequest("last", {})]
        quotas.check_hops(
            Quotas(hops=None if most is None else cap(most)), hops, HandlerResult({}, emits=emits)
        )

    if fits:
        check()
    else:
        message = f"{SAYS} 2 hops; the event is {hops} decisions from its origin"
        assert failure_of(check) == ("PolicyViolation", message, "first")


def test_the_stream_is_named() -> None:
    assert Ledger().cursor == Cursor(names.STREAM, 0, None, None, None)
