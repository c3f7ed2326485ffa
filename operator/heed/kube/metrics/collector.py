"""The operator's metrics: counts what loops and the API client do.

What an Agent's ledger counts is not counted again: it is read from there when somebody asks (`exporter.py`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from heed.core.decision.decide import Decision
from heed.core.effects import AgentRef, Effect, TaskEnd
from heed.core.ledger.ledger import Ledger
from heed.engine.lag import Lag
from heed.engine.observer import Observer
from heed.engine.ports import StoredLedger
from heed.kube.metrics.instruments import Histogram, LabelledCounter

DECIDE_BUCKETS_S: Final = (
    1e-5,
    2.5e-5,
    5e-5,
    1e-4,
    2.5e-4,
    5e-4,
    1e-3,
    2.5e-3,
    0.01,
    0.05,
    0.25,
    1.0,
    2.5,
)  # seconds
REQUEST_BUCKETS_S: Final = (
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    15.0,
)  # seconds
COMPLETED_LABEL: Final = "Completed"
NO_ANSWER_LABEL: Final = "none"
_EFFECTS: Final = {"StartTask": "start", "CancelTask": "cancel", "Publish": "publish"}


@dataclass(frozen=True, slots=True)
class AgentSnapshot:
    """An Agent's state at one moment, for metrics.

    Its condition `Ready`, its loop's ledger and lag, where there is one, how many of its tasks do not get to run,
    whether its status is refused, whether it is suspended, and whether its rate limit holds events back.
    """

    agent: AgentRef
    ready: tuple[str, str]  # status, reason
    stored: StoredLedger | None
    lag: Lag | None
    stuck: int = 0
    refused: bool = False
    suspended: bool = False
    limited: bool = False


class OperatorMetrics(Observer):
    """The operator's metrics since the process started. For one event loop."""

    def __init__(self) -> None:
        self.decide = Histogram(DECIDE_BUCKETS_S)
        self.commit = Histogram(REQUEST_BUCKETS_S)
        self.written = 0  # bytes of Agents' objects
        self.effects = LabelledCounter("effect")
        for effect in _EFFECTS.values():
            self.effects.add(effect, count=0)
        self.ends = LabelledCounter("reason")
        self.letters = LabelledCounter("code")
        self.troubles = LabelledCounter("what", "error")
        self.requests = LabelledCounter("method", "code")
        self.answers: dict[str, Histogram] = {}

    def answered(self, method: str, status: int, seconds: float) -> None:
        """Count a request to the API server; status 0: no answer."""
        self.requests.add(method, str(status) if status else NO_ANSWER_LABEL)
        if (answers := self.answers.get(method)) is None:
            answers = self.answers[method] = Histogram(REQUEST_BUCKETS_S)
        answers.add((seconds,))

    def committed(self, agent: AgentRef, decisions: Sequence[Decision], ledger: Ledger) -> None:
        """See Observer."""
        for decision in decisions:
            if decision.letter is not None:
                self.letters.add(decision.letter.code)

    def measured(self, agent: AgentRef, decided: Sequence[float], commit: float, size: int) -> None:
        """See Observer."""
        self.decide.add(decided)
        self.commit.add((commit,))
        self.written += size

    def performed(self, agent: AgentRef, effect: Effect) -> None:
        """See Observer."""
        self.effects.add(_EFFECTS[type(effect).__name__])

    def reported(self, agent: AgentRef, end: TaskEnd) -> None:
        """See Observer."""
        self.ends.add(COMPLETED_LABEL if end.completed else end.reason or "Failed")

    def troubled(self, agent: AgentRef, what: str, error: BaseException, delay: float) -> None:
        """See Observer."""
        self.troubles.add(_label(what), type(error).__name__)


def _label(what: str) -> str:
    """A label value in snake case: `start over` is start_over, `StartTask` is start_task."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])| ", "_", what).lower()
