"""Values of options of `heed simulate` that say how far it goes."""

import re
from datetime import UTC, datetime, timedelta

import click

from heed.api.fields import DURATION_PATTERN, MAX_DURATION_S, parse_duration


class Until(click.ParamType[int | datetime]):
    """A number of messages, or a time with its offset."""

    name = "until"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | datetime:
        """An int, or a datetime in UTC. Fails for anything else."""
        text = str(value)
        if text.isascii() and text.isdecimal():
            return int(text)
        try:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                self.fail(f"{text!r} has no offset; write it as 2026-01-01T12:00:00Z", param, ctx)
            return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"{text!r} is neither a number of messages nor a time such as 2026-01-01T12:00:00Z",
                param,
                ctx,
            )


class Advance(click.ParamType[timedelta]):
    """A duration."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """A timedelta. Fails for what is no duration."""
        text = str(value)
        valid = re.fullmatch(DURATION_PATTERN, text) and len(text) <= 32
        if not valid or parse_duration(text) > MAX_DURATION_S:
            self.fail(f"{text!r} is no duration; write it as 90s, 10m or 1h30m", param, ctx)
        return timedelta(seconds=parse_duration(text))
