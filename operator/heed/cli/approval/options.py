"""Which place a command means, its options, and their completion."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from heed import names
from heed.cli.approval.places import ApprovalPlace, ClusterApprovals, LocalApprovals
from heed.cli.cluster import ClusterChoice, cluster_option
from heed.cli.output import BadInput, CliError, Command, to_cli_error
from heed.errors import HeedError
from heed.local import presence
from heed.local.presence import Presence

COMPLETION_TIMEOUT_S: Final = 2.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PlaceChoice:
    """The options that choose a place: a cluster, or the `heed dev` of this folder, which comes first."""

    cluster: ClusterChoice
    dev: bool = False
    user: str | None = None
    groups: Sequence[str] = ()

    def find_dev(self) -> Presence | None:
        """The `heed dev` that is meant, or None for a cluster. Raises BadInput, CliError."""
        if self.dev and self.cluster.is_given:
            raise BadInput(
                "not both: --dev means the `heed dev` of this folder, --context and --kubeconfig a cluster"
            )
        folder = None if self.cluster.is_given else presence.find_nearest(Path.cwd())
        found = None if folder is None else presence.read(folder)
        if self.dev and found is None:
            raise CliError("no `heed dev` runs in this folder or above it; start one, or leave out --dev")
        if found is None and (self.user or self.groups):
            here = "" if self.cluster.is_given else ", and none runs in this folder or above it"
            raise BadInput(
                f"--as and --as-group are for heed dev{here}; in a cluster you answer as who you are"
            )
        return found

    def run(self, work: Callable[[ApprovalPlace], Awaitable[T]]) -> T:
        """What `work` makes of the place. Raises CliError."""
        if (dev := self.find_dev()) is None:
            return self.cluster.run(lambda api: work(ClusterApprovals(api)))
        try:
            dev.check()
            return asyncio.run(self._run_local(dev, work))
        except HeedError as error:
            raise to_cli_error(error) from None

    async def _run_local(self, dev: Presence, work: Callable[[ApprovalPlace], Awaitable[T]]) -> T:
        from heed.bus.client.connection import connect
        from heed.local.ledger_store import open_ledgers
        from heed.settings import Settings

        settings = Settings.from_environment().local(dev.url)
        connection = await connect(settings, "heed approvals", attempts=1)
        try:
            ledgers = await open_ledgers(connection.client.jetstream())
            agents = [(item.namespace, item.name) for item in dev.listeners]
            return await work(LocalApprovals(connection, ledgers, agents, self.user, self.groups))
        finally:
            await connection.close()

    def find_namespace(self, given: str | None) -> str | None:
        """The namespace to look in; None: all, which is what heed dev means by none. Raises BadInput."""
        if self.find_dev() is None:
            return self.cluster.find_namespace(given)
        if given is not None and not names.is_name(given):
            raise BadInput(f"--namespace {given!r}: not a Kubernetes name; use a-z, 0-9 and -")
        return given


def place_options(command: Command) -> Command:
    """The options that choose a place, passed on as `cluster` and `dev`."""
    dev = click.option(
        "--dev",
        is_flag=True,
        help="Those of the `heed dev` of this folder.  [default: where one runs, and no cluster is named]",
    )
    namespace = click.option("-n", "--namespace", help="Their namespace.  [default: that of the context]")
    return namespace(cluster_option(dev(command)))


def answer_options(command: Command) -> Command:
    """The argument TASK and the options of an answer."""
    options: tuple[Callable[[Command], Command], ...] = (
        click.argument("task", shell_complete=complete_tasks),
        click.option("--comment", default="", help="For people; it is part of the answer."),
        click.option(
            "--field",
            "fields",
            metavar="NAME=VALUE",
            multiple=True,
            help="What is to be filled in: text, or JSON where the approval asks for that; repeatable.",
        ),
        click.option(
            "--wait",
            "patience",
            type=click.FloatRange(min=0),
            default=10.0,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait for what becomes of it.",
        ),
        click.option(
            "--as", "user", metavar="USER", help="With heed dev: answer as USER.  [default: local:<you>]"
        ),
        click.option(
            "--as-group",
            "groups",
            metavar="GROUP",
            multiple=True,
            help="With heed dev: as one of GROUP; repeatable.",
        ),
        place_options,
    )
    for option in reversed(options):
        command = option(command)
    return command


def parse_fields(pairs: Sequence[str], schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields of `--field NAME=VALUE`: as text where the schema says so, else as JSON where it is some."""
    fields: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise BadInput(f"--field {pair!r}: write NAME=VALUE")
        properties = (schema or {}).get("properties")
        asked = properties.get(name) if isinstance(properties, dict) else None
        is_text = isinstance(asked, dict) and asked.get("type") == "string"
        fields[name] = text if is_text else _value(text)
    return fields


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def complete_tasks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete ids of approvals that wait, with their titles."""
    logging.getLogger().addHandler(logging.NullHandler())  # nothing may be written between the words
    with suppress(Exception):
        given = ctx.params
        choice = PlaceChoice(given.get("cluster") or ClusterChoice(), bool(given.get("dev")))
        namespace = choice.find_namespace(given.get("namespace"))

        async def find(place: ApprovalPlace) -> list[CompletionItem]:
            async with asyncio.timeout(COMPLETION_TIMEOUT_S):
                found = await place.find(namespace)
            items = [(item.approval.task_id, item.approval.request.title) for item in found.waiting]
            return [CompletionItem(task, help=title) for task, title in items if task.startswith(incomplete)]

        return choice.run(find)
    return []
