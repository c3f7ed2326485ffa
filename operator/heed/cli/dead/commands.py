"""`heed dead`: look at dead letters, send them again, drop them."""

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Final, TypeVar

import click

from heed import names
from heed.bus.client.connection import connect
from heed.bus.dead_letters import DeadLetterFilter, DeadLetterStore
from heed.cli.broker_url import BrokerChoice, broker_option
from heed.cli.dead import redrive as redriving
from heed.cli.dead.options import choice, complete_ids, filters, state_option
from heed.cli.dead.redrive import RedriveReport
from heed.cli.dead.render import TABLE_HEADERS, describe_letter, letter_row, show_letter, summarize_letter
from heed.cli.output import (
    BadInput,
    CliError,
    OutputFormat,
    output_option,
    paint,
    show_data,
    show_table,
    to_cli_error,
)
from heed.cli.prog_name import program_name
from heed.errors import HeedError
from heed.settings import Settings
from heed.util.clock import now

MAX_SHOWN_LETTERS: Final = 20  # letters that a command which works on many tells of one by one
T = TypeVar("T")


class _OrderedGroup(click.Group):
    """Its commands in the order in which they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_OrderedGroup)
def dead() -> None:
    """Look at dead letters: events that an Agent could not decide, each with its cause.

    Once the cause is mended, redrive a letter: its Agent decides the event again, once, with the handlers that it has
    now. If that fails too, there is a new letter, of the next attempt.

    \b
    Examples:
      heed dead list
      heed dead show 12
      heed dead redrive --all --agent researcher --code TemplateFailed --dry-run
      heed dead redrive --id 12
      heed dead drop --all --redriven
    """


@dead.command("list")
@filters
@state_option
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Show so many, the newest ones; 0: all.",
)
@broker_option
@output_option
def list_letters(
    namespace: str | None,
    agent: str | None,
    codes: Sequence[str],
    redriven: bool | None,
    limit: int,
    broker: BrokerChoice,
    output: OutputFormat,
) -> None:
    """List dead letters, the newest last.

    \b
    Examples:
      heed dead list
      heed dead list -n demo --agent researcher --pending
      heed dead list --code TemplateFailed --limit 0 -o json
    """
    selection = _selection(namespace, agent, codes, redriven)
    count, newest = _run(broker, lambda letters: redriving.newest_letters(letters, selection, limit or None))
    if output != "text":
        show_data([summarize_letter(found) for found in newest], output)
        return
    if newest:
        at = now()
        show_table(TABLE_HEADERS, [letter_row(found, at) for found in newest])
    hidden = count - len(newest)
    more = f"; {hidden} older ones are not shown, --limit 0 shows all" if hidden else ""
    following = f"\n{program_name()} dead show ID says what is in one" if newest else ""
    click.echo(f"{_letters(count)}{more}{following}", err=True)


@dead.command()
@click.argument("id_", metavar="ID", type=click.IntRange(min=1), shell_complete=complete_ids)
@broker_option
@output_option
def show(id_: int, broker: BrokerChoice, output: OutputFormat) -> None:
    """Show the dead letter ID in full: its cause, its event, and what can be done about it.

    \b
    Examples:
      heed dead show 12
      heed dead show 12 -o json | jq .event.data
    """
    [found] = _run(broker, lambda letters: letters.get([id_]))
    if found is None:
        raise CliError(str(RedriveReport(id_, None, None, "missing")))
    if output == "text":
        show_letter(found, now())
    else:
        show_data(describe_letter(found), output)


@dead.command()
@choice
@filters
@broker_option
@output_option
def redrive(
    ids: Sequence[int],
    everything: bool,
    dry_run: bool,
    namespace: str | None,
    agent: str | None,
    codes: Sequence[str],
    broker: BrokerChoice,
    output: OutputFormat,
) -> None:
    """Have Agents decide their letters again.

    They are sent in their order, oldest first. Nothing is lost or decided twice when this is broken off and repeated: a
    letter is marked once it was redriven, and passed over from then on. Exits with 1 if there are letters that could
    not be redriven.

    \b
    Examples:
      heed dead redrive --all --dry-run
      heed dead redrive --all -n demo --agent researcher --code TemplateFailed
      heed dead redrive --id 12 --id 15
    """
    _check_choice(ids, everything)
    selection = _selection(namespace, agent, codes, None if ids else False)
    told = _run(broker, lambda letters: redriving.redrive(letters, selection, ids, dry_run=dry_run))
    if output == "text":
        _show_told(told)
        if not told:
            click.echo("nothing to redrive: no letter is pending that the options leave", err=True)
    else:
        show_data([asdict(item) for item in told], output)
    if any(item.is_bad for item in told):
        raise click.exceptions.Exit(1)


@dead.command()
@choice
@filters
@state_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@broker_option
@output_option
def drop(
    ids: Sequence[int],
    everything: bool,
    dry_run: bool,
    namespace: str | None,
    agent: str | None,
    codes: Sequence[str],
    redriven: bool | None,
    yes: bool,
    broker: BrokerChoice,
    output: OutputFormat,
) -> None:
    """Delete dead letters for good. Asks before, unless told --yes.

    \b
    Examples:
      heed dead drop --id 12
      heed dead drop --all --redriven --yes
      heed dead drop --all -n demo --code TypeMismatch --dry-run
    """
    _check_choice(ids, everything)
    selection = _selection(namespace, agent, codes, redriven)
    found, missing = _run(broker, lambda letters: redriving.droppable_letters(letters, selection, ids))
    if found and not dry_run:
        _confirm(len(found), yes=yes)
        _run(broker, lambda letters: redriving.drop(letters, found))
    if output == "text":
        _show_told(missing)
        click.echo(f"{'would drop' if dry_run else 'dropped'} {_letters(len(found))}")
    else:
        told = [RedriveReport(id_, None, None, "planned" if dry_run else "dropped") for id_, _ in found]
        show_data([{"id": item.id, "outcome": item.outcome} for item in (*told, *missing)], output)
    if missing:
        raise click.exceptions.Exit(1)


def _run(broker: BrokerChoice, work: Callable[[DeadLetterStore], Awaitable[T]]) -> T:
    async def run(settings: Settings) -> T:
        connection = await connect(settings, "heed dead", attempts=1)
        try:
            return await work(DeadLetterStore(connection))
        finally:
            await connection.close()
            redriving.show_progress(None)

    try:
        return asyncio.run(run(broker.find().settings))
    except HeedError as error:
        raise to_cli_error(error) from None


def _selection(
    namespace: str | None, agent: str | None, codes: Sequence[str], redriven: bool | None
) -> DeadLetterFilter:
    for option, value, fits in (
        ("--namespace", namespace, names.is_name),
        ("--agent", agent, names.is_recipient),
    ):
        if value is not None and not fits(value):
            raise BadInput(f"{option} {value!r}: not a Kubernetes name; use a-z, 0-9 and -")
    return DeadLetterFilter(namespace, agent, frozenset(codes), redriven)


def _check_choice(ids: Sequence[int], everything: bool) -> None:
    if bool(ids) == everything:
        ids_from = f"`{program_name()} dead list` shows the ids"
        remedy = f"--id ID ({ids_from}), or --all, with -n, --agent and --code to narrow it"
        raise click.UsageError(f"{'Not both: s' if ids else 'S'}ay which letters: {remedy}")


def _confirm(count: int, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"This would delete {_letters(count)} for good: say --yes, or try --dry-run")
    click.confirm(f"Delete {_letters(count)} for good?", abort=True, err=True)


def _show_told(told: Sequence[RedriveReport]) -> None:
    """Each of a few letters, then how many there are of each kind; what is bad goes to standard error."""
    good = [item for item in told if not item.is_bad]
    bad = [item for item in told if item.is_bad]
    for item in good if len(good) <= MAX_SHOWN_LETTERS else ():
        click.echo(str(item))
    for item in bad[:MAX_SHOWN_LETTERS]:
        click.echo(paint(str(item), "red"), err=True)
    if len(bad) > MAX_SHOWN_LETTERS:
        click.echo(paint(f"… and {len(bad) - MAX_SHOWN_LETTERS} more; -o json tells all", "red"), err=True)
    if len(told) > MAX_SHOWN_LETTERS:
        counts = Counter(item.outcome for item in told)
        click.echo(", ".join(f"{count} {redriving.OUTCOMES[outcome]}" for outcome, count in counts.items()))
    if any(item.outcome == "failed" for item in told):
        click.echo(
            paint("The rest was not tried. Run the command again: no letter is redriven twice.", "red"),
            err=True,
        )


def _letters(count: int) -> str:
    return f"{count} dead letter{'' if count == 1 else 's'}"
