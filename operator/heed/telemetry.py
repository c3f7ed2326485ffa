"""Logs: one line per fact, with fields. Text for people at a terminal, JSON for collectors."""

import logging
import sys
from typing import Final

from pythonjsonlogger.json import JsonFormatter

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}


class TextFormatter(logging.Formatter):
    """The message, then its fields as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback follows where there is one."""
        line = super().format(record)
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        fields = " ".join(f"{name}={value}" for name, value in extra.items() if not name.startswith("k8s_"))
        head, newline, rest = line.partition("\n")
        return f"{head}  {fields}{newline}{rest}" if fields else line


def configure_logging(form: str, level: str) -> None:
    """Send all logs to standard error in one form: `text` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        names = {"levelname": "level", "name": "logger", "asctime": "time"}
        handler.setFormatter(
            JsonFormatter("{asctime}{levelname}{name}{message}", style="{", rename_fields=names)
        )
    else:
        handler.setFormatter(TextFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("kopf", "asyncio", "aiohttp"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
