"""`heed approvals`: which approvals wait for people."""

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from heed.cli.approval.options import PlaceChoice, place_options
from heed.cli.approval.waiting import WaitingApproval
from heed.cli.cluster import ClusterChoice
from heed.cli.output import show_data, show_table
from heed.util.clock import now
from heed.util.terminal import visible

FORMS = ("table", "wide", "json", "yaml")


@click.command()
@place_options
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="Those of all namespaces.")
@click.option(
    "-o", "--output", type=click.Choice(FORMS), default="table", show_default=True, help="Form of the output."
)
def approvals(
    namespace: str | None, everywhere: bool, cluster: ClusterChoice, dev: bool, output: str
) -> None:
    """Show which approvals wait for people, the oldest first.

    \b
    Examples:
      heed approvals
      heed approvals -A -o wide
      kubectl heed approvals -n demo -o json
    """
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
