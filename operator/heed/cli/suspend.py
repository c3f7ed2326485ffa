"""`heed suspend`: Agents read no events for a while."""

from typing import Any

import click

from heed.cli.suspension import agent_choice, run_suspension


@click.command()
@agent_choice
def suspend(**choice: Any) -> None:
    """Suspend Agents of a cluster: they read no events until they are resumed.

    Events wait in the stream, as long as that keeps them. Running tasks go on and deadlines hold; what they end with
    waits, too. To say it twice changes nothing. Exits with 1 if an Agent could not be suspended.

    \b
    Examples:
      heed suspend researcher
      heed suspend --all -n demo -l team=research
      heed suspend --all -A -o json
    """
    run_suspension(True, **choice)
