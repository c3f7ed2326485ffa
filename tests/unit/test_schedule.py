"""Schedules as a manifest writes them: cron, intervals, instants, and what is wrong with one."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heed.core.schedule.cron import CronSchedule
from heed.core.schedule.local_clock import LAST_YEAR, list_zone_names, load_zone, suggest_zone
from heed.core.schedule.schedule import (
    Instant,
    Interval,
    Schedule,
    WrittenSchedule,
    digest_schedule,
    next_after,
    parse_schedule,
)
from heed.errors import InvalidManifest

PATH = "spec.timers.nightly"
ANCHOR = datetime(2026, 1, 1, 12, tzinfo=UTC)


def schedule(**members: str) -> Schedule:
    return parse_schedule(WrittenSchedule(**members), PATH)


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [(-1000, 90), (0, 90), (89.5, 90), (90, 180), (90.5, 180), (899, 900), (900, 990)],
)
def test_an_interval_counts_from_its_anchor(asked: float, wanted: int) -> None:
    found = next_after(schedule(every="1m30s"), ANCHOR + timedelta(seconds=asked), ANCHOR)

    assert found == ANCHOR + timedelta(seconds=wanted)


@given(st.integers(1, 10**6), st.integers(-(10**8), 10**8), st.integers(0, 10**6))
def test_intervals_are_the_same_whichever_instant_one_asks_from(every: int, asked: int, more: int) -> None:
    interval, begin = Interval(every), ANCHOR + timedelta(seconds=asked)
    ticks = list(islice(interval.list_ticks(begin, ANCHOR), 10))
    later = begin + timedelta(seconds=more)

    assert begin < ticks[0] and ticks[0] > ANCHOR
    assert all(other - one == timedelta(seconds=every) for one, other in pairwise(ticks))
    wanted = [tick for tick in ticks if tick > later]
    assert list(islice(interval.list_ticks(later, ANCHOR), len(wanted))) == wanted


def test_an_interval_is_real_time_and_in_utc() -> None:
    anchor = datetime(2025, 3, 29, 12, tzinfo=load_zone("Europe/Berlin"))
    tick = next_after(Interval(86400), anchor, anchor)

    assert tick == datetime(2025, 3, 30, 11, tzinfo=UTC)
    assert tick is not None
    assert tick.tzinfo is UTC


def test_an_instant_comes_once() -> None:
    once = schedule(at="2026-12-24T18:00:00+01:00")

    assert once == Instant(datetime(2026, 12, 24, 17, tzinfo=UTC))
    assert next_after(once, ANCHOR, ANCHOR) == datetime(2026, 12, 24, 17, tzinfo=UTC)
    assert next_after(once, datetime(2026, 12, 24, 17, tzinfo=UTC), ANCHOR) is None


@pytest.mark.parametrize(
    "text", ["2026-12-24T18:00:00Z", "2026-12-24t18:00:00.000z", "2026-12-24 13:00:00-05:00"]
)
def test_an_instant_may_be_written_as_rfc_3339_has_it(text: str) -> None:
    assert schedule(at=text) == Instant(datetime(2026, 12, 24, 18, tzinfo=UTC))


def test_cron_is_in_utc_unless_it_names_a_time_zone() -> None:
    assert schedule(cron="@daily") == CronSchedule("0 0 * * *", "UTC")
    assert schedule(cron="@daily", time_zone="Asia/Tokyo") == CronSchedule("0 0 * * *", "Asia/Tokyo")


def test_schedules_end_before_the_dates_do() -> None:
    late = datetime(LAST_YEAR, 12, 31, 23, 59, 59, tzinfo=UTC)

    assert next_after(schedule(cron="* * * * *"), late, ANCHOR) is None
    assert next_after(schedule(every="3650d"), late, ANCHOR) is None


def test_a_digest_tells_schedules_apart() -> None:
    several = [
        schedule(cron="0 1 * * *"),
        schedule(cron="0 1 * * *", time_zone="Asia/Tokyo"),
        schedule(every="1h"),
    ]

    assert len({digest_schedule(item) for item in several}) == 3
    assert digest_schedule(schedule(every="60m")) == digest_schedule(schedule(every="1h"))


@pytest.mark.parametrize(
    ("members", "problems"),
    [
        ({}, ["spec.timers.nightly: has no schedule; give it one of `cron`, `every` and `at`"]),
        (
            {"cron": "@daily", "at": "x"},
            ["spec.timers.nightly: has `cron` and `at`; give it exactly one of them"],
        ),
        (
            {"cron": "* * * *", "time_zone": "Berlin"},
            [
                'spec.timers.nightly.timeZone: "Berlin" is no time zone; write "Europe/Berlin"',
                "spec.timers.nightly.cron: has 4 fields, not five or six; write minute, hour, day of month, month and "
                "day of week, with a second before them if you like",
            ],
        ),
        ({"every": "0m"}, ["spec.timers.nightly.every: is no time at all; use 1s at least"]),
        (
            {"every": "1h", "time_zone": "UTC"},
            [
                "spec.timers.nightly.timeZone: has no meaning beside `every`; remove it: an interval is real time"
            ],
        ),
        (
            {"at": "2026-12-24T18:00:00Z", "time_zone": "UTC"},
            ["spec.timers.nightly.timeZone: has no meaning beside `at`; write the offset into `at`"],
        ),
        (
            {"at": "2026-12-24T18:00:00"},
            [
                "spec.timers.nightly.at: has no offset from UTC; add it, as in 2026-12-24T18:00:00Z for UTC, or "
                "2026-12-24T18:00:00+01:00"
            ],
        ),
        (
            {"at": "tomorrow"},
            [
                'spec.timers.nightly.at: "tomorrow" is no time of RFC 3339; write date, time and offset, such as '
                "2026-12-24T18:00:00+01:00"
            ],
        ),
        (
            {"at": "2026-02-30T18:00:00Z"},
            [
                'spec.timers.nightly.at: "2026-02-30T18:00:00Z" is no date and time that exist; write date, time and '
                "offset, such as 2026-12-24T18:00:00+01:00"
            ],
        ),
        (
            {"at": "2026-02-20T18:00:00.5Z"},
            ["spec.timers.nightly.at: has a fraction of a second; write whole seconds"],
        ),
    ],
)
def test_mistakes_name_field_and_remedy(members: dict[str, str], problems: list[str]) -> None:
    with pytest.raises(InvalidManifest) as caught:
        schedule(**members)

    assert [str(problem) for problem in caught.value.problems] == problems


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00+14:00", "1969-12-31T23:59:59Z", f"{LAST_YEAR}-01-01T00:00:00Z"]
)
def test_an_instant_of_another_age_is_refused(text: str) -> None:
    with pytest.raises(InvalidManifest, match=r"spec\.timers\.nightly\.at: "):
        schedule(at=text)


@pytest.mark.parametrize("text", ["1970-01-01T00:00:00Z", f"{LAST_YEAR - 1}-12-31T23:59:59Z"])
def test_the_first_and_the_last_instant_are_taken(text: str) -> None:
    assert schedule(at=text) == Instant(datetime.fromisoformat(text))


def test_an_instant_is_kept_in_utc_whatever_zone_the_machine_is_in() -> None:
    kept = schedule(at="2026-12-24T18:00:00+02:00")

    assert isinstance(kept, Instant)
    assert kept.at.tzinfo is UTC
    assert kept.at.hour == 16


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("europe/berlin", 'write "Europe/Berlin"'),
        ("New York", 'write "America/New_York"'),
        ("ushuaia", 'write "America/Argentina/Ushuaia"'),
        ("Europe/Berln", 'did you mean "Europe/Berlin"?'),
        ("PST", "use an IANA name, such as Europe/Berlin or UTC"),
        ("../../../etc/passwd", "use an IANA name, such as Europe/Berlin or UTC"),
    ],
)
def test_an_unknown_time_zone_has_a_remedy(name: str, remedy: str) -> None:
    assert suggest_zone(name) == remedy
    with pytest.raises(ValueError, match="is no time zone"):
        load_zone(name)


def test_every_time_zone_can_be_loaded() -> None:
    assert [load_zone(name).key for name in list_zone_names()] == list(list_zone_names())


def test_time_zones_come_from_the_package_whatever_the_machine_has(tmp_path: Path) -> None:
    (tmp_path / "Europe").mkdir()
    another = resources.files("tzdata").joinpath("zoneinfo", "Asia", "Tokyo").read_bytes()
    (tmp_path / "Europe" / "Berlin").write_bytes(another)
    zoneinfo.reset_tzpath([str(tmp_path)])
    load_zone.cache_clear()
    try:
        noon = datetime(2025, 7, 1, 12, tzinfo=load_zone("Europe/Berlin"))
        of_the_machine = datetime(2025, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo.no_cache("Europe/Berlin"))
    finally:
        zoneinfo.reset_tzpath()
    assert noon.utcoffset() == timedelta(hours=2)
    assert of_the_machine.utcoffset() == timedelta(hours=9)
