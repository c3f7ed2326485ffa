"""The tree of Heed's errors; each says what to do next.

HeedError
├── InvalidManifest       a manifest with problems, each with path and remedy
│   └── PolicyViolation   nothing is wrong with it but that policies or grants do not allow it
├── InvalidSettings       a setting or option that cannot be used
├── MalformedEvent        a message that is not an event Heed can take
├── DecisionFailed        an event that could not be decided: it becomes a dead letter
├── GuardUnavailable      a costly decision could not be made now: try again
├── CodeUnavailable       the code of an Agent could not be asked now, or is too old for the state: wait for it
├── LedgerConflict        someone else wrote the ledger: reload it
├── LedgerGone            the Agent is gone, or is another one of the same name
├── LedgerUnavailable     the ledger's home did not answer
├── ReaderLost            a gap or a lost consumer: read again from the cursor
├── BusUnavailable        the broker did not answer or did not take a message
├── StreamConflict        a stream exists with a configuration Heed cannot use
├── StreamMissing         there is no such stream: it will be made, or has to be
├── StreamReplaced        the stream is not the one that the cursor belongs to
├── TaskRefused           a task that can never be started as it is: it fails
└── TaskUnavailable       a task could not be started now: try again
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

INVALID: Final = "Invalid"
POLICY_VIOLATION: Final = "PolicyViolation"
NOT_GRANTED: Final = "NotGranted"


class HeedError(Exception):
    """Base of all errors that Heed raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a manifest: where (`spec.handlers[2].when`), what, and what to do about it.

    `reason` is Invalid, or, where the manifest is right and not allowed, PolicyViolation or NotGranted.
    """

    path: str
    message: str
    remedy: str = ""
    reason: str = INVALID

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" + (f"; {self.remedy}" if self.remedy else "")


class InvalidManifest(HeedError):
    """A manifest that cannot be run, with every problem found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)

    @property
    def reason(self) -> str:
        """The gravest reason of its problems: Invalid, PolicyViolation, NotGranted."""
        found = {problem.reason for problem in self.problems}
        return next(
            (reason for reason in (INVALID, POLICY_VIOLATION, NOT_GRANTED) if reason in found), INVALID
        )


class PolicyViolation(InvalidManifest):
    """A manifest that policies, or missing grants, do not allow; there is nothing else wrong with it."""


def manifest_error(problems: Sequence[Problem]) -> InvalidManifest:
    """The error for these problems: PolicyViolation where no other is among them."""
    error = InvalidManifest(problems)
    return error if error.reason == INVALID else PolicyViolation(problems)


class InvalidSettings(HeedError):
    """A setting or an option that cannot be used."""


class MalformedEvent(HeedError):
    """A message that is not an event Heed can take."""


class DecisionFailed(HeedError):
    """An event that could not be decided. `code` is for machines, `handler` is None outside handlers."""

    def __init__(self, code: str, message: str, handler: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.handler = code, message, handler


class GuardUnavailable(HeedError):
    """No sandboxed worker is available for a costly decision now; the event stays undecided."""


class CodeUnavailable(HeedError):
    """An Agent's code could not be asked now, or is older than the state it would work on: the event waits."""


class AnswerLate(HeedError):
    """An answer of an Agent's code is still on its way: ask for it again, once what was decided before is committed."""


class LedgerConflict(HeedError):
    """The compare-and-swap failed: the object that holds the ledger was written by someone else since it was read."""


class LedgerGone(HeedError):
    """The Agent that owns this ledger is gone, or another Agent has its name now."""


class LedgerUnavailable(HeedError):
    """The ledger store could not be read or written now. A write may have happened nevertheless."""


class ReaderLost(HeedError):
    """The reader has a gap or lost its consumer; what it has not returned yet is read again from the cursor.

    `gone` is how many events the stream dropped for certain before they were read.
    """

    def __init__(self, message: str, gone: int = 0) -> None:
        super().__init__(message)
        self.gone = gone


class BusUnavailable(HeedError):
    """The broker did not answer or did not acknowledge. A message may have been stored nevertheless."""


class StreamConflict(HeedError):
    """A stream exists whose configuration Heed cannot work with."""


class StreamMissing(HeedError):
    """The broker answers and has no such stream."""


class StreamReplaced(HeedError):
    """The stream was recreated, or restored to before the cursor: going on would skip or repeat events."""


class TaskRefused(HeedError):
    """A task that can never be started as it is. `reason` is CamelCase for machines."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


class TaskUnavailable(HeedError):
    """A task could not be started or cancelled now; trying again may help."""
