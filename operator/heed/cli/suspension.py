"""`spec.suspend` of Agents, set and taken back: what `heed suspend` and `heed resume` share."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click
from click.shell_completion import CompletionItem

from heed import names
from heed.cli.cluster import ClusterChoice, cluster_option
from heed.cli.output import BadInput, CliError, Command, OutputFormat, output_option, paint, show_data
from heed.cli.prog_name import program_name
from heed.local import presence

if TYPE_CHECKING:
    from heed.kube.client.client import KubeApi

SuspendOutcome = Literal["suspended", "resumed", "unchanged", "missing", "refused"]
COMPLETION_TIMEOUT_S: Final = 2.0
_BAD: Final = ("missing", "refused")


@dataclass(frozen=True, slots=True)
class SuspendReport:
    """What became of one Agent. `message` says why where nothing did."""

    namespace: str
    name: str
    outcome: SuspendOutcome
    message: str | None = None

    @property
    def is_bad(self) -> bool:
        """Whether the Agent is not as it was asked to be."""
        return self.outcome in _BAD


@dataclass(frozen=True, slots=True)
class AgentChoice:
    """Which Agents: some of a namespace by name, else all that a selector leaves; without a namespace, everywhere."""

    namespace: str | None
    names: tuple[str, ...] = ()
    selector: str | None = None


def complete_agents(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete names of Agents of the chosen cluster and namespace, with whether they are suspended."""
    logging.getLogger().addHandler(logging.NullHandler())  # nothing may be written between the words
    with suppress(Exception):
        cluster: ClusterChoice = ctx.params.get("cluster") or ClusterChoice()
        namespace = cluster.find_namespace(ctx.params.get("namespace"))

        async def find(api: "KubeApi") -> list[CompletionItem]:
            from heed.kube.client.client import agents_path

            async with asyncio.timeout(COMPLETION_TIMEOUT_S):
                bodies = await api.list(agents_path(namespace))
            found = {body["metadata"]["name"]: (body.get("spec") or {}).get("suspend") for body in bodies}
            return [
                CompletionItem(name, help="suspended" if suspended else None)
                for name, suspended in sorted(found.items())
                if name.startswith(incomplete)
            ]

        return cluster.run(find)
    return []


def agent_choice(command: Command) -> Command:
    """The arguments and options that choose Agents, a cluster and the form of the output."""
    options: tuple[Callable[[Command], Command], ...] = (
        click.argument("agents", metavar="[AGENT]...", nargs=-1, shell_complete=complete_agents),
        click.option("-n", "--namespace", help="Their namespace.  [default: that of the context]"),
        click.option(
            "-A", "--all-namespaces", "everywhere", is_flag=True, help="With --all: of all of them."
        ),
        click.option("--all", "everything", is_flag=True, help="All Agents that the other options leave."),
        click.option(
            "-l", "--selector", metavar="LABELS", help="Only with these labels, such as team=research."
        ),
        cluster_option,
        output_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def run_suspension(
    suspend: bool,
    agents: Sequence[str],
    namespace: str | None,
    everywhere: bool,
    everything: bool,
    selector: str | None,
    cluster: ClusterChoice,
    output: OutputFormat,
) -> None:
    """Suspend or resume the chosen Agents, and tell of each. Exits with 1 where one of them is not as it should be."""
    _check_choice(agents, everywhere, everything, selector)
    _check_dev(suspend, agents, cluster)
    place = None if everywhere else cluster.find_namespace(namespace)
    chosen = AgentChoice(place, tuple(dict.fromkeys(agents)), selector)
    reports = cluster.run(lambda api: set_suspend(api, chosen, suspend))
    if output != "text":
        show_data([asdict(report) for report in reports], output)
    else:
        _show(reports, chosen)
    if any(report.is_bad for report in reports):
        raise click.exceptions.Exit(1)


async def set_suspend(api: "KubeApi", chosen: AgentChoice, suspend: bool) -> list[SuspendReport]:
    """Set `spec.suspend` of the chosen Agents where it is otherwise. Raises ApiError where they cannot be listed."""
    from heed.kube.client.client import ApiError, agent_path, agents_path

    bodies: list[dict[str, Any]] = []
    reports: list[SuspendReport] = []
    for name in chosen.names:
        assert chosen.namespace is not None
        try:
            bodies.append((await api.get(agent_path(chosen.namespace, name))).body)
        except ApiError as error:
            reports.append(_explain(chosen.namespace, name, error.status, error.message))
    if not chosen.names:
        query = {"labelSelector": chosen.selector} if chosen.selector else None
        bodies = await api.list(agents_path(chosen.namespace), query)
    for body in bodies:
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        if bool((body.get("spec") or {}).get("suspend")) == suspend:
            reports.append(SuspendReport(namespace, name, "unchanged"))
            continue
        try:
            await api.merge(agent_path(namespace, name), {"spec": {"suspend": suspend}})
        except ApiError as error:
            reports.append(_explain(namespace, name, error.status, error.message))
        else:
            reports.append(SuspendReport(namespace, name, "suspended" if suspend else "resumed"))
    return reports


def _explain(namespace: str, name: str, status: int, message: str) -> SuspendReport:
    return SuspendReport(namespace, name, "missing" if status == 404 else "refused", message)


def _check_choice(agents: Sequence[str], everywhere: bool, everything: bool, selector: str | None) -> None:
    if bool(agents) == (everything or selector is not None):
        remedy = "name them, or say --all, with -n, -A and -l to narrow or widen it"
        raise click.UsageError(f"{'Not both: s' if agents else 'S'}ay which Agents: {remedy}")
    if agents and everywhere:
        raise click.UsageError("Not both: names are those of one namespace; give it with -n, or say --all -A")
    for name in agents:
        if not names.is_name(name):
            raise BadInput(f"{name!r}: not the name of an Agent; use a-z, 0-9 and -")


def _check_dev(suspend: bool, agents: Sequence[str], cluster: ClusterChoice) -> None:
    """Raise CliError for Agents that a `heed dev` of this folder runs: what they are is in its files."""
    folder = presence.find_nearest(Path.cwd())
    dev = presence.read(folder) if folder is not None and not cluster.is_given else None
    if dev is None or (agents and not {item.name for item in dev.listeners} & set(agents)):
        return
    line = "write `suspend: true` under `spec:`" if suspend else "remove `suspend` from `spec:`"
    raise CliError(
        f"the Agents here are those of the `heed dev` of {dev.folder}, which runs them from files: {line} of its "
        "manifest, and it takes effect when that is saved; --context NAME or --kubeconfig FILE name a cluster instead"
    )


def _show(reports: Sequence[SuspendReport], chosen: AgentChoice) -> None:
    """One line for each Agent; what is bad goes to standard error."""
    for report in reports:
        agent = f"agent {report.namespace}/{report.name}"
        match report.outcome:
            case "missing":
                remedy = f"`kubectl get agents -n {report.namespace}` shows which there are"
                click.echo(paint(f"{agent} does not exist; {remedy}", "red"), err=True)
            case "refused":
                click.echo(paint(f"{agent}: {report.message}", "red"), err=True)
            case "unchanged":
                click.echo(f"{agent} is so already")
            case outcome:
                click.echo(f"{agent} {outcome}")
    if not reports:
        where = f"in namespace {chosen.namespace}" if chosen.namespace else "in any namespace"
        click.echo(
            f"there is no such Agent {where}; `{program_name()} suspend --help` says how to choose", err=True
        )
