"""Somebody edits the stream of a running operator so that it drops events: it is said on every Agent, and elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heed.bus.client.connection import connect
from heed.settings import Settings
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import Broker, Operator, Stage
from tests.cluster.stories import RESEARCHER
from tests.nats_server import NatsServer, require_nats_server
from tests.patience import PATIENCE
from tests.ports import free_port

pytestmark = pytest.mark.cluster


@pytest.fixture
def stage(
    control_plane: ControlPlane, operator_kubeconfig: Path, namespace: str, tmp_path: Path
) -> Iterator[Stage]:
    """An operator with metrics on a broker of the test's own."""
    require_nats_server()
    with NatsServer(tmp_path / "nats") as server:
        operator = Operator(operator_kubeconfig, server.url, tmp_path, free_port(), metrics_port=free_port())
        operator.start()
        try:
            yield Stage(control_plane, namespace, operator, Broker(server.url))
        finally:
            operator.stop()


def edit(url: str, **change: Any) -> None:
    """Change the stream HEED as `nats stream edit` would."""

    async def act() -> None:
        connection = await connect(Settings(nats_url=url), "person", attempts=3)
        config = (await connection.api("STREAM.INFO.HEED"))["config"]
        await connection.api("STREAM.UPDATE.HEED", {**config, **change})
        await connection.close()

    asyncio.run(act())


def ready(stage: Stage) -> dict[str, Any]:
    status = stage.status() or {}
    found = [item for item in status.get("conditions", []) if item["type"] == "Ready"]
    return found[0] if found else {}


def test_a_stream_that_drops_events_is_said_until_it_is_mended(stage: Stage) -> None:
    # Given an Agent at work
    stage.apply(RESEARCHER)
    eventually(lambda: ready(stage).get("status") == "True", PATIENCE, what="a ready agent")

    # When somebody has the stream keep one event of each subject
    edit(stage.broker.url, max_msgs_per_subject=1)

    # Then every Agent says so, with what to do, and goes on
    eventually(lambda: ready(stage).get("reason") == "StreamUnsafe", PATIENCE, what="the condition")
    assert "stream HEED: max_msgs_per_subject is 1, wanted -1" in ready(stage)["message"]
    stage.ask()
    stage.until(lambda status: status.get("pendingTasks"))

    # And so does the operator
    flaw = 'heed_stream_flaws{field="max_msgs_per_subject",stream="HEED"} 1.0'
    assert flaw in stage.operator.metrics()
    code, text = stage.operator.probe("readyz") or (0, "")
    assert (code, text.partition(":")[0]) == (200, "active; stream HEED")
    events = stage.plane.kubectl("get", "events", "-n", stage.namespace, "-o", "jsonpath={.items[*].reason}")
    assert "StreamUnsafe" in events

    # When it is mended
    edit(stage.broker.url, max_msgs_per_subject=-1)

    # Then
    eventually(lambda: ready(stage).get("status") == "True", PATIENCE, what="a ready agent again")
    assert "heed_stream_flaws{" not in stage.operator.metrics()
    assert stage.operator.probe("readyz") == (200, "active")
