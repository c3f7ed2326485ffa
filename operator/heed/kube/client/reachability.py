"""What the API server last said to a question that is asked every few seconds: for the probe, and for the log."""

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
    """The answers to one question, `what`. `remedies` say what helps against a refusal, by its HTTP status."""

    def __init__(self, what: str, remedies: Mapping[int, str] | None = None) -> None:
        self.error: ApiError | None = None
        self._what, self._remedies = what, remedies or {}
        self._since = time.monotonic()
        self._answered = False
        self._said: dict[str, float] = {}

    def answered(self) -> None:
        """The question was answered."""
        if self.error is not None and self.missing():
            log.info(f"{self._what} can be read")
        self._answered, self._since, self.error = True, time.monotonic(), None

    def failed(self, error: ApiError) -> None:
        """It was not, or with a refusal. Says so in the log, each cause once a minute."""
        self.error = error
        now = time.monotonic()
        self._said = {cause: at for cause, at in self._said.items() if now - at < LOG_INTERVAL_S}
        if str(error) not in self._said:
            self._said[str(error)] = now
            log.warning(f"cannot read {self._what}", extra={"error": self._with_remedy(error)})

    def missing(self) -> str | None:
        """What is wrong, in plain words, where there was no good answer lately."""
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
