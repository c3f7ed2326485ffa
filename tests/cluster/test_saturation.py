"""Thousands of sessions for one Agent: its status keeps the budget, the others wait, and every one is decided once.

HEED_SESSIONS=10000 tells the whole story, with the budget that operators have if nobody says otherwise.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heed import names
from heed.bus.client.connection import connect
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event
from heed.settings import Settings
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import (
    Broker,
    Operator,
    Stage,
)
from tests.integration.engine.oracle import read_back
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.statuses import condition, totals

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

SESSIONS = int(os.environ.get("HEED_SESSIONS", "1000"))
BUDGET = Settings().status_budget if SESSIONS > 5000 else 150_000
OPEN, CLOSE, CLOSED = "com.example.case.opened", "com.example.case.settled", "com.example.case.closed"
MANIFEST: dict[str, Any] = {
    "apiVersion": names.API_VERSION,
    "kind": names.KIND,
    "metadata": {"name": "clerk"},
    "spec": {
        "subscribe": [{"type": "com.example.case.*"}],
        "handlers": [
            {"name": "open", "type": OPEN, "state": {"subject": "${event.data.subject}"}},
            {
                "name": "close",
                "type": CLOSE,
                "when": "has(state.subject)",
                "emit": [{"type": CLOSED, "data": "${state.subject}", "to": "archive"}],
                "end": True,
            },
        ],
    },
}


class Frugal(Operator):
    """An operator that gives every Agent a budget."""

    def with_budget(self, budget: int) -> Frugal:
        """Say which."""
        self.environment["HEED_STATUS_BUDGET"] = str(budget)
        return self


@pytest.fixture
def operator(operator_kubeconfig: Path, broker: Broker, tmp_path: Path) -> Iterator[Operator]:
    """One with a small budget, or the usual one where the usual number of sessions is far beyond it."""
    frugal = Frugal(operator_kubeconfig, broker.url, tmp_path, free_port(), log_level="info")
    frugal.with_budget(BUDGET).start()
    yield frugal
    frugal.kill()


def offer(stage: Stage, type_: str) -> None:
    """An event for every session, in order."""

    async def act() -> None:
        connection = await connect(Settings(nats_url=stage.broker.url), "test", attempts=3)
        bus, subject = JetStreamBus(connection), names.event_subject(stage.namespace, type_)
        for start in range(0, SESSIONS, 250):
            await asyncio.gather(
                *(bus.publish(subject, _event(type_, number)) for number in range(start, start + 250))
            )
        await connection.close()

    asyncio.run(act())


def closed(stage: Stage) -> list[str]:
    """The cases that were told to be closed, each as often as it was told."""

    async def act() -> list[str]:
        connection = await connect(Settings(nats_url=stage.broker.url), "test", attempts=3)
        subject = names.inbox_subject(stage.namespace, "archive", CLOSED)
        events = await read_back(connection, [subject])
        await connection.close()
        return [item.event.correlationid for item in events if isinstance(item.event, Event)]

    return asyncio.run(act())


def _event(type_: str, number: int) -> Event:
    return Event(
        f"{type_}-{number}",
        "/registry",
        type_,
        {"subject": f"case {number} of the year, with a few words about it"},
        datacontenttype="application/json",
        extensions={"correlationid": f"case-{number}"},
    )


def until(stage: Stage, plane: ControlPlane, holds: Any, sizes: list[int]) -> dict[str, Any]:
    """The status once a condition holds of it; the object's sizes are noted on the way."""

    def look() -> dict[str, Any] | None:
        body = plane.admin.get(f"/apis/{names.API_VERSION}/namespaces/{stage.namespace}/agents/clerk")
        sizes.append(len(json.dumps(body, separators=(",", ":"))))
        status: dict[str, Any] = body.get("status") or {}
        return status if status and holds(status) else None

    return eventually(
        look, PATIENCE + SESSIONS / 20, what=f"the status; log: {stage.operator.log}", every=0.2
    )


def test_thousands_of_sessions_are_served_within_the_budget(
    stage: Stage, control_plane: ControlPlane
) -> None:
    # Given more sessions than fit
    stage.apply(MANIFEST)
    stage.until(lambda s: condition(s, "Ready").get("status") == "True", "clerk")
    began, sizes = time.monotonic(), list[int]()
    offer(stage, OPEN)

    # Then all are read, some wait, and the Agent says so
    def is_read(status: dict[str, Any]) -> bool:
        counts = status.get("counts", {})
        return bool(counts.get("sessions", 0) + counts.get("waiting", 0) == SESSIONS)

    full = until(stage, control_plane, is_read, sizes)
    assert full["counts"]["waiting"] > 0
    assert len(full["waiting"]) == full["counts"]["waiting"]
    assert totals(full)["handled"] == full["counts"]["sessions"]
    assert (condition(full, "Saturated")["status"], condition(full, "Ready")["status"]) == ("True", "True")
    told = condition(full, "Saturated")["message"]
    filled = time.monotonic() - began

    # When the sessions end, one after the other
    offer(stage, CLOSE)

    # Then the next ones are let in, until every one was served, once, and in its own order
    done = until(
        stage, control_plane, lambda s: totals(s).get("handled") == 2 * SESSIONS and not s["outbox"], sizes
    )
    assert totals(done) == {"handled": 2 * SESSIONS, "emitted": SESSIONS}
    assert set(done["counts"].values()) == {0}
    assert condition(done, "Saturated")["status"] == "False"
    served = closed(stage)
    assert sorted(served) == sorted(f"case-{number}" for number in range(SESSIONS))
    assert max(sizes) < BUDGET * 1.2
    print(
        f"{SESSIONS} sessions offered: {full['counts']['sessions']} served at once, {full['counts']['waiting']} "
        f"waited; largest object {max(sizes)} of {BUDGET} bytes; full after {filled:.0f} s, all served after "
        f"{time.monotonic() - began:.0f} s; Saturated: {told}"
    )
