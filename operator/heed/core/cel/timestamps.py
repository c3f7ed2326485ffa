"""CEL timestamps and durations as `string()` writes them, to the nanosecond.

Python's `datetime` and `timedelta` hold microseconds, so a value's exact text comes from how cel-cpp writes it down:
`2026-01-31T12:00:00.1Z` and, as absl's FormatDuration does, `-1h30m0.5s`, `1.5us`, `0`.
"""

import re
from typing import Final

_NANOSECONDS: Final = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
_PART: Final = re.compile(r"([0-9]+)(?:\.([0-9]+))?(h|ms|us|ns|m|s)")
_AMOUNT: Final = re.compile(rf"(?:{_PART.pattern})+")
_TIMESTAMP: Final = re.compile(r"([0-9]{1,4})(-[^.Z]+)(?:\.([0-9]{1,9}))?Z")


def format_timestamp(shown: str) -> str:
    """RFC 3339 in UTC with as many digits as the time has: none, 3, 6 or 9. Raises ValueError."""
    if (found := _TIMESTAMP.fullmatch(shown)) is None:
        raise ValueError(f"{shown} is no timestamp")
    year, rest, fraction = found.groups(default="")
    return f"{year:0>4}{rest}{_digits(int(fraction.ljust(9, '0')))}Z"


def format_duration(shown: str) -> str:
    """Seconds, such as `5400s` or `-0.000000500s`, with 3, 6 or 9 digits where there are parts. Raises ValueError."""
    amount = shown.removeprefix("-")
    parts = _PART.findall(amount)
    if amount != "0" and not _AMOUNT.fullmatch(amount):
        raise ValueError(f"{shown} is no duration")
    total = sum(_nanoseconds(whole, part, _NANOSECONDS[unit]) for whole, part, unit in parts)
    seconds, nanoseconds = divmod(total, 1_000_000_000)
    return f"{'-' if shown != amount else ''}{seconds}{_digits(nanoseconds)}s"


def _nanoseconds(whole: str, part: str, unit: int) -> int:
    return int(whole) * unit + (int(part) * unit // 10 ** len(part) if part else 0)


def _digits(nanoseconds: int) -> str:
    """The part after the point, in groups of three digits; nothing where there is none."""
    text = f".{nanoseconds:09}"
    while text.endswith("000"):
        text = text[:-3]
    return text.rstrip(".")
