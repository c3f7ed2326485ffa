"""Reachability: the latest answer to a periodic request to the API server, for probes and logs."""

import logging
import time
from collections.abc import Mapping
from typing import Final

from heed.kube.client.client import ApiError

log = logging.getLogger("heed.election")
ANSWER_VALID_S: Final = 10.0  # seconds that an answer counts
LOG_INTERVAL_S: Final = 60.0  # seconds between two lines of the log about one cause
NO_ANSWER_MESSAGE: Final = "the API server does not answer: "


class Reachability:
    """Tracks one periodic request, described by `what`. `remedies` has advice by HTTP status of a refusal."""

    def __init__(self, what: str, remedies: Mapping[int, str] | None = None) -> None:
        self.error: ApiError | None = None
        self._what, self._remedies = what, remedies or {}
        self._since = time.monotonic()
        self._answered = False
        self._said: dict[str, float] = {}

    def note_success(self) -> None:
        """Note a success."""
        if self.error is not None and self.missing():
            log.info(f"{self._what} can be read")
        self._answered, self._since, self.error = True, time.monotonic(), None

    def note_failure(self, error: ApiError) -> None:
        """Note a failure or refusal, and log each cause once in LOG_INTERVAL_S."""
        self.error = error
        now = time.monotonic()
        self._said = {cause: at for cause, at in self._said.items() if now - at < LOG_INTERVAL_S}
        if str(error) not in self._said:
            self._said[str(error)] = now
            log.warning(f"cannot read {self._what}", extra={"error": self._with_remedy(error)})

    def missing(self) -> str | None:
        """The latest failure as a sentence, where there was no success within ANSWER_VALID_S; else None."""
        silence = time.monotonic() - self._since
        if self._answered and silence <= ANSWER_VALID_S:
            return None
        if self.error is None:
            return f"{self._what} has not been read {'lately' if self._answered else 'yet'}"
        if self.error.status:
            return f"cannot read {self._what}: {self._with_remedy(self.error)}"
        reason = self.error.message.removeprefix(NO_ANSWER_MESSAGE)
        return f"the API server has not answered for {silence:.0f} s: {reason}"

    def _with_remedy(self, error: ApiError) -> str:
        remedy = self._remedies.get(error.status)
        return f"{error}; {remedy}" if remedy else str(error)
