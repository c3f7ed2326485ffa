"""Failures of calls, and which may be followed by another attempt. No message quotes a header, path or query."""

from dataclasses import dataclass
from typing import Any, Final

HTTP_STATUS: Final = "HttpStatus"  # the service answered, with a status that is not expected
HTTP_TIMEOUT: Final = "HttpTimeout"  # no connection, no answer, or no whole answer in time
HTTP_UNREACHABLE: Final = "HttpUnreachable"  # no connection: nothing was sent
HTTP_ANSWER_LOST: Final = (
    "HttpAnswerLost"  # the request may have been served, and nobody knows what came of it
)
HTTP_REFUSED_ADDRESS: Final = "HttpRefusedAddress"  # Heed sends nothing there
HTTP_TOO_LARGE: Final = "HttpTooLarge"
HTTP_INVALID_RESPONSE: Final = "HttpInvalidResponse"  # an answer that is not what it says it is
INVALID_REQUEST: Final = "InvalidRequest"  # what the templates made is no request
EXPRESSION_FAILED: Final = "ExpressionFailed"  # `result.reduce` cannot be evaluated on this answer
SECRET_MISSING: Final = "SecretMissing"  # a Secret or a key of it is not there, or is empty

PASSING_STATUSES: Final = frozenset(
    (408, 425, 429, 503)
)  # the service says that it has not served the request
MAX_MESSAGE_CHARS: Final = 1000
MAX_RETRY_AFTER_S: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class CallFailed(Exception):
    """A call that failed. `retryable` says whether another attempt is safe and may end otherwise.

    `lost`: the request may have been served, and there is no answer that says so. `retry_after` are seconds that the
    service wants to be left alone for.
    """

    reason: str
    message: str
    retryable: bool = False
    lost: bool = False
    retry_after: float = 0.0

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"

    def dump(self) -> dict[str, Any]:
        """The end of a task, as a worker says it."""
        end: dict[str, Any] = {
            "completed": False,
            "reason": self.reason,
            "message": self.message[:MAX_MESSAGE_CHARS],
        }
        if not self.retryable:
            end["retryable"] = False
        elif self.retry_after > 0:
            end["retryAfter"] = self.retry_after
        return end
