"""The real operator with doors around its ports, which can kill it: SIGKILL at the n-th passing of a named point.

    HEED_DIE="after commit:3:2.5"   at this point, at the third passing of it from 2.5 seconds of life on
    HEED_BROKEN="tick-twice"        with the rule broken that storm_mutants.py calls so
    HEED_PASSED=<file>              one line for each commit, and one for the death: the time in seconds, and what

It is `heed operator` but for that: the doors are put around the real classes from outside, before they are used. Run
it as `python -m tests.faults.doomed_operator`.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from heed.bus import code_workers, work_queue
from heed.bus.client import connection, streams
from heed.bus.jetstream import JetStreamBus
from heed.core.ledger.ledger import list_owed_effects
from heed.kube import manager
from heed.kube.approvals.answer_desk import AnswerDesk
from heed.kube.controller.agents import AgentController
from heed.kube.jobs.runner import JobRunner
from heed.kube.resources.runner import ResourceRunner
from heed.kube.status.ledger_store import StatusLedgerStore
from heed.logging import configure_logging
from heed.settings import Settings
from tests.faults.storm_mutants import MUTANTS

CALLS = ("load", "open", "resume", "commit", "start", "cancel", "emit", "letter", "end", "verdict")
STARTING = ("connected", "streams ensured", "agent seen")
RECOVERING = "recovering"
POINTS = (*STARTING, RECOVERING, *(f"{when} {call}" for call in CALLS for when in ("before", "after")))

SWEEP_EVERY = 10.0  # seconds, where the product takes minutes: a storm is over before they are
ANSWER_TIMEOUT_S = 1.0  # where the product waits for half a minute, as for the silence of who has work
ACK_WAIT_S = 4

Call = Callable[..., Awaitable[Any]]
_caller: contextvars.ContextVar[asyncio.Task[Any] | None] = contextvars.ContextVar("caller", default=None)


class Doors:
    """Counts what is passed, and kills at the point it was told of: at the n-th passing from so many seconds on."""

    def __init__(
        self, point: str, times: int, after: float, passed: int | None, points: Sequence[str] = POINTS
    ) -> None:
        if point and point not in points:
            raise SystemExit(f"HEED_DIE: no point {point!r}; there are: {', '.join(points)}")
        self._point, self._left, self._passed = point, times, passed
        self._armed_at = time.monotonic() + after

    @classmethod
    def from_environment(cls, points: Sequence[str] = POINTS) -> Doors:
        """As HEED_DIE and HEED_PASSED say."""
        point, times, after = (os.environ.get("HEED_DIE") or ":1:0").split(":")
        path = os.environ.get("HEED_PASSED")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return cls(point, int(times), float(after), os.open(path, flags) if path else None, points)

    def at(self, point: str) -> None:
        """Pass a point, or die there."""
        if point == "after commit":
            self._note(point)
        if point == self._point and time.monotonic() >= self._armed_at:
            self._left -= 1
            if not self._left:
                self._note(f"died {point}")
                os.kill(os.getpid(), signal.SIGKILL)

    def _note(self, what: str) -> None:
        if self._passed is not None:
            os.write(self._passed, f"{time.time():.6f} {what}\n".encode())  # one write: never half a line


def enclose(owner: type, method: str, door: Callable[[tuple[Any, ...]], str], doors: Doors) -> None:
    """Put a door before and after a method. What a port's call does by another call of it is no call of its own."""
    original: Call = getattr(owner, method)

    @functools.wraps(original)
    async def enclosed(*args: Any, **kwargs: Any) -> Any:
        if _caller.get() is asyncio.current_task():  # not only set: a task begun by a call inherits it
            return await original(*args, **kwargs)
        name = door(args)
        doors.at(f"before {name}")
        token = _caller.set(asyncio.current_task())
        try:
            answer = await original(*args, **kwargs)
        finally:
            _caller.reset(token)
        doors.at(f"after {name}")
        if name == "load" and list_owed_effects(answer.ledger):
            doors.at(RECOVERING)
        return answer

    setattr(owner, method, enclosed)


def follow(function: Callable[..., Any], replacement: Callable[..., Any]) -> None:
    """Replace a function wherever a module of Heed has imported it by name."""
    homes = [module for name, module in sys.modules.items() if name.split(".")[0] == "heed"]
    for home in homes:
        if getattr(home, function.__name__, None) is function:
            setattr(home, function.__name__, replacement)


def then(function: Call, doors: Doors, point: str) -> Call:
    """The function, and a point that is passed when it is done."""

    @functools.wraps(function)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        answer = await function(*args, **kwargs)
        doors.at(point)
        return answer

    return wrapped


def build(doors: Doors) -> None:
    """All doors there are."""
    enclose(StatusLedgerStore, "load", lambda _: "load", doors)
    enclose(StatusLedgerStore, "commit", lambda _: "commit", doors)
    enclose(JetStreamBus, "open", lambda _: "open", doors)
    enclose(JetStreamBus, "publish", lambda _: "end", doors)
    enclose(JetStreamBus, "publish_owed", lambda args: "letter" if args[2].letter else "emit", doors)
    enclose(AnswerDesk, "_write", lambda _: "verdict", doors)
    for runner in (JobRunner, ResourceRunner):
        enclose(runner, "start", lambda _: "start", doors)
        enclose(runner, "cancel", lambda _: "cancel", doors)
        enclose(runner, "resume", lambda _: "resume", doors)
    follow(connection.connect, then(connection.connect, doors, "connected"))
    follow(streams.ensure_streams, then(streams.ensure_streams, doors, "streams ensured"))
    observe = AgentController.observe

    def observed(*args: Any, **kwargs: Any) -> None:
        observe(*args, **kwargs)
        doors.at("agent seen")

    AgentController.observe = observed  # type: ignore[method-assign]
    shorten_waits()


def shorten_waits() -> None:
    """Wait for less time than in production, where a storm would be over before the wait is."""
    assert manager.SWEEP_INTERVAL_S > SWEEP_EVERY
    manager.SWEEP_INTERVAL_S = SWEEP_EVERY
    assert work_queue.ACK_WAIT_S > ACK_WAIT_S
    work_queue.ACK_WAIT_S = ACK_WAIT_S  # type: ignore[misc]
    assert code_workers.ANSWER_TIMEOUT_S > ANSWER_TIMEOUT_S
    ask = functools.partial(code_workers.NatsCodeWorkers, timeout=ANSWER_TIMEOUT_S)
    manager.NatsCodeWorkers = ask  # type: ignore[assignment,attr-defined]


def main() -> None:
    """Be the operator."""
    settings = Settings.from_environment()
    configure_logging("text", settings.log_level)
    if name := os.environ.get("HEED_BROKEN"):
        MUTANTS[name]()
    build(Doors.from_environment())
    asyncio.run(manager.run_operator(settings))


if __name__ == "__main__":
    main()
