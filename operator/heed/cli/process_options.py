"""Options that the processes of a cluster share: how they log, and where their probes and metrics are."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import click

from heed.settings import Settings

Command = Callable[..., None]
_OPTIONS: Final = (
    click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        envvar="HEED_LOG_FORMAT",
        show_envvar=True,
        help="Form of the log on standard error.  [default: text]",
    ),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
        envvar="HEED_LOG_LEVEL",
        show_envvar=True,
        help="Least level that is logged.  [default: info]",
    ),
    click.option(
        "--health-port",
        type=click.IntRange(0, 65535),
        envvar="HEED_HEALTH_PORT",
        show_envvar=True,
        help="Port of /healthz and /readyz; 0 for none.  [default: 8080]",
    ),
    click.option(
        "--metrics-port",
        type=click.IntRange(0, 65535),
        envvar="HEED_METRICS_PORT",
        show_envvar=True,
        help="Port of /metrics; 0 for none.  [default: 9090]",
    ),
)


def process_options(command: Command) -> Command:
    """Give a command these options, in this order."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_settings(options: dict[str, Any]) -> Settings:
    """The settings from the environment, overridden by options. Raises InvalidSettings."""
    given = {name: value for name, value in options.items() if value is not None}
    return replace(Settings.from_environment(), **given)
