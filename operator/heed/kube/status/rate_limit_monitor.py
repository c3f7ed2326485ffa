"""Whether the rate limits of Agents hold events back, with hysteresis: one that is reached now and then is no news."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from heed.core.effects import AgentRef
from heed.engine.observer import Observer
from heed.util.clock import loop_time

HELD_AFTER_S: Final = 10.0  # seconds in which events are held back, until that is worth a condition
MAX_GAP_S: Final = 1.0  # seconds without a held event that do not interrupt these
FREE_AFTER_S: Final = 60.0  # seconds without a held event, until it is over


@dataclass(slots=True)
class RateLimitHistory:
    """When the limit of one Agent held events back. Times are monotonic, in seconds."""

    said: bool = False  # that it does
    since: float | None = None  # it has done so since then, with short gaps
    free_since: float | None = None  # it holds none now, since then

    def note(self, held: bool, now: float) -> None:
        """Note that events are held back, or that none is any more."""
        if not held:
            self.free_since = now if self.free_since is None else self.free_since
        elif self.since is None or (self.free_since is not None and now > self.free_since + MAX_GAP_S):
            self.since, self.free_since = now, None
        else:
            self.free_since = None

    def verdict(self, now: float) -> bool:
        """Whether to say that the limit holds events back."""
        if self.said:
            self.said = self.free_since is None or now < self.free_since + FREE_AFTER_S
        elif self.since is not None and self.free_since is None:
            self.said = now >= self.since + HELD_AFTER_S
        return self.said

    def next_look(self, now: float) -> float | None:
        """When the verdict may change by itself, or None."""
        if self.said:
            return None if self.free_since is None else self.free_since + FREE_AFTER_S
        return self.since + HELD_AFTER_S if self.since is not None and self.free_since is None else None


class RateLimitMonitor(Observer):
    """Follows the limits of all loops as their observer. Calls `changed` when a verdict changes.

    An Agent whose limit never held anything back costs nothing.
    """

    def __init__(self, changed: Callable[[AgentRef], None]) -> None:
        self._changed = changed
        self._histories: dict[AgentRef, RateLimitHistory] = {}
        self._timers: dict[AgentRef, asyncio.TimerHandle] = {}

    def begin(self, agent: AgentRef, *, said: bool) -> None:
        """Begin with what the Agent's status says; it stands until it is known to be over."""
        if said and agent not in self._histories:
            self._histories[agent] = RateLimitHistory(said=True, free_since=loop_time())
            self._look(agent)

    def verdict(self, agent: AgentRef) -> bool:
        """Whether the condition is to say that events are held back."""
        history = self._histories.get(agent)
        return history is not None and history.said

    def limited(self, agent: AgentRef, held: bool) -> None:
        """See Observer."""
        if held or agent in self._histories:
            self._histories.setdefault(agent, RateLimitHistory()).note(held, loop_time())
            self._look(agent)

    def forget(self, agent: AgentRef) -> None:
        """An Agent is gone."""
        self._histories.pop(agent, None)
        self._set_timer(agent, None)

    def close(self) -> None:
        """Forget all."""
        for agent in list(self._histories):
            self.forget(agent)

    def _look(self, agent: AgentRef) -> None:
        """Report a verdict that changed, and set the timer for the next one."""
        history, now = self._histories[agent], loop_time()
        before, said = history.said, history.verdict(now)
        if not said and history.free_since is not None and now > history.free_since + MAX_GAP_S:
            del self._histories[agent]
        self._set_timer(agent, history.next_look(now))
        if said != before:
            self._changed(agent)

    def _set_timer(self, agent: AgentRef, at: float | None) -> None:
        if (timer := self._timers.pop(agent, None)) is not None:
            timer.cancel()
        if at is not None:
            self._timers[agent] = asyncio.get_running_loop().call_at(at, self._look, agent)
