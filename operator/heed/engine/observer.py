"""Observers of a loop: logs, metrics, Kubernetes Events, the console of `heed dev`, tests. They change nothing."""

import logging
from collections.abc import Sequence

from heed.core.decision.decide import Decision
from heed.core.effects import AgentRef, Effect, TaskEnd
from heed.core.ledger.ledger import Ledger
from heed.core.tasks.losses import LOSSES

log = logging.getLogger("heed.agent")


class Observer:
    """Hooks that a loop calls, after the fact. They do nothing here: override those you need."""

    def resumed(self, agent: AgentRef, ledger: Ledger, owed: Sequence[Effect]) -> None:
        """The loop loaded its ledger and performs what it still owes."""

    def committed(self, agent: AgentRef, decisions: Sequence[Decision], ledger: Ledger) -> None:
        """Decisions are durable. None of them where only settled effects were written."""

    def measured(self, agent: AgentRef, decided: Sequence[float], commit: float, size: int) -> None:
        """What a commit took: seconds for each of its decisions and for the write; bytes of the object."""

    def performed(self, agent: AgentRef, effect: Effect) -> None:
        """An effect was made."""

    def reported(self, agent: AgentRef, end: TaskEnd) -> None:
        """A task's end was published to the Agent's inbox."""

    def limited(self, agent: AgentRef, held: bool) -> None:
        """The Agent's rate limit holds events back, or does not any more. Told of every loop, and of every change."""

    def troubled(self, agent: AgentRef, what: str, error: BaseException, delay: float) -> None:
        """Something failed and will be tried again after so many seconds."""


class Observers(Observer):
    """Several observers as one: each hook is called on one after the other, in their order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def resumed(self, agent: AgentRef, ledger: Ledger, owed: Sequence[Effect]) -> None:
        """See Observer."""
        for observer in self._observers:
            observer.resumed(agent, ledger, owed)

    def committed(self, agent: AgentRef, decisions: Sequence[Decision], ledger: Ledger) -> None:
        """See Observer."""
        for observer in self._observers:
            observer.committed(agent, decisions, ledger)

    def measured(self, agent: AgentRef, decided: Sequence[float], commit: float, size: int) -> None:
        """See Observer."""
        for observer in self._observers:
            observer.measured(agent, decided, commit, size)

    def performed(self, agent: AgentRef, effect: Effect) -> None:
        """See Observer."""
        for observer in self._observers:
            observer.performed(agent, effect)

    def reported(self, agent: AgentRef, end: TaskEnd) -> None:
        """See Observer."""
        for observer in self._observers:
            observer.reported(agent, end)

    def limited(self, agent: AgentRef, held: bool) -> None:
        """See Observer."""
        for observer in self._observers:
            observer.limited(agent, held)

    def troubled(self, agent: AgentRef, what: str, error: BaseException, delay: float) -> None:
        """See Observer."""
        for observer in self._observers:
            observer.troubled(agent, what, error, delay)


class LogObserver(Observer):
    """Writes one line per commit, per effect that people care about and per trouble."""

    def resumed(self, agent: AgentRef, ledger: Ledger, owed: Sequence[Effect]) -> None:
        """At info: from which sequence on, and how many effects are owed."""
        extra = {"agent": str(agent), "sequence": ledger.cursor.sequence, "owed": len(owed)}
        log.info("agent resumed", extra=extra)

    def committed(self, agent: AgentRef, decisions: Sequence[Decision], ledger: Ledger) -> None:
        """At warning each dead letter, at debug the commit."""
        for decision in decisions:
            if decision.letter is not None:
                extra = {
                    "agent": str(agent),
                    "sequence": decision.received.sequence,
                    "code": decision.letter.code,
                    "handler": decision.letter.handler,
                    "cause": decision.letter.message,
                }
                log.warning("event dead-lettered", extra=extra)
        extra = {"agent": str(agent), "events": len(decisions), "sequence": ledger.cursor.sequence}
        log.debug("ledger committed", extra=extra)

    def performed(self, agent: AgentRef, effect: Effect) -> None:
        """At debug."""
        log.debug(
            "effect made", extra={"agent": str(agent), "effect": type(effect).__name__, "id": effect.id}
        )

    def reported(self, agent: AgentRef, end: TaskEnd) -> None:
        """At info, and at warning where the task's work was lost."""
        extra = {"agent": str(agent), "task": end.task_id, "completed": end.completed, "reason": end.reason}
        log.log(logging.WARNING if end.reason in LOSSES else logging.INFO, "task ended", extra=extra)

    def troubled(self, agent: AgentRef, what: str, error: BaseException, delay: float) -> None:
        """At warning, with the error and the seconds until it is tried again."""
        extra = {
            "agent": str(agent),
            "what": what,
            "error": f"{type(error).__name__}: {error}",
            "retry_in": delay,
        }
        log.warning("trying again", extra=extra)
