"""`heed worker`: the process that runs the code of an Agent."""

import asyncio

import click

from heed.cli.output import to_cli_error
from heed.errors import HeedError
from heed.logging import configure_logging
from heed.sdk.loading import load_agent
from heed.settings import Settings
from heed.worker.main import run_worker


@click.command()
@click.argument("module", metavar="MODULE[:AGENT]")
@click.option(
    "-n",
    "--namespace",
    default="default",
    show_default=True,
    envvar="HEED_NAMESPACE",
    show_envvar=True,
    help="The Agent's namespace.",
)
def worker(module: str, namespace: str) -> None:
    """Run the code of an Agent in Python: its handlers and function tasks, for an operator on the same broker.

    The broker is the one of HEED_NATS_URL, with HEED_NATS_CREDENTIALS where it asks for them. The worker listens on
    nothing, and finishes what it has begun on SIGTERM.

    \b
    Examples:
      heed worker agent.py
      heed worker company.agents:researcher -n demo
    """
    try:
        settings = Settings.from_environment()
        configure_logging(settings.log_format, settings.log_level)
        asyncio.run(run_worker(load_agent(module), namespace, settings))
    except HeedError as error:
        raise to_cli_error(error) from None
