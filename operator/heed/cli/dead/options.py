"""The options that select dead letters, and their shell completion.

That is what the newest letters hold, if the broker answers in time.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import click
from click.shell_completion import CompletionItem

from heed.bus.client.connection import connect
from heed.bus.dead_letters import DeadLetterEntry, DeadLetterFilter, DeadLetterStore
from heed.cli.broker_url import BrokerChoice, find_broker
from heed.cli.output import Command
from heed.settings import Settings

COMPLETION_TIMEOUT_VARIABLE: Final = "HEED_COMPLETION_TIMEOUT"
"""The variable with the seconds that the broker has to answer when somebody presses Tab."""
COMPLETION_TIMEOUT_S: Final = 2.0
MAX_COMPLETED_LETTERS: Final = 500

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete_ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete letter ids, newest first, with their causes."""
    return _items(
        (
            (str(found.letter.id), f"{found.letter.agent} {found.letter.type} {found.letter.cause('Code')}")
            for found in reversed(_newest(ctx))
        ),
        incomplete,
    )


def _complete_values(value: Callable[[DeadLetterEntry], str | None]) -> Complete:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return _items(((value(found) or "", "") for found in _newest(ctx)), incomplete)

    return complete


complete_codes: Final = _complete_values(lambda found: found.letter.cause("Code"))
complete_agents: Final = _complete_values(lambda found: found.letter.agent)
complete_namespaces: Final = _complete_values(lambda found: found.letter.namespace)


def _with(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """A decorator for options that several commands share, in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


filters = _with(
    click.option(
        "-n",
        "--namespace",
        metavar="NAMESPACE",
        shell_complete=complete_namespaces,
        help="Only of Agents in this namespace.  [default: all]",
    ),
    click.option(
        "--agent",
        metavar="AGENT",
        shell_complete=complete_agents,
        help="Only of this Agent, or of subscription:NAME.",
    ),
    click.option(
        "--code",
        "codes",
        metavar="CODE",
        multiple=True,
        shell_complete=complete_codes,
        help="Only with this cause, such as TemplateFailed; repeatable.",
    ),
)
state_option = click.option(
    "--redriven/--pending", "redriven", default=None, help="Only what was redriven, or what was not."
)
choice = _with(
    click.option(
        "--id",
        "ids",
        metavar="ID",
        type=click.IntRange(min=1),
        multiple=True,
        shell_complete=complete_ids,
        help="This letter; repeatable.",
    ),
    click.option("--all", "everything", is_flag=True, help="All that the other options leave."),
    click.option("--dry-run", is_flag=True, help="Only tell what would be done."),
)


def _items(pairs: Iterable[tuple[str, str]], incomplete: str) -> list[CompletionItem]:
    offered = {value: text for value, text in pairs if value.isprintable() and value.startswith(incomplete)}
    return [CompletionItem(value, help=text or None) for value, text in offered.items() if value]


def _newest(ctx: click.Context) -> list[DeadLetterEntry]:
    logging.getLogger("heed").addHandler(logging.NullHandler())  # nothing may be written between the words
    with suppress(Exception):
        chosen: BrokerChoice = ctx.params.get("broker") or BrokerChoice(None, None)
        return asyncio.run(_find(find_broker(chosen.url, chosen.folder).settings))
    return []


async def _find(settings: Settings) -> list[DeadLetterEntry]:
    async with asyncio.timeout(float(os.environ.get(COMPLETION_TIMEOUT_VARIABLE) or COMPLETION_TIMEOUT_S)):
        connection = await connect(settings, "heed completion", attempts=1)
        try:
            found: list[DeadLetterEntry] = []
            async for batch in DeadLetterStore(connection).find(DeadLetterFilter()):
                found = [*found, *batch][-MAX_COMPLETED_LETTERS:]
            return found
        finally:
            await connection.close()
