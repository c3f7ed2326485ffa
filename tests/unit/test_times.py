"""Times keep their nanoseconds: what an Agent remembers of one is what `string()` says, and equal to itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.core.expressions import compile_expression
from heed.core.times import duration_text, timestamp_text
from tests.unit.builders import after, fold, program, received, scope

NANOSECONDS = st.one_of(st.integers(0, 999_999_999), st.sampled_from([0, 1, 500, 120_000, 500_000_000]))


def value(source: str, **variables: object) -> object:
    return compile_expression(source).value(scope(**variables))


@pytest.mark.parametrize(
    ("time", "text"),
    [
        ("2026-01-31T12:00:00.123456789Z", "2026-01-31T12:00:00.123456789Z"),
        ("2026-01-31T12:00:00.1Z", "2026-01-31T12:00:00.100Z"),
        ("2026-01-31T14:00:00+02:00", "2026-01-31T12:00:00Z"),
        ("0001-01-01T00:00:00.000001Z", "0001-01-01T00:00:00.000001Z"),
    ],
)
def test_a_time_that_is_remembered_is_equal_to_itself(time: str, text: str) -> None:
    # Given an Agent that remembers a time, and compares the same with it later
    agent = program(
        {
            "when": "!has(state.at)",
            "state": {"at": "${timestamp(event.data)}", "all": "${[timestamp(event.data)]}"},
        },
        {"when": "has(state.at)", "state": {"same": "${timestamp(state.at) == timestamp(event.data)}"}},
    )

    ledger = after(agent, *(received(number, data=time, correlationid="k") for number in (1, 2)))

    assert ledger.sessions["k"].state == {"at": text, "all": [text], "same": True}


@given(seconds=st.integers(-62_135_596_800, 253_402_300_799), nanoseconds=NANOSECONDS)
def test_a_timestamp_reads_as_string_writes_it(seconds: int, nanoseconds: int) -> None:
    source = f"timestamp('1970-01-01T00:00:00Z') + duration('{seconds}s') + duration('{nanoseconds}ns')"

    assert value(f"{{'at': [{source}]}}") == {"at": [value(f"string({source})")]}


@given(seconds=st.integers(-9_223_372_035, 9_223_372_035), nanoseconds=NANOSECONDS)
def test_a_duration_reads_as_string_writes_it(seconds: int, nanoseconds: int) -> None:
    source = f"duration('{seconds}s') + duration('{'-' if seconds < 0 else ''}{nanoseconds}ns')"

    assert value(source) == value(f"string({source})")


def test_a_time_within_text_is_exact_too() -> None:
    time = "2026-01-31T12:00:00.123456789Z"
    agent = program({"state": {"text": "at ${timestamp(event.data)} + ${duration('1.000000001s')}"}})

    (decision,) = fold(agent, [received(1, data=time, correlationid="k")])

    assert decision.ledger.sessions["k"].state == {"text": f"at {time} + 1.000000001s"}


@pytest.mark.parametrize("shown", ["", "1", "yesterday", "1h 3m", "5 minutes", "-", "1.5"])
def test_what_is_written_otherwise_is_refused(shown: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        timestamp_text(shown)
    with pytest.raises(ValueError, match="is no"):
        duration_text(shown)
