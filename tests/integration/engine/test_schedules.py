"""Any events, any faults between them, in any order: the ledger is the fold, and every effect was made exactly once."""

import asyncio
import math
import os
import random
import time
from uuid import uuid4

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from heed.engine import effect_executor, loop
from heed.errors import (
    BusUnavailable,
    HeedError,
    LedgerConflict,
    LedgerUnavailable,
    ReaderLost,
    TaskUnavailable,
)
from heed.util.backoff import Backoff
from tests.integration.engine.points import POINTS, Doors
from tests.integration.engine.world import AGENT, Life, World, connected, world_on
from tests.integration.waiting import until
from tests.nats_server import NatsServer

BUDGET = float(os.environ.get("HEED_SCHEDULES", "15"))  # seconds
EXAMPLES = int(BUDGET * 10)
ERRORS: list[Exception] = [
    BusUnavailable("away"),
    LedgerUnavailable("away"),
    LedgerConflict("written"),
    TaskUnavailable("away"),
    ReaderLost("gap"),
    OSError("away"),
    KeyError("a mistake"),
]
Step = tuple[str, ...]

_sessions = st.sampled_from(["a", "b", "c"])
_events = st.tuples(
    st.just("send"),
    st.sampled_from(["ask", "ask", "both", "both", "note", "stop", "over", "break", "none"]),
    _sessions,
    st.sampled_from(["run", "finish", "refuse"]),
)
_points = st.sampled_from([*POINTS, "before load", "before open", "before resume"])
_faults = st.one_of(
    st.tuples(st.just("fail"), _points, st.integers(0, len(ERRORS) - 1).map(str)),
    st.tuples(st.just("die"), _points),
    st.just(("write",)),
    st.just(("stop",)),
)
_others = st.one_of(
    st.just(("finish",)), st.just(("fake",)), st.just(("again",)), st.just(("resync",)), st.just(("wait",))
)
STEPS = st.lists(st.one_of(_events, _events, _events, _faults, _faults, _others), min_size=5, max_size=30)


class Story:
    """Plays the steps on a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.life: Life

    async def play(self, steps: list[Step]) -> None:
        """All steps, one after the other, while the loop does what it does; then the outcome is checked."""
        self.life = await self.world.live()
        for kind, *arguments in steps:
            if self.life.doors.dead.is_set():
                await self._reborn()
            await getattr(self, f"_{kind}")(*arguments)
        await self._reborn()
        await self.world.check()

    async def _reborn(self) -> None:
        await self.life.end()
        self.life = await self.world.live(Doors())

    async def _send(self, kind: str, session: str, wish: str) -> None:
        await self.world.send(kind, session, {} if wish == "run" else {wish: 1})

    async def _again(self) -> None:
        await self.world.send("note", "a", id="the same")

    async def _fail(self, point: str, error: str) -> None:
        self.life.doors.fail_next(point, ERRORS[int(error)])

    async def _die(self, point: str) -> None:
        self.life.doors.die(point, self.life.doors.count(point) + 1)

    async def _write(self) -> None:
        key = f"{self.world.namespace}.{AGENT}"
        entry = await self.world.ledgers.get(key)
        # As the API server would take another controller's write: based on what is there.
        if entry.value is not None and entry.revision is not None:
            try:
                await self.world.ledgers.update(key, entry.value, last=entry.revision)
            except Exception as error:
                note(f"write: {error!r}")  # the loop was quicker

    async def _stop(self) -> None:
        await self._reborn()

    async def _finish(self) -> None:
        for task_id in list(self.world.jobs.running)[:1]:
            self.world.jobs.finish(task_id, "by hand")

    async def _fake(self) -> None:
        ledger = self.life.loop.ledger
        for task_id in list(ledger.pending_tasks if ledger else {})[:1]:
            await self.world.end_of(task_id)

    async def _resync(self) -> None:
        try:
            await self.life.look_again()
        except HeedError as error:
            note(f"resync: {error!r}")

    async def _wait(self) -> None:
        await until(lambda: self.life.doors.dead.is_set() or self._up_to_date())

    def _up_to_date(self) -> bool:
        ledger = self.life.loop.ledger
        return ledger is not None and not ledger.outbox


def test_whatever_happens_in_whatever_order(nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in [
        (loop, "FLUSH_DELAY_S", 0.02),
        (loop, "RESTART_BACKOFF", Backoff(0.01, 0.1)),
        (effect_executor, "RETRY_BACKOFF", Backoff(0.01, 0.1)),
    ]:
        monkeypatch.setattr(module, name, value)
    seed = int(os.environ.get("HEED_SEED", random.randrange(2**32)))
    print(f"HEED_SEED={seed} tells the same stories again")
    end = time.monotonic() + BUDGET

    async def story(steps: list[Step]) -> None:
        namespace = f"test-{uuid4().hex[:12]}"
        async with connected(nats_server.url) as connection, world_on(connection, namespace) as world:
            await Story(world).play(steps)

    @hypothesis.seed(seed)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(STEPS)
    def any_of_them(steps: list[Step]) -> None:
        nonlocal end
        if time.monotonic() > end:
            return
        try:
            asyncio.run(story(steps))
        except BaseException:
            end = math.inf  # it is told again, to be shown
            raise

    any_of_them()
