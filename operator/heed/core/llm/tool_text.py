"""The end of a tool's task as the text that the model reads."""

from collections.abc import Mapping
from typing import Any, Final

from heed.core.codec.canonical_json import dump_compact

GONE: Final = "The result is no longer there: the event stream has dropped it."
MAX_TEXTS_BYTES: Final = 512 * 1024  # of all results of one turn


def tool_text(data: Any, *, completed: bool) -> str:
    """What the data of a task's end say to the model: the result, as JSON where it is no text, or why there is none."""
    said: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    if not completed:
        reason, message = said.get("reason") or "Unknown", said.get("message")
        return f"The tool failed: {reason}{f': {message}' if message else ''}"
    result = said.get("result")
    if result is None:
        return str(said.get("message") or "Done.")
    return result if isinstance(result, str) else dump_compact(result)


def cut_text(text: str, results: int) -> str:
    """The text, cut where it is more than its share of what all the results of a turn may be."""
    share = MAX_TEXTS_BYTES // max(1, results)
    body = text.encode(errors="replace")
    if len(body) <= share:
        return text
    return f"{body[:share].decode(errors='ignore')} … (cut: the result is {len(body)} bytes)"
