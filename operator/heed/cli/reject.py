"""`heed reject`: an approval is answered with no."""

from typing import Any

import click

from heed.cli.approval.answering import run_answer
from heed.cli.approval.options import answer_options
from heed.cli.output import output_option


@click.command()
@answer_options
@output_option
def reject(**given: Any) -> None:
    """Answer the approval TASK with `reject`.

    TASK is its id, or the beginning of it. You answer as who you are for the API server. Exits with 1 where the answer
    does not count, and with 3 where it is recorded and the operator has not taken it yet.

    \b
    Examples:
      heed reject buy-4f1c --comment 'ask again in spring'
    """
    run_answer("reject", **given)
