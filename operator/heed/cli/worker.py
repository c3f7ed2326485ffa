"""`heed worker`: the process that runs the code of an Agent."""

import asyncio
from pathlib import Path

import click

from heed.cli.output import to_cli_error
from heed.errors import HeedError, InvalidSettings
from heed.logging import configure_logging
from heed.sdk.agent import Agent
from heed.settings import Settings
from heed.worker.main import run_worker
from heed.worker.module import ModuleMistake, load_agents


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--agent", "name", metavar="NAME", help="Which Agent, where the file defines several.")
@click.option(
    "-n",
    "--namespace",
    default="default",
    show_default=True,
    envvar="HEED_NAMESPACE",
    help="The Agent's namespace.",
)
def worker(file: Path, name: str | None, namespace: str) -> None:
    """Run the code of an Agent in Python: its handlers and function tasks, for an operator on the same broker.

    The broker is the one of HEED_NATS_URL, with HEED_NATS_CREDENTIALS where it asks for them. It listens on nothing,
    and finishes what it has begun on SIGTERM.

    \b
    Examples:
      heed worker agent.py
      heed worker agents.py --agent researcher -n demo
    """
    try:
        settings = Settings.from_environment()
        configure_logging(settings.log_format, settings.log_level)
        asyncio.run(run_worker(_chosen(file, name), namespace, settings))
    except ModuleMistake as mistake:
        raise click.ClickException(str(mistake)) from None
    except HeedError as error:
        raise to_cli_error(error) from None


def _chosen(file: Path, name: str | None) -> Agent:
    """The Agent of that name, or the only one. Raises ModuleMistake, InvalidSettings."""
    agents = {agent.name: agent for agent in load_agents(file)}
    if name is None and len(agents) > 1:
        raise InvalidSettings(f"{file} defines {', '.join(agents)}; name one with --agent")
    found = agents.get(name) if name is not None else next(iter(agents.values()))
    if found is None:
        raise InvalidSettings(f"{file} defines no Agent {name}; it has {', '.join(agents)}")
    return found
