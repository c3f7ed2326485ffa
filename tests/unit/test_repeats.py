"""Logs during trouble: each fact is told, none of them every second."""

import logging
from typing import Any

import pytest

from heed.logging import RepeatFilter, configure_logging


class Log:
    """A log behind the filter, with a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lines: list[logging.LogRecord] = []
        self._filter = RepeatFilter(lambda: self.now)

    def warn(
        self, message: str, *, level: int = logging.WARNING, name: str = "heed.agent", **extra: Any
    ) -> bool:
        """Log it; whether it was written."""
        known = {"name": name, "levelno": level, "levelname": logging.getLevelName(level), "msg": message}
        record = logging.makeLogRecord({**known, **extra})
        if written := bool(self._filter.filter(record)):
            self.lines.append(record)
        return written

    @property
    def repeated(self) -> list[int | None]:
        """What each line says of those left out."""
        return [getattr(record, "repeated", None) for record in self.lines]


@pytest.fixture
def log() -> Log:
    return Log()


def test_the_same_trouble_is_told_once_a_minute_with_the_number_of_those_left_out(log: Log) -> None:
    for _ in range(130):
        log.warn("broker not reached", url="nats://x", error="refused")
        log.now += 1

    assert log.repeated == [None, 59, 59]


@pytest.mark.parametrize(
    "other",
    [
        {"agent": "demo/b"},
        {"task": "t-2"},
        {"error": "ApiError: 403 Forbidden"},
        {"what": "publish the end of a task"},
        {"name": "heed.fleet"},
        {"level": logging.ERROR},
        {"sequence": 8},
    ],
)
def test_different_facts_are_told_each(log: Log, other: dict[str, Any]) -> None:
    first: dict[str, Any] = {
        "agent": "demo/a",
        "task": "t-1",
        "error": "ApiError: 503 unavailable",
        "what": "start over",
    }
    assert log.warn("trying again", **first)
    assert not log.warn("trying again", **first)

    assert log.warn("trying again", **{**first, **other})


def test_delays_and_numbers_in_words_make_no_other_fact(log: Log) -> None:
    assert log.warn("trying again", agent="demo/a", error="OSError: port 4222", retry_in=0.1)
    assert not log.warn("trying again", agent="demo/a", error="OSError: port 4223", retry_in=0.2)


def test_the_same_trouble_of_a_thousand_agents_is_summed_up(log: Log) -> None:
    def outage() -> None:
        for number in range(1000):
            log.warn("trying again", agent=f"demo/a{number}", error=f"ApiError: PATCH agents/a{number}: 503")

    outage()
    assert len(log.lines) == RepeatFilter.MOST
    log.now += RepeatFilter.PERIOD
    outage()

    assert len(log.lines) == 2 * RepeatFilter.MOST
    assert log.repeated == [None] * RepeatFilter.MOST + [1000 - RepeatFilter.MOST] + [None] * (
        RepeatFilter.MOST - 1
    )


def test_other_trouble_is_told_although_one_kind_has_used_up_its_lines(log: Log) -> None:
    for number in range(1000):
        log.warn("trying again", agent=f"demo/a{number}", error="ApiError: 503")

    assert log.warn("trying again", agent="demo/a1", error="LedgerConflict: written by someone else")
    assert log.warn("event dead-lettered", agent="demo/a1", code="HopLimit", sequence=7)


def test_retries_of_the_library_that_watches_are_told_once_for_each_address(log: Log) -> None:
    def retry(number: int, kind: str) -> bool:
        message = (
            f"Request attempt #{number}/9 failed; will retry: GET https://10.0.0.1/apis/{kind} -> OSError()"
        )
        return log.warn(message, name="kopf._cogs.clients.api", level=logging.ERROR)

    assert [retry(number, "agents") for number in range(5)] == [True, False, False, False, False]
    assert retry(1, "jobs")


def test_what_is_no_trouble_always_passes(log: Log) -> None:
    assert all(log.warn("task ended", level=logging.INFO, agent="demo/a") for _ in range(100))


def test_a_record_that_cannot_be_read_is_left_to_the_formatter(log: Log) -> None:
    assert log.warn("%d of %d", args=("one",))


def test_causes_are_not_remembered_for_ever(log: Log) -> None:
    for number in range(RepeatFilter.REMEMBERED + 1):
        log.warn("trouble", name=f"heed.x{number}")

    assert log.warn("trouble", name="heed.x0"), "the oldest one was forgotten"
    assert not log.warn("trouble", name=f"heed.x{RepeatFilter.REMEMBERED}")


@pytest.mark.parametrize(("level", "lines"), [("info", 1), ("debug", 3)])
def test_at_debug_level_everything_is_shown(
    level: str, lines: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    before, loud = (
        root.level,
        {name: logging.getLogger(name).level for name in ("kopf", "asyncio", "aiohttp")},
    )
    try:
        configure_logging("text", level)
        for _ in range(3):
            logging.getLogger("heed.test").warning("broker not reached", extra={"error": "refused"})
    finally:
        root.setLevel(before)
        for name, was in loud.items():
            logging.getLogger(name).setLevel(was)

    assert capsys.readouterr().err.count("broker not reached  error=refused") == lines
