"""What a sink's answer means, and how long is waited before an event is tried again."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.api.subscription import DeliveryBackoff
from heed.core.subscriptions.answers import (
    MAX_RETRY_AFTER_S,
    judge_status,
    read_retry_after,
    retry_delay,
)

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("verdict", "statuses"),
    [
        ("delivered", [200, 201, 202, 204, 299]),
        ("again", [401, 403, 404, 408, 409, 425, 429, 500, 502, 503, 504, 599]),
        ("refused", [100, 199, 300, 301, 302, 307, 308, 400, 405, 410, 413, 415, 422, 499]),
    ],
)
def test_a_status_says_whether_another_try_can_help(verdict: str, statuses: list[int]) -> None:
    assert {status: judge_status(status) for status in statuses} == dict.fromkeys(statuses, verdict)


def test_waits_grow_by_the_factor_up_to_the_longest() -> None:
    backoff = DeliveryBackoff(initial="2s", factor=3, max="1m", jitter=0)

    assert [retry_delay(backoff, attempt, 0.0) for attempt in (1, 2, 3, 4, 5, 1000)] == [2, 6, 18, 54, 60, 60]


def test_chance_shortens_a_wait_by_its_share() -> None:
    backoff = DeliveryBackoff(initial="10s", jitter=0.5)

    assert retry_delay(backoff, 1, 0.0) == 10
    assert retry_delay(backoff, 1, 1.0) == 5


@given(
    st.integers(1, 200), st.floats(0, 1, exclude_max=True), st.floats(1, 10, allow_nan=False), st.floats(0, 1)
)
def test_no_wait_is_longer_than_the_longest_or_negative(
    attempt: int, chance: float, factor: float, jitter: float
) -> None:
    backoff = DeliveryBackoff(initial="1s", factor=factor, max="5m", jitter=jitter)

    assert 0 <= retry_delay(backoff, attempt, chance) <= 300


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        ("7", 7),
        (" 7 ", 7),
        ("0", 0),
        ("3600", 3600),
        ("3601", MAX_RETRY_AFTER_S),
        ("9" * 50, MAX_RETRY_AFTER_S),
        ("-1", 0),
        ("soon", 0),
        ("", 0),
        ("Sat, 31 Jan 2026 12:00:30 GMT", 30),
        ("Sat, 31 Jan 2026 12:00:30 -0000", 30),
        ("Sat, 31 Jan 2026 11:59:30 GMT", 0),
        ("Sat, 31 Jan 2099 12:00:00 GMT", MAX_RETRY_AFTER_S),
        ("Sat, 31 Jan 99999999999999999999 12:00:00 GMT", 0),
        ("Sat, 31 Jan 2026 99999999999999999999:00:30 GMT", 0),
        ("Sat, 31 Jan 2026 12:00:30 +99999999999999999999", 0),
        ("Sat, 31 Jan 9999 23:59:59 -2359", MAX_RETRY_AFTER_S),
        ("Sat, 01 Jan 0001 00:00:00 +2359", 0),
    ],
)
def test_a_sink_may_ask_for_some_time(value: str | None, seconds: float) -> None:
    assert read_retry_after(value, NOW) == seconds


@given(
    st.text(),
    st.lists(st.sampled_from([*"0123456789", "9" * 20, "Jan", "Sat,", ":", " ", "+", "-", "PM", "("])),
)
def test_nothing_that_a_sink_asks_for_breaks_it(text: str, parts: list[str]) -> None:
    for value in (text, "".join(parts), " ".join(parts)):
        assert 0 <= read_retry_after(value, NOW) <= MAX_RETRY_AFTER_S
