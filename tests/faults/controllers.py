"""The controller of Widgets, played through the API: one works, fails, never acts; and a person who deletes some."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from heed import names
from tests.cluster.controlplane.api import Api, ApiError
from tests.faults.workshop import API_VERSION, BROKEN, NAME, NAMESPACE, PLURAL

LONGEST_RUN = 2.0  # seconds
TURN = 0.2
WIDGETS = f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/{PLURAL}"
AGENT = f"/apis/{names.API_VERSION}/namespaces/{NAMESPACE}/{names.PLURAL}/{NAME}"

Body = dict[str, Any]


class Controllers:
    """Plays every Widget as its labels say, in two steps, each after a while."""

    def __init__(self, api: Api, seed: int) -> None:
        self.played = 0
        self.deleted = 0
        self._api = api
        self._dice = random.Random(f"controllers {seed}")
        self._due: dict[tuple[str, str], float] = {}

    async def run(self) -> None:
        """Play, until cancelled; while the API server is away, nobody plays."""
        while True:
            with suppress(ApiError, OSError):
                await asyncio.to_thread(self._turn)
            await asyncio.sleep(TURN)

    def _turn(self) -> None:
        for widget in self._api.get(WIDGETS)["items"]:
            phase = (widget.get("status") or {}).get("phase", "")
            if "deletionTimestamp" not in widget["metadata"] and self._is_due(widget, phase):
                self._act(widget, phase)

    def _is_due(self, widget: Body, phase: str) -> bool:
        now, step = time.monotonic(), (widget["metadata"]["uid"], phase)
        return phase in ("", "Working") and now >= self._due.setdefault(
            step, now + self._dice.uniform(0, LONGEST_RUN)
        )

    def _act(self, widget: Body, phase: str) -> None:
        labels = widget["metadata"]["labels"]
        play = labels["play"]
        if play == "deleted" and not phase:
            self._delete(widget)
        elif play == "hang":
            return
        elif not phase:
            self._report(widget, phase="Working", percent=40)
        elif play == "fail" or (play == "mend" and _attempt(labels) < int(labels["until"])):
            self._report(widget, phase="Broken", why=BROKEN, percent=60)
        else:
            self._report(widget, phase="Ready", percent=100)

    def _report(self, widget: Body, **status: Any) -> None:
        """Write a status, unless the Widget is gone or another one by now."""
        name, uid = widget["metadata"]["name"], widget["metadata"]["uid"]
        try:
            self._api.patch(f"{WIDGETS}/{name}/status", {"metadata": {"uid": uid}, "status": status})
        except ApiError as error:
            if error.status not in (404, 409):
                raise
        else:
            self.played += 1

    def _delete(self, widget: Body) -> None:
        """A person deletes one that its Agent's ledger knows to have started; one of before would be made again."""
        pending = (self._api.get(AGENT).get("status") or {}).get("pendingTasks") or {}
        record = pending.get(widget["metadata"]["labels"][names.LABEL_TASK_ID])
        if record is not None and record["phase"] == "Started":
            with suppress(ApiError):
                self._api.delete(f"{WIDGETS}/{widget['metadata']['name']}")
                self.deleted += 1


def _attempt(labels: Mapping[str, str]) -> int:
    return int(labels[names.LABEL_ATTEMPT])
