"""The pacer in virtual time: the first write goes out at once, and no stretch of time sees more than its budget."""

from hypothesis import given
from hypothesis import strategies as st

from heed.engine.rate_limit import CommitRate, CommitRateLimiter
from heed.settings import Settings

PACE = CommitRate(rate=100, burst=500)


def test_a_quiet_agents_first_write_goes_out_at_once_however_large() -> None:
    limiter = CommitRateLimiter.of(PACE.rate, PACE.burst)

    assert limiter.delay(1000.0) == 0
    limiter.spend(10_000, 1000.0)

    assert limiter.delay(1000.0) == 95.0


def test_an_overdrawn_bucket_is_waited_out_to_the_moment() -> None:
    limiter = CommitRateLimiter.of(PACE.rate, PACE.burst)
    limiter.spend(700, 10.0)

    assert limiter.delay(10.0) == 2.0
    assert limiter.delay(11.5) == 0.5
    assert limiter.delay(12.0) == 0


def test_silence_saves_up_no_more_than_the_burst() -> None:
    limiter = CommitRateLimiter.of(PACE.rate, PACE.burst)
    limiter.spend(1, 0.0)

    assert limiter.delay(1e9) == 0
    limiter.spend(600, 1e9)

    assert limiter.delay(1e9) == 1.0


def test_a_clock_that_began_long_ago_does_not_matter() -> None:
    early, late = CommitRateLimiter.of(PACE.rate, PACE.burst), CommitRateLimiter.of(PACE.rate, PACE.burst)
    early.delay(5.0)
    late.delay(5e6)
    early.spend(900, 5.0)
    late.spend(900, 5e6)

    assert early.delay(6.0) == late.delay(5e6 + 1)


def test_an_agents_budget_and_that_of_all_are_those_of_the_settings() -> None:
    settings = Settings(
        commit_rate=1,
        commit_burst=2,
        operator_commit_rate=3,
        operator_commit_burst=4,
        batch=5,
        outbox_limit=6,
        status_budget=7,
    )

    pace = CommitRate.of(settings)

    assert (pace.rate, pace.burst, pace.batch, pace.owed, pace.budget) == (1, 2, 5, 6, 7)
    assert pace.shared is not None
    assert (pace.shared.rate, pace.shared.burst, pace.shared.tokens) == (3, 4, 4)


@given(st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 30)), min_size=1, max_size=50))
def test_bytes_never_exceed_burst_and_rate_and_one_write(writes: list[tuple[int, float]]) -> None:
    limiter, now, before, total = CommitRateLimiter.of(PACE.rate, PACE.burst), 0.0, 0, 0

    for size, pause in writes:
        now += pause
        now += limiter.delay(now)
        assert total <= PACE.burst + PACE.rate * now + 1e-6
        limiter.spend(size, now)
        before, total = total, total + size

    assert before <= PACE.burst + PACE.rate * now + 1e-6
