"""What `heed dead` does with letters, however many there are: a batch at a time, told as it goes on."""

import sys
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, Literal

import click

from heed import names
from heed.bus.dead_letters import (
    DeadLetterEntry,
    DeadLetterFilter,
    DeadLetterStore,
    RedriveOutcome,
    settled_outcome,
)
from heed.cli.dead.render import one_line
from heed.cli.prog_name import program_name

REDRIVE_BATCH: Final = 500
OUTCOMES: Final = {
    "redriven": "redriven",
    "already": "redriven before",
    "refused": "cannot be redriven",
    "failed": "failed",
    "planned": "would be redriven",
    "missing": "not found",
}


@dataclass(frozen=True, slots=True)
class RedriveReport:
    """What became of one letter, to be told. `sequence` is where its event is in the stream now."""

    id: int
    agent: str | None
    type: str | None
    outcome: Literal["redriven", "already", "refused", "failed", "planned", "dropped", "missing"]
    sequence: int | None = None
    reason: str | None = None

    def __str__(self) -> str:
        said = {
            "redriven": f"redriven as {names.STREAM} {self.sequence}",
            "already": f"was redriven before, as {names.STREAM} {self.sequence}",
            "refused": f"cannot be redriven: {self.reason}",
            "failed": f"failed: {self.reason}",
            "planned": f"would be redriven, as an event of type {self.type}",
            "missing": f"is not among the letters chosen from; `{program_name()} dead list` shows those that there are",
        }
        return one_line(f"letter {self.id}{f' of {self.agent}' if self.agent else ''}: {said[self.outcome]}")

    @property
    def is_bad(self) -> bool:
        """Whether somebody has to look at it."""
        return self.outcome in ("refused", "failed", "missing")


async def newest_letters(
    letters: DeadLetterStore, selection: DeadLetterFilter, limit: int | None
) -> tuple[int, list[DeadLetterEntry]]:
    """How many letters there are, and the newest ones, which come last."""
    count, kept = 0, deque[DeadLetterEntry](maxlen=limit)
    async for batch in letters.find(selection):
        count += len(batch)
        kept.extend(batch)
    return count, list(kept)


async def redrive(
    letters: DeadLetterStore, selection: DeadLetterFilter, ids: Sequence[int], *, dry_run: bool
) -> list[RedriveReport]:
    """Redrive these letters of the selection, or where none are named all that are pending.

    Stops after the batch in which the broker failed.
    """
    await letters.check()
    sent = {} if dry_run else await letters.sent(selection)
    told: list[RedriveReport] = []
    async for batch in _chosen(letters, selection, ids, told, payloads=not dry_run):
        if dry_run:
            outcomes = [settled_outcome(found) or RedriveOutcome(found.letter, "planned") for found in batch]
        else:
            outcomes = await letters.redrive(batch, sent)
        told += map(_told, outcomes)
        show_progress(len(told))
        if any(outcome.state == "failed" for outcome in outcomes):
            break
    return told


async def droppable_letters(
    letters: DeadLetterStore, selection: DeadLetterFilter, ids: Sequence[int]
) -> tuple[list[tuple[int, int | None]], list[RedriveReport]]:
    """The letters of a selection that may be dropped, each with its mark; and what of `ids` there is not."""
    missing: list[RedriveReport] = []
    found = [
        (item.letter.id, item.mark.id if item.mark else None)
        async for batch in _chosen(letters, selection, ids, missing, payloads=False)
        for item in batch
    ]
    return found, missing


async def drop(letters: DeadLetterStore, found: Sequence[tuple[int, int | None]]) -> None:
    """Delete letters, each with its mark."""
    for start in range(0, len(found), REDRIVE_BATCH):
        batch = found[start : start + REDRIVE_BATCH]
        await letters.drop(chain((id_ for id_, _ in batch), (mark for _, mark in batch if mark)))
        show_progress(start + len(batch))


async def _chosen(
    letters: DeadLetterStore,
    selection: DeadLetterFilter,
    ids: Sequence[int],
    told: list[RedriveReport],
    *,
    payloads: bool,
) -> AsyncGenerator[list[DeadLetterEntry]]:
    """Letters in batches; what of `ids` is not there, `told` is told."""
    if not ids:
        async for batch in letters.find(selection, payloads=payloads):
            yield batch
    wanted = sorted(set(ids))
    for start in range(0, len(wanted), REDRIVE_BATCH):
        part = wanted[start : start + REDRIVE_BATCH]
        found = dict(zip(part, await letters.get(part), strict=True))
        there = [item for item in found.values() if item and selection.holds(item.letter, item.mark)]
        told += [
            RedriveReport(id_, None, None, "missing")
            for id_ in sorted({*part} - {it.letter.id for it in there})
        ]
        yield there


def _told(outcome: RedriveOutcome) -> RedriveReport:
    letter = outcome.letter
    agent = f"{letter.namespace}/{letter.agent}"
    return RedriveReport(letter.id, agent, letter.type, outcome.state, outcome.sequence, outcome.reason)


def show_progress(count: int | None) -> None:
    """Tell somebody at a terminal how far it has come; None when it is over."""
    if sys.stderr.isatty():
        click.echo("\r\x1b[K" if count is None else f"\r{count} letters …", nl=False, err=True)
