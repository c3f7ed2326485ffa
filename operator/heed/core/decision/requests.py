"""What handlers want, read from what they rendered or answered: state, tasks, events, all within the limits."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from heed.api.task import MAX_PRIORITY
from heed.api.validation import json_kind
from heed.core.codec.canonical_json import canonicalize, dump_compact
from heed.core.codec.strict_json import MAX_JSON_DEPTH, measure_depth
from heed.core.decision.event_variables import refuse_zeros
from heed.core.decision.model import HandlerResult, StartRequest
from heed.errors import DecisionFailed

MAX_STATE_BYTES: Final = 128 * 1024
MAX_DECISION_BYTES: Final = 384 * 1024
_EMIT_MEMBERS: Final = frozenset(("type", "data", "subject", "to"))
_START_MEMBERS: Final = frozenset(("task", "input", "priority"))


def canonicalize_output(value: Any, path: str) -> Any:
    """A rendered value as the ledger can hold it. `path` is where it stands in the manifest. Raises DecisionFailed."""
    if measure_depth(value) > MAX_JSON_DEPTH:
        raise DecisionFailed("TooDeep", f"{path}: nests deeper than {MAX_JSON_DEPTH} levels; flatten it")
    refuse_zeros(value, f"{path}: ")
    try:
        return canonicalize(value)
    except OverflowError as error:
        raise DecisionFailed("NumberOutOfRange", f"{path}: {error}") from None


def read_starts(handler: str, items: Any, path: str) -> list[StartRequest]:
    """The tasks of a list of {task, input, priority}; `path` is where it stands. Raises DecisionFailed: BadList."""
    return [
        StartRequest(
            handler,
            str(item.get("task")),
            canonicalize_output(item.get("input"), path),
            _read_priority(item, path),
        )
        for item in _read_list(items, _START_MEMBERS, path)
    ]


def read_emits(items: Any, path: str) -> list[dict[str, Any]]:
    """The events of a list of {type, data, subject, to}; `path` is where it stands. Raises DecisionFailed: BadList."""
    return _read_list(items, _EMIT_MEMBERS, path)


def _read_priority(item: Mapping[str, Any], path: str) -> int | None:
    priority = item.get("priority")
    if priority is None or (type(priority) is int and abs(priority) <= MAX_PRIORITY):
        return priority
    message = f"{path}: priority is {dump_compact(priority)}, not a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}"
    raise DecisionFailed("BadList", message)


def _read_list(items: Any, known: frozenset[str], path: str) -> list[dict[str, Any]]:
    """A list of maps with known members only."""
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DecisionFailed("BadList", f"{path}: yields {json_kind(items)}, not a list of maps")
    for item in items:
        if unknown := set(item) - known:
            allowed = ", ".join(sorted(known))
            raise DecisionFailed("BadList", f'{path}: unknown member "{min(unknown)}"; known are {allowed}')
    return items


def measure_state(state: dict[str, Any]) -> int:
    """The bytes of a state. Raises DecisionFailed where they are too many, before a handler makes more of them."""
    size = len(dump_compact(state).encode())
    if size > MAX_STATE_BYTES:
        message = (
            f"the session's state would exceed {MAX_STATE_BYTES} bytes; remember references, not contents"
        )
        raise DecisionFailed("StateTooLarge", message)
    return size


def check_output_size(result: HandlerResult, items: Sequence[Any]) -> None:
    """Raise DecisionFailed once there is more than `outputs.check_size` could let pass.

    One item alone may be of any size here: what is wrong with it is said later, and better.
    """
    alone = not result.output_bytes and len(items) < 2
    result.output_bytes += sum(len(dump_compact(item)) for item in items)
    if result.output_bytes > MAX_DECISION_BYTES and not alone:
        message = f"what is to be started and emitted exceeds {MAX_DECISION_BYTES} bytes; pass references"
        raise DecisionFailed("DecisionTooLarge", message)


def end_session(result: HandlerResult) -> None:
    """Drop the session's state, and the tasks that were to start in it."""
    result.state, result.state_size, result.ended, result.starts = {}, 2, True, []
    result.cancels.clear()
