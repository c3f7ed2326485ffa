"""Durations as texts: `90s`, `10m`, `1h30m`, `7d`."""

import re

from heed.api import fields
from heed.sdk.errors import DeclarationError


def parse_duration(text: str) -> int:
    """The seconds of a duration. Raises DeclarationError."""
    if not re.fullmatch(fields.DURATION_PATTERN, text) or fields.parse_duration(text) > fields.MAX_DURATION_S:
        raise DeclarationError(f'"{text}" is no duration; write it as 90s, 10m or 1h30m')
    return fields.parse_duration(text)


def check_duration(text: str | None) -> str | None:
    """The same text, where it is a duration or None. Raises DeclarationError."""
    if text is not None:
        parse_duration(text)
    return text
