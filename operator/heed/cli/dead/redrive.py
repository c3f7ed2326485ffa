"""Redrives and drops dead letters in batches, with progress."""

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
    """The report on one letter. `sequence` is its event's in the stream now."""

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
        """Whether it needs attention."""
        return self.outcome in ("refused", "failed", "missing")


async def newest_letters(
    letters: DeadLetterStore, selection: DeadLetterFilter, limit: int | None
) -> tuple[int, list[DeadLetterEntry]]:
    """The number of letters, and the newest ones, in ascending order."""
    count, kept = 0, deque[DeadLetterEntry](maxlen=limit)
    async for batch in letters.find(selection):
        count += len(batch)
        kept.extend(batch)
    return count, list(kept)


async def redrive(
    letters: DeadLetterStore, selection: DeadLetterFilter, ids: Sequence[int], *, dry_run: bool
) -> list[RedriveReport]:
    """Redrive these letters of the selection, or without ids all pending ones.

    Stops after the batch in which the broker failed.
    """
    await letters.check()
    sent = {} if dry_run else await letters.find_sent(selection)
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
    """Ids of the letters to drop, with those of their markers; and reports on `ids` that are not in the selection."""
    missing: list[RedriveReport] = []
    found = [
        (item.letter.id, item.mark.id if item.mark else None)
        async for batch in _chosen(letters, selection, ids, missing, payloads=False)
        for item in batch
    ]
    return found, missing


async def drop(letters: DeadLetterStore, found: Sequence[tuple[int, int | None]]) -> None:
    """Delete letters with their markers."""
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
    """The chosen letters in batches. Missing `ids` are added to `told`."""
    if not ids:
        async for batch in letters.find(selection, payloads=payloads):
            yield batch
    wanted = sorted(set(ids))
    for start in range(0, len(wanted), REDRIVE_BATCH):
        part = wanted[start : start + REDRIVE_BATCH]
        found = dict(zip(part, await letters.get(part), strict=True))
        there = [item for item in found.values() if item and selection.matches(item.letter, item.mark)]
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
    """Show the progress on a terminal; None clears it."""
    if sys.stderr.isatty():
        click.echo("\r\x1b[K" if count is None else f"\r{count} letters …", nl=False, err=True)
