"""`heed resume`: suspended Agents go on."""

from typing import Any

import click

from heed.cli.suspension import agent_choice, run_suspension


@click.command()
@agent_choice
def resume(**choice: Any) -> None:
    """Resume suspended Agents of a cluster: they go on with the events that have come meanwhile, in their order.

    To say it twice changes nothing. Exits with 1 if an Agent could not be resumed.

    \b
    Examples:
      heed resume researcher
      heed resume --all -n demo -l team=research
    """
    run_suspension(False, **choice)
