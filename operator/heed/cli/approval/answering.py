"""Answers an approval and says what became of it: what `heed approve`, `reject` and `answer` share."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import click

from heed.cli.approval.options import PlaceChoice, parse_fields
from heed.cli.approval.places import AnswerReport, ApprovalPlace, Reply
from heed.cli.approval.waiting import WaitingApproval
from heed.cli.cluster import ClusterChoice
from heed.cli.output import OutputFormat, paint, show_data
from heed.util.terminal import visible

EXIT_REFUSED: Final = 1
EXIT_RECORDED: Final = 3  # it is there, and what becomes of it is not known yet


def run_answer(
    choice: str,
    task: str,
    comment: str,
    fields: Sequence[str],
    patience: float,
    user: str | None,
    groups: Sequence[str],
    namespace: str | None,
    cluster: ClusterChoice,
    dev: bool,
    output: OutputFormat,
) -> None:
    """Answer, and exit with 1 where the answer does not count, with 3 where that is not known yet."""
    place = PlaceChoice(cluster, dev, user, groups)
    where = place.find_namespace(namespace)

    async def answer(there: ApprovalPlace) -> tuple[WaitingApproval, AnswerReport]:
        waiting = (await there.find(where)).choose(task)
        reply = Reply(choice, parse_fields(fields, waiting.approval.request.fields), comment)
        return waiting, await there.answer(waiting, reply, patience)

    waiting, report = place.run(answer)
    if output == "text":
        _show(waiting, choice, report)
    else:
        show_data({"task": waiting.approval.task_id, "choice": choice, **asdict(report)}, output)
    if report.outcome != "accepted":
        raise click.exceptions.Exit(EXIT_REFUSED if report.outcome == "refused" else EXIT_RECORDED)


def _show(waiting: WaitingApproval, choice: str, report: AnswerReport) -> None:
    task, title = waiting.approval.task_id, visible(waiting.approval.request.title)
    match report.outcome:
        case "accepted":
            click.echo(f"{task} ({title}): answered {choice}, as {visible(report.user)}")
        case "refused":
            message = f"{task} ({title}): not answered, {report.reason}: {visible(report.message)}"
            click.echo(paint(message, "red"), err=True)
        case "recorded":
            name = f" as {report.name}" if report.name else ""
            click.echo(f"{task} ({title}): {choice} is recorded{name}; {report.message}", err=True)
