"""The health of Agents' loops: which ones have failed for longer than a threshold.

Nothing is asked and nothing polled: an Agent that does well costs nothing here, and one in trouble a timer.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from heed.core.decision.decide import Decision
from heed.core.effects import AgentRef, Effect, TaskEnd
from heed.core.ledger.ledger import Ledger, list_owed_effects
from heed.engine.observer import Observer
from heed.kube.status.reasons import (
    EFFECT_PHRASES,
    START_OVER,
    Trouble,
    explain_effect_error,
    explain_loop_error,
)
from heed.util.clock import loop_time


@dataclass(frozen=True, slots=True)
class HealthThresholds:
    """Thresholds in seconds. `loop`: until a restarting loop counts as in trouble, or a running one as recovered."""

    loop: float = 10.0
    effects: float = 30.0  # until effects of a kind of which none could be made are stuck
    between: float = 10.0  # two writes of an Agent's condition
    pods: float = 60.0  # until a task none of whose pods runs is overdue


class Undecided:
    """Too early to decide: the last verdict stands."""


UNDECIDED: Final = Undecided()
Verdict = Trouble | Undecided | None  # None: all is well


@dataclass(slots=True)
class LoopHealth:
    """The health of one loop. Times are monotonic, in seconds."""

    patience: HealthThresholds
    _since: float | None = None  # the loop has shown no success since then
    _trouble: Trouble | None = None  # why it started over last
    _resumed: float | None = None  # it has been going on since then
    _stuck: dict[str, tuple[float, Trouble]] = field(
        default_factory=dict
    )  # kinds of effects: since when, why

    @property
    def is_well(self) -> bool:
        """Whether it has no trouble to track."""
        return self._since is None and not self._stuck

    def began(self, now: float) -> None:
        """Note a new loop, which is undecided unless the one before was in trouble."""
        if self._since is None:
            self._since, self._trouble = now, None
        self._resumed = None

    def troubled(self, what: str, error: BaseException, now: float) -> None:
        """The loop, or an effect, failed."""
        if what == START_OVER:
            self._since = now if self._since is None else self._since
            self._trouble, self._resumed = explain_loop_error(error), None
        else:
            since = self._stuck[what][0] if what in self._stuck else now
            self._stuck[what] = (since, explain_effect_error(what, error))

    def resumed(self, owed: Collection[str], now: float) -> None:
        """Note that the loop has ledger and reader. `owed`: the kinds of effects it owes."""
        if self._since is not None:
            self._resumed = now
        self._stuck = {what: stuck for what, stuck in self._stuck.items() if what in owed}

    def committed(self) -> None:
        """Note a commit."""
        self._since = self._trouble = self._resumed = None

    def owes(self, kinds: Collection[str]) -> None:
        """Note the kinds of effects still owed; other kinds, but not task ends, are not stuck any more."""
        self._stuck = {
            what: stuck for what, stuck in self._stuck.items() if what in kinds or what not in EFFECT_PHRASES
        }

    def made(self, what: str) -> None:
        """Note an effect that was made."""
        self._stuck.pop(what, None)

    def told_end(self) -> None:
        """A task's end was published."""
        self._stuck = {what: stuck for what, stuck in self._stuck.items() if what in EFFECT_PHRASES}

    def verdict(self, now: float) -> Verdict:
        """The verdict now."""
        if self._since is not None and self._resumed is not None:
            if now < self._resumed + self.patience.loop:
                return UNDECIDED
            self.committed()
        if self._since is not None:
            lasts = now >= self._since + self.patience.loop
            return self._trouble if self._trouble is not None and lasts else UNDECIDED
        since, trouble = min(self._stuck.values(), key=_oldest, default=(now, None))
        return trouble if now >= since + self.patience.effects else None

    def next_look(self, now: float) -> float | None:
        """When the verdict may change by itself, or None."""
        times = [since + self.patience.effects for since, _ in self._stuck.values()]
        if self._since is not None:
            times.append((self._since if self._resumed is None else self._resumed) + self.patience.loop)
        return min((time for time in times if time > now), default=None)


class LoopHealthMonitor(Observer):
    """Tracks the health of all loops as their observer. Calls `changed` when a verdict may have changed."""

    def __init__(self, changed: Callable[[AgentRef], None], patience: HealthThresholds | None = None) -> None:
        self._changed, self._patience = changed, patience or HealthThresholds()
        self._common: Trouble | None = None
        self._loops: dict[AgentRef, LoopHealth] = {}
        self._timers: dict[AgentRef, asyncio.TimerHandle] = {}

    def verdict(self, agent: AgentRef) -> Verdict:
        """The verdict on an Agent now."""
        health = self._loops.get(agent)
        verdict = health.verdict(loop_time()) if health is not None else None
        return verdict if self._common is None or isinstance(verdict, Trouble) else self._common

    def set_shared_trouble(self, trouble: Trouble | None) -> bool:
        """Set the trouble that all Agents share, unless they have their own. Returns whether it changed."""
        news, self._common = trouble != self._common, trouble
        return news

    def began(self, agent: AgentRef) -> None:
        """A loop begins."""
        self._loops.setdefault(agent, LoopHealth(self._patience)).began(loop_time())
        self._look(agent)

    def forget(self, agent: AgentRef) -> None:
        """An Agent is gone."""
        self._loops.pop(agent, None)
        self._set_timer(agent, None)

    def close(self) -> None:
        """Forget all."""
        for agent in list(self._loops):
            self.forget(agent)

    def resumed(self, agent: AgentRef, ledger: Ledger, owed: Sequence[Effect]) -> None:
        """See Observer."""
        if (health := self._loops.get(agent)) is not None:
            health.resumed({type(effect).__name__ for effect in owed}, loop_time())
            self._look(agent)

    def committed(self, agent: AgentRef, decisions: Sequence[Decision], ledger: Ledger) -> None:
        """See Observer."""
        if (health := self._loops.get(agent)) is not None:
            health.committed()
            if not health.is_well:
                health.owes({type(effect).__name__ for effect in list_owed_effects(ledger)})
            self._look(agent)

    def performed(self, agent: AgentRef, effect: Effect) -> None:
        """See Observer."""
        if (health := self._loops.get(agent)) is not None:
            health.made(type(effect).__name__)
            self._look(agent)

    def reported(self, agent: AgentRef, end: TaskEnd) -> None:
        """See Observer."""
        if (health := self._loops.get(agent)) is not None:
            health.told_end()
            self._look(agent)

    def troubled(self, agent: AgentRef, what: str, error: BaseException, delay: float) -> None:
        """See Observer."""
        self._loops.setdefault(agent, LoopHealth(self._patience)).troubled(what, error, loop_time())
        self._look(agent)

    def _look(self, agent: AgentRef) -> None:
        """Report the verdict, and set the timer for the next one."""
        health, now = self._loops[agent], loop_time()
        verdict = self.verdict(agent)
        if health.is_well:
            del self._loops[agent]
        self._set_timer(agent, health.next_look(now))
        if not isinstance(verdict, Undecided):
            self._changed(agent)

    def _set_timer(self, agent: AgentRef, at: float | None) -> None:
        timer = self._timers.get(agent)
        if timer is not None and timer.when() != at:
            timer.cancel()
            del self._timers[agent]
        if at is not None and agent not in self._timers:
            self._timers[agent] = asyncio.get_running_loop().call_at(at, self._ring, agent)

    def _ring(self, agent: AgentRef) -> None:
        del self._timers[agent]
        self._look(agent)


def _oldest(stuck: tuple[float, Trouble]) -> float:
    return stuck[0]
