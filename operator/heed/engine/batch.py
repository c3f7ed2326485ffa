"""A batch: the decisions that one commit makes durable."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from heed.core.decision.decide import Decision
from heed.core.effects import Effect, StartTask
from heed.core.ledger.ledger import Ledger, owes_start
from heed.engine.rate_limit import CommitRate

_LET_GO: Final = Ledger()


@dataclass(slots=True)
class DecisionBatch:
    """Decisions, each on the ledger of the one before. `growth` estimates the bytes they add; `closed`: it is full.

    Of the ledgers that they made only the last one is kept: each has a part of its own, in memory for nothing.
    `took` has the seconds of every look at an event.
    """

    ledger: Ledger
    decisions: list[Decision] = field(default_factory=list)
    growth: int = 0
    closed: bool = False
    took: list[float] = field(default_factory=list)

    def add(self, decision: Decision) -> None:
        """Add a decision made on this batch's ledger."""
        self.ledger, decision.ledger = decision.ledger, _LET_GO
        self.decisions.append(decision)
        self.growth += decision.growth

    def is_full(self, pace: CommitRate) -> bool:
        """Whether it must be committed before the next decision."""
        return self.closed or len(self.decisions) >= pace.batch or self.growth >= pace.growth


def effects_still_owed(ledger: Ledger, decisions: Sequence[Decision]) -> Iterator[Effect]:
    """The effects of a batch, without starts that the ledger does not owe, or that a later decision of it ended."""
    for decision in decisions:
        for effect in decision.effects:
            if not isinstance(effect, StartTask) or owes_start(ledger, effect):
                yield effect
