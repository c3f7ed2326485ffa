"""The courier's workers: two that make calls and run no code, killed and frozen now and then until it is calm."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path

from heed import names
from tests.cluster.controlplane.api import Api
from tests.faults.courier import NAME, NAMESPACE, courier_spec
from tests.faults.doomed_operator import ACK_WAIT_S
from tests.faults.people import AGENTS
from tests.forking import Forked
from tests.patience import PATIENCE

CALLERS = 2
TURN = 0.1
PEACE_S = (1.0, 4.0)  # between two troubles, about


class Callers:
    """Keeps them on a broker's wire; `folder` gets their logs."""

    def __init__(self, api: Api, nats_url: str, folder: Path, seed: int) -> None:
        self.figures: Counter[str] = Counter()
        self._api, self._url, self._folder = api, nats_url, folder
        self._dice = random.Random(f"callers {seed}")
        self._troubled = True
        self._processes: dict[int, Forked] = {}

    def sign_on(self, port: int) -> None:
        """Make the Agent, for a service at this port, and start its workers."""
        metadata = {"namespace": NAMESPACE, "name": NAME}
        body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata}
        self._api.post(AGENTS.format(NAMESPACE), body | {"spec": courier_spec(port)})
        self._tend()

    async def run(self) -> None:
        """Start each worker again that has ended, until cancelled; until it is calm, trouble them."""
        troubling = asyncio.create_task(self._trouble())
        try:
            while True:
                self._tend()
                await asyncio.sleep(TURN)
        finally:
            troubling.cancel()
            self.dismiss()

    def calm(self) -> None:
        """From now on they only live."""
        self._troubled = False

    def dismiss(self) -> None:
        """End all processes."""
        for process in self._processes.values():
            process.send_signal(signal.SIGKILL)
            process.wait(PATIENCE)
        self._processes = {}

    async def _trouble(self) -> None:
        while self._troubled:
            await asyncio.sleep(self._dice.uniform(*PEACE_S))
            process = self._dice.choice(list(self._processes.values()))
            if self._dice.random() < 0.7:
                process.send_signal(signal.SIGKILL)
                self.figures["callers killed"] += 1
                continue
            process.send_signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(self._dice.uniform(0.5, 2 * ACK_WAIT_S))
            finally:
                process.send_signal(signal.SIGCONT)
            self.figures["callers frozen"] += 1

    def _tend(self) -> None:
        for number in range(CALLERS):
            process = self._processes.get(number)
            if process is None or process.poll() is not None:
                self._processes[number] = self._start(number)

    def _start(self, number: int) -> Forked:
        command = [sys.executable, "-m", "tests.faults.doomed_worker", "--agent", f"{NAMESPACE}/{NAME}"]
        environment = {**os.environ, "HEED_NATS_URL": self._url, "HEED_LOG_LEVEL": "info"}
        self.figures["callers started"] += 1
        return Forked(command, environment, self._folder / f"caller-{number}.log")
