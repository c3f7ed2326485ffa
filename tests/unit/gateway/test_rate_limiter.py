"""The rate limiter: a bucket for each sender."""

import pytest

from heed.gateway import rate_limiter
from heed.gateway.rate_limiter import RateLimiter
from heed.gateway.refusals import RequestRefused


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """At some time."""
    return Clock()


def refused(limiter: RateLimiter, sender: str, count: int = 1) -> RequestRefused:
    """Why a sender is refused."""
    with pytest.raises(RequestRefused) as caught:
        limiter.take(sender, count)
    return caught.value


def test_a_burst_is_let_through_and_then_the_rate(clock: Clock) -> None:
    limiter = RateLimiter(2, 10, clock)

    limiter.take("a", 10)
    error = refused(limiter, "a")
    assert (error.status, error.code, error.headers) == (429, "TooManyRequests", {"Retry-After": "1"})
    assert error.detail == "more than 2 events per second of a; send it again later"
    clock.now += 0.5
    limiter.take("a")
    refused(limiter, "a")
    clock.now += 60
    limiter.take("a", 10)
    refused(limiter, "a")


def test_senders_do_not_share_a_bucket(clock: Clock) -> None:
    limiter = RateLimiter(1, 1, clock)

    limiter.take("a")
    limiter.take("b")
    refused(limiter, "a")


def test_it_is_said_when_there_will_be_room(clock: Clock) -> None:
    limiter = RateLimiter(2, 10, clock)
    limiter.take("a", 10)

    assert refused(limiter, "a", 7).headers["Retry-After"] == "4"
    clock.now += 3.5
    limiter.take("a", 7)


def test_what_is_refused_does_not_count(clock: Clock) -> None:
    limiter = RateLimiter(1, 3, clock)
    limiter.take("a")
    refused(limiter, "a", 3)
    limiter.take("a", 2)


def test_more_than_a_burst_needs_a_full_bucket_and_is_paid_off(clock: Clock) -> None:
    limiter = RateLimiter(1, 3, clock)
    limiter.take("a", 10)
    refused(limiter, "a")
    clock.now += 7.5  # the bucket is empty
    refused(limiter, "a")
    clock.now += 0.5
    limiter.take("a")
    clock.now += 2.5
    refused(limiter, "a", 10)
    clock.now += 0.5
    limiter.take("a", 10)


def test_a_batch_is_sent_in_the_end_by_who_waits_as_long_as_it_is_told(clock: Clock) -> None:
    limiter = RateLimiter(1, 5, clock)
    sent = 0
    for _ in range(100):
        try:
            limiter.take("a")  # as its request begins
            limiter.take("a", 19, taken=1)  # as its body is read
            sent += 1
        except RequestRefused as error:
            clock.now += int(error.headers["Retry-After"])

    assert sent == 34  # each after two refusals: one for the debt, one for a full bucket
    assert clock.now >= 100 + 33 * 20  # at the rate, however large batches are


def test_a_rate_of_zero_is_no_limit(clock: Clock) -> None:
    limiter = RateLimiter(0, 1, clock)
    for _ in range(100):
        limiter.take("a", 100)


def test_no_events_cost_nothing(clock: Clock) -> None:
    limiter = RateLimiter(1, 1, clock)
    limiter.take("a")
    limiter.take("a", 0)
    limiter.take("a", -1)


def test_no_events_are_nothing_to_remember_a_sender_by(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limiter, "MAX_SENDERS", 1)
    limiter = RateLimiter(1, 1, clock)
    limiter.take("a")
    limiter.take("b", 0)
    refused(limiter, "a")


def test_those_heard_of_the_longest_ago_are_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limiter, "MAX_SENDERS", 2)
    limiter = RateLimiter(1, 1, clock)
    limiter.take("a")
    limiter.take("b")
    refused(limiter, "a")
    limiter.take("c")
    refused(limiter, "a")
    limiter.take("b")
