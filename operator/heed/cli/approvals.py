"""`heed approvals`: which approvals wait for people, and links for those to answer them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from heed.cli.approval.linking import LinkWish, ask_for_link
from heed.cli.approval.options import PlaceChoice, complete_tasks, place_options
from heed.cli.approval.waiting import WaitingApproval
from heed.cli.cluster import ClusterChoice
from heed.cli.output import OutputFormat, output_option, show_data, show_table
from heed.util.clock import now
from heed.util.terminal import visible

FORMS = ("table", "wide", "json", "yaml")


@click.group(invoke_without_command=True)
@place_options
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="Those of all namespaces.")
@click.option(
    "-o", "--output", type=click.Choice(FORMS), default="table", show_default=True, help="Form of the output."
)
@click.pass_context
def approvals(
    ctx: click.Context,
    namespace: str | None,
    everywhere: bool,
    cluster: ClusterChoice,
    dev: bool,
    output: str,
) -> None:
    """Show which approvals wait for people, the oldest first.

    \b
    Examples:
      heed approvals
      heed approvals -A -o wide
      kubectl heed approvals -n demo -o json
      heed approvals link buy-4f1c --for kim@example.com --service-account notifier
    """
    if ctx.invoked_subcommand is not None:
        return
    if everywhere and namespace:
        raise click.UsageError("Not both: -n is one namespace, -A are all of them")
    place = PlaceChoice(cluster, dev)
    where = None if everywhere else place.find_namespace(namespace)
    found = place.run(lambda there: there.find(where))
    if output in ("json", "yaml"):
        show_data([item.describe() for item in found.waiting], "json" if output == "json" else "yaml")
    elif found.waiting:
        _show(found.waiting, wide=output == "wide", namespaces=where is None)
    else:
        click.echo(f"no approval waits in {f'namespace {where}' if where else 'any namespace'}", err=True)


def _show(waiting: Sequence[WaitingApproval], *, wide: bool, namespaces: bool) -> None:
    headers = ["TASK", "TITLE", "AGENT", "SESSION", "AGE", "UNTIL", "CHOICES"]
    if namespaces:
        headers.insert(0, "NAMESPACE")
    if wide:
        headers += ["FIELDS", "APPROVERS"]
    show_table(headers, [_row(item, wide=wide, namespaces=namespaces) for item in waiting])


def _row(item: WaitingApproval, *, wide: bool, namespaces: bool) -> list[str]:
    approval, request = item.approval, item.approval.request
    cells = [
        approval.task_id,
        request.title,
        item.agent.name,
        approval.record.session,
        _age(approval.record.started_at),
        "-" if approval.until is None else approval.until[:16].replace("T", " ") + "Z",
        ",".join(request.choices),
    ]
    if namespaces:
        cells.insert(0, item.agent.namespace)
    if wide:
        properties = (request.fields or {}).get("properties") or {}
        who = [*request.users, *(f"group:{group}" for group in request.groups)]
        cells += [",".join(properties) or "-", ",".join(who) or "-"]
    return [visible(cell).replace("\n", " ") for cell in cells]


def _age(since: str) -> str:
    """As kubectl writes ages: 5s, 4m, 3h, 2d."""
    seconds = int((now() - datetime.fromisoformat(since).astimezone(UTC)).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{max(0, seconds)}s"


@approvals.command()
@click.argument("task", shell_complete=complete_tasks)
@click.option(
    "--for", "whom", default="", metavar="NAME", help="Whom it is for; it is part of the answer's comment."
)
@click.option(
    "--valid", default="24h", show_default=True, help="How long it is good, such as 90m or 7d; 30d at most."
)
@click.option(
    "--gateway",
    metavar="URL",
    envvar="HEED_GATEWAY_URL",
    show_envvar=True,
    help="The gateway.  [default: that of the Agent's address; with heed dev http://127.0.0.1:8090]",
)
@click.option(
    "--service-account",
    metavar="NAME",
    help="Ask as this account of the approval's namespace, with a token that the API server makes for it.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Ask with the token in this file, which is for the gateway's audience.",
)
@place_options
@output_option
def link(
    task: str,
    whom: str,
    valid: str,
    gateway: str | None,
    service_account: str | None,
    token_file: Path | None,
    namespace: str | None,
    cluster: ClusterChoice,
    dev: bool,
    output: OutputFormat,
) -> None:
    """Print a link that answers the approval TASK once, for somebody without access to the cluster.

    TASK is its id, or the beginning of it. Who has the link can answer, as the gateway: send it to one person only.

    \b
    Examples:
      heed approvals link buy-4f1c --for kim@example.com --service-account notifier
      heed approvals link buy-4f1c --valid 2h --dev
    """
    wish = LinkWish(whom, valid, gateway, service_account, token_file)
    made = ask_for_link(PlaceChoice(cluster, dev), task, namespace, wish)
    if output != "text":
        show_data(made, output)
        return
    click.echo(made["url"])
    whose = f"for {visible(whom)}, " if whom else ""
    click.echo(
        f"{made['task']} ({visible(made['title'])}): {whose}good once, until {made['expiresAt']}", err=True
    )
