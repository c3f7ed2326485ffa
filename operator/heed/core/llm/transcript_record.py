"""A record of a transcript: an entry in its place, and of the model's turns what is known of them, as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heed.core.llm.transcript import Entry, entry_from_json, entry_to_json
from heed.core.llm.turn_events import TurnReport
from heed.core.llm.turn_report import report_from_json, report_to_json


@dataclass(frozen=True, slots=True)
class TurnFigures:
    """Of one answer: the request's digest, who answered, why it ended, and how long it took."""

    request_digest: str
    model: str
    finish: str
    latency_ms: int


@dataclass(frozen=True, slots=True)
class TranscriptRecord:
    """One message of the stream. `key` is its place; the model's turns have their figures, and the report of them."""

    key: str
    entry: Entry
    figures: TurnFigures | None = None
    report: TurnReport | None = None


def record_to_json(record: TranscriptRecord) -> dict[str, Any]:
    """A record as JSON."""
    said: dict[str, Any] = {"key": record.key, "entry": entry_to_json(record.entry)}
    if record.figures is not None:
        figures = record.figures
        said["figures"] = {
            "requestDigest": figures.request_digest,
            "model": figures.model,
            "finish": figures.finish,
            "latencyMs": figures.latency_ms,
        }
    return said if record.report is None else said | {"report": report_to_json(record.report)}


def record_from_json(value: Mapping[str, Any]) -> TranscriptRecord:
    """The record that `record_to_json` wrote. Raises ValueError for another shape."""
    try:
        figures = None
        if (given := value.get("figures")) is not None:
            figures = TurnFigures(given["requestDigest"], given["model"], given["finish"], given["latencyMs"])
        report = None if (told := value.get("report")) is None else _read_report(told)
        return TranscriptRecord(value["key"], entry_from_json(value["entry"]), figures, report)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no record of a transcript: {type(error).__name__} at {error}") from None


def _read_report(told: Mapping[str, Any]) -> TurnReport:
    return report_from_json(told, told["turn"], told["attempt"])
