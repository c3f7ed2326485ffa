"""`heed approve`: an approval is answered with yes."""

from typing import Any

import click

from heed.cli.approval.answering import run_answer
from heed.cli.approval.options import answer_options
from heed.cli.output import output_option


@click.command()
@answer_options
@output_option
def approve(**given: Any) -> None:
    """Answer the approval TASK with `approve`.

    TASK is its id, or the beginning of it. You answer as who you are for the API server. Exits with 1 where the answer
    does not count, and with 3 where it is recorded and the operator has not taken it yet.

    \b
    Examples:
      heed approve buy-4f1c
      heed approve buy-4f1c --comment 'cheaper than last year' --field budget=2026-11
      kubectl heed approve buy-4f1c -n demo
    """
    run_answer("approve", **given)
