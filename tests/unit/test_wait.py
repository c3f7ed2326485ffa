"""When waits are over, and what is none."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from heed.core.tasks.wait import check_wait, wait_end
from heed.errors import DecisionFailed
from tests.builders.agents import ASKED, nap, program
from tests.builders.decisions import after
from tests.builders.events import received
from tests.unit.simulations import message, run

NOON = "2026-01-31T12:00:00.500000Z"


@pytest.mark.parametrize(
    ("spec", "end"),
    [
        ({"for": "90s"}, "2026-01-31T12:01:30.500000Z"),
        ({"for": "1h30m"}, "2026-01-31T13:30:00.500000Z"),
        ({"for": "0s"}, NOON),
        ({"for": "0.250s"}, "2026-01-31T12:00:00.750000Z"),
        ({"for": "1m" * 16}, "2026-01-31T12:16:00.500000Z"),
        ({"for": "3650d"}, "2036-01-29T12:00:00.500000Z"),
        ({"until": "2026-02-01T00:00:00Z"}, "2026-02-01T00:00:00.000000Z"),
        ({"until": "2026-02-01T02:00:00.125+02:00"}, "2026-02-01T00:00:00.125000Z"),
        ({"until": "2020-01-01T00:00:00Z"}, "2020-01-01T00:00:00.000000Z"),
    ],
)
def test_a_wait_is_over_then(spec: dict[str, Any], end: str) -> None:
    assert wait_end(spec, NOON) == end


@pytest.mark.parametrize(
    "value", ["", "soon", "-5s", "3651d", "1.5h", "90", 90, None, ["90s"], "9" * 40 + "s", "1m" * 17]
)
def test_what_is_no_duration_is_refused_with_what_to_write(value: Any) -> None:
    with pytest.raises(DecisionFailed) as caught:
        wait_end({"for": value}, NOON)

    assert caught.value.code == "BadWait"
    assert "write it as 90s, 10m or 1h30m" in caught.value.message


@pytest.mark.parametrize(
    "value", ["", "tomorrow", "2026-02-01T00:00:00", "2026-02-30T00:00:00Z", 5, "0001-01-01T00:00:00+05:00"]
)
def test_what_is_no_time_is_refused_with_what_to_write(value: Any) -> None:
    with pytest.raises(DecisionFailed) as caught:
        wait_end({"until": value}, NOON)

    assert caught.value.code == "BadWait"
    assert "write it as 2026-01-31T12:00:00Z, with its offset" in caught.value.message


@pytest.mark.parametrize("shape", [{}, {"for": "1s", "until": NOON}, "90s"])
def test_a_wait_has_one_end(shape: Any) -> None:
    (problem,) = check_wait(shape, "spec.tasks.nap.wait")

    assert problem.remedy == "give exactly one of `for` and `until`"


def test_a_literal_mistake_is_found_before_any_event() -> None:
    (problem,) = check_wait({"for": "soon"}, "spec.tasks.nap.wait")

    assert (problem.path, problem.message) == ("spec.tasks.nap.wait.for", "'soon' is no duration to wait for")


def test_what_an_event_decides_is_seen_with_the_event() -> None:
    assert list(check_wait({"until": object()}, "path")) == []


def test_a_wait_is_in_the_ledger_and_nothing_else_is_owed() -> None:
    agent = program({"start": [{"task": "nap"}]}, tasks={"nap": nap("${event.data}s")})

    (record,) = after(agent, received(1, data=5)).pending_tasks.values()

    assert (record.kind, record.phase, record.owed) == ("wait", "Started", None)
    assert record.due == "2026-01-31T12:00:06.000000Z"


# ── simulated ───────────────────────────────────────────────────────────────────────────────────────────────────────

NAPPING = program(
    {"name": "begin", "type": ASKED, "state": {"n": 1}, "start": [{"task": "nap"}]},
    {"name": "halt", "type": "com.example.halt", "cancel": [{"task": "nap"}]},
    {"name": "over", "type": "dev.heed.task.completed", "emit": [{"type": "com.example.over"}]},
    {"name": "failed", "type": "dev.heed.task.failed", "emit": [{"type": "com.example.failed"}]},
    tasks={"nap": nap("60s", timeout="90s")},
)


def heard_of(*given: Any, **options: Any) -> list[tuple[str, str]]:
    """What the Agent says, and when."""
    found = run(*given, agents=(NAPPING,), **options)
    return [(step.message.event.type, step.at) for step in found.steps if step.message.origin == "emitted"]


def test_time_passes_with_the_given_events() -> None:
    early = message("b", "com.example.other", time="2026-01-01T00:01:00Z")
    late = message("c", "com.example.other", time="2026-01-01T00:01:02Z")

    assert heard_of(message("a"), early) == []
    assert heard_of(message("a"), late) == [("com.example.over", "2026-01-01T00:01:02.000000Z")]


def test_after_the_last_event_it_passes_as_far_as_it_may() -> None:
    end = datetime(2026, 1, 1, 0, 1, 1, tzinfo=UTC)
    assert heard_of(message("a"), until=end - timedelta(microseconds=1)) == []
    assert len(heard_of(message("a"), until=end)) == 1
    assert heard_of(message("a"), advance=timedelta(seconds=59)) == []
    assert len(heard_of(message("a"), advance=timedelta(seconds=60))) == 1


def test_a_wait_that_was_cancelled_ends_no_second_time() -> None:
    found = heard_of(
        message("a"), message("b", "com.example.halt", correlationid="a"), advance=timedelta(hours=1)
    )

    assert [type_ for type_, _ in found] == ["com.example.failed"]
