"""What is wrong with an Agent's loop, word by word: people see it in `kubectl describe`, and do what it says."""

import pytest

from heed.errors import (
    BusUnavailable,
    HeedError,
    LedgerConflict,
    LedgerUnavailable,
    ReaderLost,
    StreamMissing,
    StreamReplaced,
    TaskUnavailable,
)
from heed.kube.client.client import ApiError
from heed.kube.status.reasons import (
    Trouble,
    explain_effect_error,
    explain_loop_error,
    explain_stream_flaws,
    find_api_error,
    find_remedy,
)

WAITS = "events wait, and the Agent goes on by itself"
REPORT = "a mistake in Heed, please report it with the log"
RIGHTS = "give the operator the rights that its chart grants"
CRDS = "are the custom resource definitions those of this version?"
SMALLER = "end sessions, remember less in each, or give them a shorter idleTimeout"
QUOTA = "raise the quota, or wait until others' share of it is free"


def because(error: HeedError, cause: BaseException) -> HeedError:
    """The error, raised because of the cause."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (StreamMissing("no stream"), "StreamMissing", "no stream"),
        (StreamReplaced("another"), "StreamReplaced", "another"),
        (BusUnavailable("no answer"), "BrokerUnavailable", f"no answer; {WAITS}"),
        (ReaderLost("a gap"), "BrokerUnavailable", f"a gap; {WAITS}"),
        (
            LedgerConflict("written"),
            "LedgerContended",
            "someone else writes the status all the time: written; is a second operator at work on this namespace?",
        ),
        (TaskUnavailable("down"), "JobsUnavailable", "the Jobs of the Agent cannot be listed: down"),
        (
            because(TaskUnavailable("403: no"), ApiError(403, "no")),
            "JobsUnavailable",
            f"the Jobs of the Agent cannot be listed: 403: no; {RIGHTS}",
        ),
        (HeedError("odd"), "LoopFailed", "HeedError: odd"),
        (KeyError("x"), "LoopFailed", f"KeyError: 'x'; {REPORT}"),
    ],
)
def test_the_trouble_of_a_loop_says_what_to_do(error: BaseException, reason: str, message: str) -> None:
    assert explain_loop_error(error) == Trouble(reason, message)


@pytest.mark.parametrize(
    ("refusal", "reason", "message"),
    [
        (None, "LedgerUnavailable", "E; the Agent goes on by itself"),
        (ApiError(0, "too large a delay"), "LedgerUnavailable", "E; the Agent goes on by itself"),
        (ApiError(429, "busy"), "LedgerUnavailable", "E; the Agent goes on by itself"),
        (ApiError(499, "gone"), "LedgerRefused", "the API server refuses the status: E"),
        (ApiError(500, "down"), "LedgerUnavailable", "E; the Agent goes on by itself"),
        (ApiError(422, "bad"), "LedgerRefused", f"the API server refuses the status: E; {CRDS}"),
        *(
            (
                refusal,
                "LedgerTooLarge",
                f"the status is more than the API server takes: E; {SMALLER}",
            )
            for refusal in (
                ApiError(413, "no"),
                ApiError(500, "etcdserver: request is Too Large"),
                ApiError(500, "rpc error: trying to send Message larger than max"),
            )
        ),
    ],
)
def test_a_status_that_is_not_taken_has_a_remedy_by_its_refusal(
    refusal: ApiError | None, reason: str, message: str
) -> None:
    error = LedgerUnavailable("E")
    error.__cause__ = refusal

    assert explain_loop_error(error) == Trouble(reason, message)


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("StartTask", "tasks cannot be started"),
        ("CancelTask", "tasks cannot be cancelled"),
        ("Publish", "events cannot be published"),
        ("TaskEnd", "task ends cannot be published"),
    ],
)
def test_an_effect_that_is_stuck_is_named(what: str, problem: str) -> None:
    later = "it is tried again until it works"

    assert explain_effect_error(what, TaskUnavailable("no")) == Trouble(
        "EffectsStuck", f"{problem}: no; {later}"
    )
    assert explain_effect_error(what, TimeoutError()).message == f"{problem}: TimeoutError(); {later}"


def test_streams_that_are_unsafe_are_all_named() -> None:
    assert explain_stream_flaws([]) is None
    assert explain_stream_flaws(["one", "two"]) == Trouble(
        "StreamUnsafe", "events get lost, or are refused, unseen: one; two"
    )


@pytest.mark.parametrize(
    ("refusal", "remedy"),
    [
        (ApiError(403, "exceeded quota: small"), QUOTA),
        (
            ApiError(403, 'admission webhook "w" denied the request: no'),
            'change admission webhook "w", or exempt the operator\'s service account from it',
        ),
        (ApiError(401, "no"), "the operator's token is not accepted: is its service account still there?"),
        (ApiError(403, "no"), RIGHTS),
        (ApiError(422, "no"), CRDS),
        (ApiError(404, "no"), None),
    ],
)
def test_a_refusal_has_the_remedy_of_who_refused(refusal: ApiError, remedy: str | None) -> None:
    assert find_remedy(refusal) == remedy


def test_only_the_answer_of_the_api_server_is_a_refusal() -> None:
    refusal = ApiError(403, "no")

    assert find_api_error(because(LedgerUnavailable("E"), refusal)) is refusal
    assert find_api_error(because(LedgerUnavailable("E"), OSError())) is None
