"""`heed answer`: an approval is answered with one of its choices."""

from typing import Any

import click

from heed.cli.approval.answering import run_answer
from heed.cli.approval.options import answer_options
from heed.cli.output import output_option


@click.command()
@answer_options
@click.argument("choice")
@output_option
def answer(choice: str, **given: Any) -> None:
    """Answer the approval TASK with CHOICE, one of those that `heed approvals` shows.

    TASK is its id, or the beginning of it. You answer as who you are for the API server. Exits with 1 where the answer
    does not count, and with 3 where it is recorded and the operator has not taken it yet.

    \b
    Examples:
      heed answer deploy-9a2e canary --field percent=5
    """
    run_answer(choice, **given)
