"""Reasons and messages of the condition `Ready` for errors of an Agent's loop, with what to do. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from heed.errors import (
    BusUnavailable,
    CodeUnavailable,
    HeedError,
    LedgerConflict,
    LedgerUnavailable,
    ReaderLost,
    StreamMissing,
    StreamReplaced,
    TaskUnavailable,
)
from heed.kube.client.client import ApiError
from heed.kube.client.refusals import find_denial, is_quota

START_OVER: Final = "start over"  # how a loop calls trouble of its own; other trouble is that of an effect
EFFECT_PHRASES: Final = {
    "StartTask": "tasks cannot be started",
    "CancelTask": "tasks cannot be cancelled",
    "Publish": "events cannot be published",
}
ENDS_PHRASE: Final = "task ends cannot be published"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why an Agent makes no progress. `reason` is CamelCase for machines."""

    reason: str
    message: str


def explain_loop_error(error: BaseException) -> Trouble:
    """The trouble of a loop that restarts repeatedly because of `error`."""
    match error:
        case CodeUnavailable():
            remedy = (
                "its events wait; start a worker of this code, or apply the manifest of the code that runs"
            )
            return Trouble("CodeUnavailable", f"{error}; {remedy}")
        case StreamMissing():
            return Trouble("StreamMissing", str(error))
        case StreamReplaced():
            return Trouble("StreamReplaced", str(error))
        case BusUnavailable() | ReaderLost():
            return Trouble("BrokerUnavailable", f"{error}; events wait, and the Agent goes on by itself")
        case LedgerConflict():
            remedy = "is a second operator at work on this namespace?"
            return Trouble(
                "LedgerContended", f"someone else writes the status all the time: {error}; {remedy}"
            )
        case LedgerUnavailable():
            return _trouble_of_ledger(error)
        case TaskUnavailable():
            return Trouble(
                "JobsUnavailable", f"the Jobs of the Agent cannot be listed: {_with_remedy(error)}"
            )
        case HeedError():
            return Trouble("LoopFailed", f"{type(error).__name__}: {error}")
    return Trouble(
        "LoopFailed", f"{type(error).__name__}: {error}; a mistake in Heed, please report it with the log"
    )


def explain_stream_flaws(wrong: Sequence[object]) -> Trouble | None:
    """The trouble of streams that lose or refuse events, with their flaws. Loops go on meanwhile."""
    if not wrong:
        return None
    return Trouble("StreamUnsafe", f"events get lost, or are refused, unseen: {'; '.join(map(str, wrong))}")


def explain_effect_error(what: str, error: BaseException) -> Trouble:
    """The trouble of effects that cannot be made because of `error`; the rest of the Agent goes on."""
    problem = EFFECT_PHRASES.get(what, ENDS_PHRASE)
    return Trouble("EffectsStuck", f"{problem}: {_with_remedy(error)}; it is tried again until it works")


def _trouble_of_ledger(error: LedgerUnavailable) -> Trouble:
    refusal = find_api_error(error)
    if refusal is None or refusal.status in (0, 429):
        return Trouble("LedgerUnavailable", f"{error}; the Agent goes on by itself")
    if _is_too_large(refusal):
        remedy = "end sessions, remember less in each, or give them a shorter idleTimeout"
        return Trouble("LedgerTooLarge", f"the status is more than the API server takes: {error}; {remedy}")
    if refusal.status >= 500:
        return Trouble("LedgerUnavailable", f"{error}; the Agent goes on by itself")
    return Trouble("LedgerRefused", f"the API server refuses the status: {_with_remedy(error)}")


def find_api_error(error: BaseException) -> ApiError | None:
    """The ApiError behind an error, if any."""
    return error.__cause__ if isinstance(error.__cause__, ApiError) else None


def _is_too_large(refusal: ApiError) -> bool:
    """Whether the object is too large.

    The limit of etcd comes back as 500: `etcdserver: request is too large`, or gRPC's `message larger than max`.
    """
    text = refusal.message.lower()
    return refusal.status == 413 or "too large" in text or "larger than max" in text


def _with_remedy(error: BaseException) -> str:
    refusal = find_api_error(error)
    if refusal is not None and (remedy := find_remedy(refusal)):
        return f"{error}; {remedy}"
    return str(error) or repr(error)


def find_remedy(refusal: ApiError) -> str | None:
    """The remedy for a refusal of the API server, where known."""
    if is_quota(refusal):
        return "raise the quota, or wait until others' share of it is free"
    if (refuser := find_denial(refusal)) is not None:
        return f"change {refuser}, or exempt the operator's service account from it"
    match refusal.status:
        case 401:
            return "the operator's token is not accepted: is its service account still there?"
        case 403:
            return "give the operator the rights that its chart grants"
        case 422:
            return "are the custom resource definitions those of this version?"
    return None
