"""Cron expressions: daylight saving at its edges, and every mistake with its remedy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heed.api.timer import MAX_CRON_CHARS
from heed.core.schedule.cron import NAMED_SCHEDULES, CronError, CronSchedule, parse_cron
from heed.core.schedule.local_clock import list_zone_names, load_zone

BERLIN, HAVANA, LORD_HOWE = "Europe/Berlin", "America/Havana", "Australia/Lord_Howe"
ANCHOR = datetime(2020, 1, 1, tzinfo=UTC)


def local_ticks(expression: str, zone: str, after: str, count: int) -> list[str]:
    """The first ticks after a local time, as the clock shows them; `@` before those that are set back."""
    info = load_zone(zone)
    begin = datetime.fromisoformat(after).replace(tzinfo=info)
    ticks = islice(parse_cron(expression, zone).list_ticks(begin, ANCHOR), count)
    shown = [tick.astimezone(info) for tick in ticks]
    return [f"{'@' * tick.fold}{tick:%d %H:%M:%S}" for tick in shown]


@pytest.mark.parametrize(
    ("expression", "zone", "after", "wanted"),
    [
        ("30 2 * * *", BERLIN, "2025-03-29T12:00", ["30 03:00:00", "31 02:30:00"]),
        ("0 30 2 * * *", BERLIN, "2025-03-29T12:00", ["30 03:00:00", "31 02:30:00"]),
        ("0,30 2,3 * * *", BERLIN, "2025-03-30T00:00", ["30 03:00:00", "30 03:30:00", "31 02:00:00"]),
        ("30 2 * * *", BERLIN, "2025-10-25T12:00", ["26 02:30:00", "27 02:30:00"]),
        ("* 59 2 * * *", BERLIN, "2025-10-26T02:59:58", ["26 02:59:59", "27 02:59:00"]),
        ("*/30 2 * * *", BERLIN, "2025-03-29T12:00", ["31 02:00:00", "31 02:30:00"]),
        (
            "*/30 2 * * *",
            BERLIN,
            "2025-10-26T02:15",
            ["26 02:30:00", "@26 02:00:00", "@26 02:30:00", "27 02:00:00"],
        ),
        ("0 * * * *", BERLIN, "2025-03-30T01:30", ["30 03:00:00", "30 04:00:00"]),
        ("0 0 * * *", HAVANA, "2025-03-08T12:00", ["09 01:00:00", "10 00:00:00"]),
        ("*/20 0 * * *", HAVANA, "2025-03-08T12:00", ["10 00:00:00", "10 00:20:00"]),
        ("35 * * * *", LORD_HOWE, "2025-04-06T01:00", ["06 01:35:00", "@06 01:35:00", "06 02:35:00"]),
        ("15 2 * * *", LORD_HOWE, "2025-10-04T12:00", ["05 02:30:00", "06 02:15:00"]),
        ("45 1 * * *", LORD_HOWE, "2025-04-05T12:00", ["06 01:45:00", "07 01:45:00"]),
        ("0 3 * * *", LORD_HOWE, "2025-10-04T12:00", ["05 03:00:00", "06 03:00:00"]),
        ("0 12 * * *", "Pacific/Apia", "2011-12-28T13:00", ["29 12:00:00", "31 00:00:00", "31 12:00:00"]),
    ],
)
def test_the_clock_is_set(expression: str, zone: str, after: str, wanted: list[str]) -> None:
    assert local_ticks(expression, zone, after, len(wanted)) == wanted


@pytest.mark.parametrize("minutes", range(0, 180, 10))
def test_what_ran_before_the_clock_was_set_back_does_not_run_again_whenever_one_asks(minutes: int) -> None:
    asked = datetime(2025, 10, 26, 0, 30, tzinfo=UTC) + timedelta(minutes=minutes)

    assert next(parse_cron("30 2 * * *", BERLIN).list_ticks(asked, ANCHOR)) == datetime(
        2025, 10, 27, 1, 30, tzinfo=UTC
    )


@pytest.mark.parametrize("expression", ["*/5 * * * *", "*/5 * 29 2 *"])
def test_at_the_end_of_the_calendar_there_are_no_more_ticks(expression: str) -> None:
    # cronsim looks fifty years ahead, and finds nothing where that is beyond the year 9999
    begin = datetime(9990, 1, 1, tzinfo=UTC)

    assert list(parse_cron(expression, "UTC").list_ticks(begin, ANCHOR)) == []


def test_a_leap_day_is_found_years_away() -> None:
    assert local_ticks("30 2 29 2 *", BERLIN, "2096-03-01T00:00", 1) == ["29 02:30:00"]
    assert local_ticks("*/30 2 29 2 *", BERLIN, "2024-02-29T02:30", 2) == ["29 02:00:00", "29 02:30:00"]


@pytest.mark.parametrize(("name", "expression"), NAMED_SCHEDULES.items())
def test_names_are_expressions(name: str, expression: str) -> None:
    assert parse_cron(name, BERLIN) == parse_cron(expression, BERLIN)


def test_case_and_spaces_do_not_matter() -> None:
    assert parse_cron(" 0 0  * jan mon\t", "UTC") == CronSchedule("0 0 * JAN MON", "UTC")


@pytest.mark.parametrize(
    ("expression", "message", "remedy"),
    [
        ("", "has 0 fields, not five or six", "write minute, hour"),
        ("5", "has 1 field, not five or six", "write minute, hour"),
        ("0 0 12 * * ? 2026", "has 7 fields, not five or six", "write minute, hour"),
        ("61 * * * *", '"61" is no minute', "it has 0-59; use *"),
        ("* 24 * * *", '"24" is no hour', "it has 0-23"),
        ("* * 0 * *", '"0" is no day of month', "it has 1-31, L for"),
        ("* * * 13 *", '"13" is no month', "it has 1-12 or JAN-DEC"),
        ("* * * * 8", '"8" is no day of week', "it has 0-7"),
        ("60 * * * * *", '"60" is no second', "it has 0-59"),
        ("0 60 * * * *", '"60" is no minute', "it has 0-59"),
        ("* * ? * *", '"?" is no day of month', "write * for any"),
        ("*/0 * * * *", '"*/0" is no minute: a step of 0', "use a step of at least 1"),
        ("* * * * FRI-MON", '"FRI-MON" is no day of week', "a range goes upwards, a list FRI,MON need not"),
        ("9-9-9 * * * *", '"9-9-9" is no minute', "it has 0-59"),
        ("* * 30 2 *", "never comes: no date matches it", "change day or month"),
        ("0 0 0 31 4,6,9,11 *", "never comes: no date matches it", "change day or month"),
        ("@Daily", '"@Daily" is unknown', "write @daily"),
        ("@often", '"@often" is unknown', "known are @hourly, @daily"),
        ("@every 5m", '"@every 5m" is no cron expression', "write `every: 15m` instead of `cron`"),
        ("@reboot", "@reboot has no meaning for an Agent", "use `every`, `at` or a time in `cron`"),
        (
            "CRON_TZ=Asia/Tokyo 0 5 * * *",
            'begins with "CRON_TZ=Asia/Tokyo"',
            "name the time zone in `timeZone`",
        ),
        ("TZ=UTC 0 5 * * *", 'begins with "TZ=UTC"', "name the time zone in `timeZone`"),
        ("1," * 64 + "1 * * * *", f"has more than {MAX_CRON_CHARS} characters", "make several timers of it"),
    ],
)
def test_mistakes_are_named_with_a_remedy(expression: str, message: str, remedy: str) -> None:
    with pytest.raises(CronError) as caught:
        parse_cron(expression, "UTC")

    assert caught.value.message == message
    assert remedy in caught.value.remedy


def test_the_longest_expression_is_taken() -> None:
    longest = "1," * ((MAX_CRON_CHARS - 10) // 2) + "11 * * * *"

    assert len(longest) == MAX_CRON_CHARS
    assert parse_cron(longest, "UTC").fields == longest


@given(st.text("0123456789*/-,#LWMONJAN? @²\n", max_size=40))
@example("* * * * ²L")
@example("* * * * MON#²")
@example("* * L/2 * *")
@example("* * LW,L * *")
def test_whatever_is_written_is_a_schedule_or_a_named_mistake(text: str) -> None:
    try:
        schedule = parse_cron(text, "UTC")
    except CronError:
        return
    assert next(schedule.list_ticks(ANCHOR, ANCHOR)) > ANCHOR


def fields(first: int, last: int) -> st.SearchStrategy[str]:
    """A field: any value, one, a few, a range or a step."""
    values = st.integers(first, last)
    return st.one_of(
        st.just("*"),
        values.map(str),
        st.lists(values, min_size=2, max_size=4).map(lambda found: ",".join(map(str, found))),
        st.tuples(values, values).map(lambda ends: f"{min(ends)}-{max(ends)}"),
        st.integers(1, last).map(lambda step: f"*/{step}"),
    )


EXPRESSIONS = st.tuples(
    st.sampled_from(["", "0 ", "30 ", "*/20 "]),
    fields(0, 59),
    fields(0, 23),
    fields(1, 28),
    fields(1, 12),
    fields(0, 7),
).map(lambda parts: parts[0] + " ".join(parts[1:]))
INSTANTS = st.datetimes(datetime(2009, 1, 1), datetime(2030, 1, 1)).map(lambda time: time.replace(tzinfo=UTC))
AROUND_CHANGES = st.tuples(
    st.sampled_from(
        ["2011-12-30T10:00", "2025-03-30T01:00", "2025-10-26T01:00", "2025-04-05T15:00", "2025-03-09T05:00"]
    ),
    st.integers(-100_000, 100_000),
).map(lambda found: datetime.fromisoformat(found[0]).replace(tzinfo=UTC) + timedelta(seconds=found[1]))
ZONES = st.sampled_from([BERLIN, HAVANA, LORD_HOWE, "UTC", "Pacific/Apia"]) | st.sampled_from(
    list_zone_names()
)


@given(EXPRESSIONS, ZONES, INSTANTS | AROUND_CHANGES, st.integers(1, 200_000))
def test_ticks_increase_and_are_the_same_whichever_instant_one_asks_from(
    expression: str, zone: str, begin: datetime, later: int
) -> None:
    schedule = parse_cron(expression, zone)
    ticks = list(islice(schedule.list_ticks(begin, ANCHOR), 40))

    assert ticks[0] > begin
    assert all(one < other for one, other in pairwise(ticks))
    for asked in {
        begin + timedelta(seconds=later),
        *ticks[:3],
        *(tick - timedelta(seconds=1) for tick in ticks[:3]),
    }:
        wanted = [tick for tick in ticks if tick > asked][:10]
        assert list(islice(schedule.list_ticks(asked, ANCHOR), len(wanted))) == wanted
