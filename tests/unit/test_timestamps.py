"""Times keep their nanoseconds: what an Agent remembers of one is what `string()` says, and equal to itself."""

from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.core.cel.expression import compile_expression
from heed.core.cel.timestamps import format_duration, format_timestamp
from tests.builders.agents import program
from tests.builders.decisions import after, decide_each
from tests.builders.events import received
from tests.builders.expressions import scope

NANOSECONDS = st.one_of(st.integers(0, 999_999_999), st.sampled_from([0, 1, 500, 120_000, 500_000_000]))
TIMESTAMP = compile_expression("[timestamp(event.data)]")
TIMESTAMP_TEXT = compile_expression("string(timestamp(event.data))")
DURATION = compile_expression("duration(event.data)")
DURATION_TEXT = compile_expression("string(duration(event.data))")


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


@settings(deadline=None)  # the machine may be busy
@given(moment=st.datetimes(), nanoseconds=st.integers(0, 999))
def test_a_timestamp_reads_as_string_writes_it(moment: datetime, nanoseconds: int) -> None:
    data = f"{moment.isoformat(timespec='microseconds')}{nanoseconds:03}Z"

    assert TIMESTAMP.value(scope(event={"data": data})) == [TIMESTAMP_TEXT.value(scope(event={"data": data}))]


@settings(deadline=None)
@given(seconds=st.integers(0, 315_575_999_999), nanoseconds=NANOSECONDS, sign=st.sampled_from(["", "-"]))
def test_a_duration_reads_as_string_writes_it(seconds: int, nanoseconds: int, sign: str) -> None:
    data = f"{sign}{seconds}.{nanoseconds:09}s"

    assert DURATION.value(scope(event={"data": data})) == DURATION_TEXT.value(scope(event={"data": data}))


def test_a_time_within_text_is_exact_too() -> None:
    time = "2026-01-31T12:00:00.123456789Z"
    agent = program({"state": {"text": "at ${timestamp(event.data)} + ${duration('1.000000001s')}"}})

    (decision,) = decide_each(agent, [received(1, data=time, correlationid="k")])

    assert decision.ledger.sessions["k"].state == {"text": f"at {time} + 1.000000001s"}


@pytest.mark.parametrize("shown", ["", "1", "yesterday", "1h 3m", "5 minutes", "-", "1.5"])
def test_what_is_written_otherwise_is_refused(shown: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        format_timestamp(shown)
    with pytest.raises(ValueError, match="is no"):
        format_duration(shown)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("1-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("2026-01-31T12:00:00.1Z", "2026-01-31T12:00:00.100Z"),
        ("2026-01-31T12:00:00.0001Z", "2026-01-31T12:00:00.000100Z"),
        ("2026-01-31T12:00:00.123456Z", "2026-01-31T12:00:00.123456Z"),
        ("2026-01-31T12:00:00.123000001Z", "2026-01-31T12:00:00.123000001Z"),
        ("2026-01-31T12:00:00.000Z", "2026-01-31T12:00:00Z"),
    ],
)
def test_a_timestamp_has_as_many_digits_as_it_needs(shown: str, text: str) -> None:
    assert format_timestamp(shown) == text


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        ("0", "0s"),
        ("1h30m", "5400s"),
        ("2h3m4.5s", "7384.500s"),
        ("-1.5us", "-0.000001500s"),
        ("1ns", "0.000000001s"),
        ("100ns", "0.000000100s"),
        ("20ms", "0.020s"),
        ("1.000001ms", "0.001000001s"),
        ("1m0.000001s", "60.000001s"),
        ("-3s", "-3s"),
        ("87660000h", "315576000000s"),
        ("0.1s", "0.100s"),
        ("12.000000012s", "12.000000012s"),
    ],
)
def test_a_duration_is_the_sum_of_its_parts_in_seconds(shown: str, text: str) -> None:
    assert format_duration(shown) == text


@pytest.mark.parametrize("shown", ["2026-01-31T12:00:00", "2026-01-31T12:00:00.1234567890Z", "20260131Z"])
def test_what_is_wrong_with_a_time_is_named(shown: str) -> None:
    with pytest.raises(ValueError, match=f"^{shown} is no timestamp$"):
        format_timestamp(shown)
    with pytest.raises(ValueError, match=r"^-1\.5 is no duration$"):
        format_duration("-1.5")
    with pytest.raises(ValueError, match=r"^1h! is no duration$"):
        format_duration("1h!")
