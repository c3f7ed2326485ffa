"""One turn of an `llm` task: transcript completed, model called, its turn recorded, and then reported.

A turn that is in the transcript is reported again as it stands there, and the model is not called. So what a crash
repeats is the call that was under way, and of two workers that make it, the first to record its turn is the one that
counts, for both.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from heed.core.llm.model_answer import Answer, Outcome
from heed.core.llm.model_call import ModelCall
from heed.core.llm.model_settings import ModelSettings
from heed.core.llm.protocols import write_request
from heed.core.llm.transcript import Entry, Prompt, ToolResult
from heed.core.llm.transcript_record import TranscriptRecord, TurnFigures
from heed.core.llm.turn_events import Addition, RejectedCall, RepairRequest, ToolText, TurnReport, report_turn
from heed.core.llm.turn_loop import settings_of_turn
from heed.util.clock import loop_time

ANSWER: Final = "answer"
Ask = Callable[[ModelCall], Awaitable[Outcome]]
ReadText = Callable[[str], Awaitable[str]]


class Transcript(Protocol):
    """A task's transcript: records in order, each key once."""

    async def read(self) -> Sequence[TranscriptRecord]:
        """All records."""

    async def append(self, record: TranscriptRecord) -> TranscriptRecord:
        """Add a record, unless its key is there; the record that stands under it."""


@dataclass(frozen=True, slots=True)
class TurnWork:
    """A turn to be made. `prompts` begin the transcript; `additions` come before this turn."""

    settings: ModelSettings
    turn: int
    attempt: int
    prompts: tuple[Prompt, ...]
    additions: tuple[Addition, ...] = ()


async def run_turn(work: TurnWork, transcript: Transcript, read_text: ReadText, ask: Ask) -> TurnReport:
    """The report of a turn. Raises what the transcript and `read_text` raise: the turn is to be tried again then."""
    records = {record.key: record for record in await transcript.read()}
    place = f"{work.turn}/{ANSWER}"
    if (made := records.get(place)) is not None and made.report is not None:
        return replace(made.report, attempt=work.attempt)
    for key, wanted in _missing(work, records):
        entry = wanted if isinstance(wanted, Prompt) else await _write_entry(wanted, read_text)
        records[key] = await transcript.append(TranscriptRecord(key, entry))
    call = ModelCall.of(
        settings_of_turn(work.settings, work.turn, work.additions),
        [record.entry for record in records.values()],
    )
    started = loop_time()
    outcome = await ask(call)
    report = report_turn(work.turn, work.attempt, outcome, structured=work.settings.output is not None)
    if not isinstance(outcome, Answer):
        return report
    latency_ms = round((loop_time() - started) * 1000)
    digest = hashlib.sha256(write_request(call)).hexdigest()
    figures = TurnFigures(digest, outcome.model, outcome.finish, latency_ms)
    stands = await transcript.append(TranscriptRecord(place, outcome.turn, figures, report))
    return replace(stands.report or report, attempt=work.attempt)


def _missing(work: TurnWork, records: dict[str, TranscriptRecord]) -> list[tuple[str, Prompt | Addition]]:
    """What the transcript lacks before the turn, with its keys."""
    wanted: list[tuple[str, Prompt | Addition]] = []
    wanted += ((f"0/{index}", prompt) for index, prompt in enumerate(work.prompts))
    wanted += ((f"{work.turn}/{index}", addition) for index, addition in enumerate(work.additions))
    return [(key, item) for key, item in wanted if key not in records]


async def _write_entry(addition: Addition, read_text: ReadText) -> Entry:
    match addition:
        case ToolText():
            return ToolResult(addition.call_id, addition.name, await read_text(addition.reference))
        case RejectedCall():
            return ToolResult(addition.call_id, addition.name, addition.problem)
        case RepairRequest():
            return Prompt.of("user", addition.text)
