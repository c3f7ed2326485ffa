"""The scribe's workers: a few of today's edition and a rogue, whose processes are started again when they end.

Each roll-out copies the scribe's module with another EDITION, which is another digest, and names that in the manifest.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heed.sdk.loading import load_agent
from heed.sdk.manifest import build_agent, code_digest
from tests.cluster.controlplane.api import Api
from tests.faults import scribe
from tests.faults.committed_answers import NAME, NAMESPACE
from tests.faults.crew_plan import worker_deaths
from tests.faults.people import AGENTS, persistently
from tests.faults.plan import RANDOM
from tests.faults.report import own_deaths
from tests.forking import Forked
from tests.patience import PATIENCE

HONEST = 2
TURN = 0.1
DRAIN_S = 8.0  # until a worker that was told to stop is killed
SOURCE = Path(scribe.__file__)


@dataclass(slots=True)
class Hand:
    """One worker's process; None while there is none."""

    name: str
    code: Path
    rogue: bool = False
    process: Forked | None = None


class Crew:
    """Keeps workers of the scribe on a broker's wire; `folder` gets their code, their logs and the log of runs."""

    def __init__(self, api: Api, nats_url: str, folder: Path, seed: int) -> None:
        self.runs = folder / "runs.jsonl"
        self.figures: Counter[str] = Counter()
        self.edition = 0
        self._passed = folder / "workers.passed"
        self._passed.touch()
        self._api, self._url, self._folder = api, nats_url, folder
        self._dice = random.Random(f"crew at work {seed}")
        self._deaths = worker_deaths(seed)
        self._doomed = True
        self._rolling = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()
        self._hands: list[Hand] = []

    @property
    def report(self) -> dict[str, int]:
        """What became of the workers, and at which points how many of them died."""
        died = Counter(f"died {point}" for point, _ in own_deaths(self._passed.read_text()))
        return dict(sorted((self.figures + died).items()))

    def sign_on(self) -> None:
        """Make the Agent, and start its first workers."""
        code = self._write_code(0)
        manifest = build_agent(load_agent(str(code)))
        manifest["metadata"]["namespace"] = NAMESPACE
        self._api.post(AGENTS.format(NAMESPACE), manifest)
        self._hands = self._new_hands(code)

    async def run(self) -> None:
        """Start each worker again that has ended, until cancelled."""
        try:
            while True:
                for hand in self._hands:
                    self._tend(hand)
                await asyncio.sleep(TURN)
        finally:
            self.dismiss()

    def calm(self) -> None:
        """From now on workers only live, and the rogue is gone."""
        self._doomed = False
        for hand in [hand for hand in self._hands if hand.rogue]:
            self._hands.remove(hand)
            _end(hand, signal.SIGKILL)

    def dismiss(self) -> None:
        """End all processes."""
        for hand in self._hands:
            _end(hand, signal.SIGKILL)
        self._hands = []

    async def suffer(self, how: Sequence[str], lasts: float) -> None:
        """A trouble of the plan."""
        match how:
            case ["killed"]:
                self.kill()
            case ["frozen"]:
                await self.freeze(lasts)
            case ["rolled", order]:
                await self.roll(order, lasts)
            case _:
                raise AssertionError(f"no such trouble: {how}")

    def kill(self) -> None:
        """One of them dies, if there is one."""
        for process in self._choose():
            process.send_signal(signal.SIGKILL)
            self.figures["workers killed"] += 1

    async def freeze(self, lasts: float) -> None:
        """One of them hangs for so long, if there is one, with its connections open."""
        for process in self._choose():
            process.send_signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(lasts)
            finally:
                process.send_signal(signal.SIGCONT)
            self.figures["workers frozen"] += 1

    async def roll(self, how: str, pause: float) -> None:
        """Roll out another edition: `new-first` and `old-first` drain the old workers, `killed` kills them."""
        async with self._rolling:
            self.edition += 1
            code = self._write_code(self.edition)
            spec = {"worker": {"digest": code_digest(load_agent(str(code)))}}
            old, new = self._hands, self._new_hands(code)
            self._hands = [*old, *new] if how == "new-first" else []
            if how != "new-first":
                self._leave(old, signal.SIGKILL if how == "killed" else signal.SIGTERM)
            await asyncio.sleep(pause)
            path = f"{AGENTS.format(NAMESPACE)}/{NAME}"
            await persistently(lambda: self._api.patch(path, {"spec": spec}))
            await asyncio.sleep(pause)
            if how == "new-first":
                self._leave(old, signal.SIGTERM)
            self._hands = new
            self.figures[f"rolled {how}"] += 1

    def _choose(self) -> list[Forked]:
        """One of the processes; none between two editions."""
        found = [hand.process for hand in self._hands if hand.process is not None]
        return [self._dice.choice(found)] if found else []

    def _leave(self, hands: list[Hand], how: int) -> None:
        for hand in hands:
            if hand.process is not None:
                hand.process.send_signal(signal.SIGKILL if hand.rogue else how)
                task = asyncio.create_task(self._see_off(hand.process))
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)

    async def _see_off(self, process: Forked) -> None:
        try:
            async with asyncio.timeout(DRAIN_S):
                while process.poll() is None:  # noqa: ASYNC110, processes set no events
                    await asyncio.sleep(TURN)
        except TimeoutError:
            self.figures["killed while they drained"] += 1
        finally:
            process.send_signal(signal.SIGKILL)

    def _tend(self, hand: Hand) -> None:
        if hand.process is not None and (code := hand.process.poll()) is not None:
            self.figures["worker processes ended" if code == -signal.SIGKILL else f"worker exits {code}"] += 1
            hand.process = None
        if hand.process is None:
            self._start(hand)

    def _start(self, hand: Hand) -> None:
        module = "rogue_worker" if hand.rogue else "doomed_worker"
        command = [sys.executable, "-m", f"tests.faults.{module}", str(hand.code)]
        command += [NAMESPACE] if hand.rogue else ["-n", NAMESPACE]
        environment = {
            **os.environ,
            "HEED_NATS_URL": self._url,
            "HEED_LOG_LEVEL": "info",
            "HEED_PASSED": str(self._passed),
            "SCRIBE_RUNS": str(self.runs),
            **self._doom(hand),
        }
        hand.process = Forked(command, environment, self._folder / f"{hand.name}.log")
        self.figures["workers started"] += 1

    def _doom(self, hand: Hand) -> Mapping[str, Any]:
        death = next(self._deaths)
        if not self._doomed or hand.rogue or death.point == RANDOM:
            return {}
        return {"HEED_DIE": str(death)}

    def _new_hands(self, code: Path) -> list[Hand]:
        hands = [Hand(f"worker-{self.edition}-{number}", code) for number in range(HONEST)]
        return [*hands, Hand(f"rogue-{self.edition}", code, rogue=True)] if self._doomed else hands

    def _write_code(self, edition: int) -> Path:
        code = self._folder / f"edition-{edition}" / SOURCE.name
        code.parent.mkdir()
        code.write_text(SOURCE.read_text().replace("\nEDITION = 0\n", f"\nEDITION = {edition}\n"))
        return code


def _end(hand: Hand, how: int) -> None:
    if hand.process is not None:
        hand.process.send_signal(how)
        try:
            hand.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{hand.name} does not end") from None
        hand.process = None
