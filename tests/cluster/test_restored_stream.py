"""A stream is lost and restored from a backup: nothing is decided twice, and every Agent can be told how to go on."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from heed import names
from heed.bus.client.connection import Connection, connect
from heed.core.events import Event
from heed.settings import Settings
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import (
    Broker,
    Operator,
    Stage,
)
from tests.cluster.stories import RESEARCHER
from tests.markdown import ROOT
from tests.nats_backup import back_up, restore
from tests.nats_server import NatsServer, require_nats_server
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.statuses import totals

pytestmark = pytest.mark.cluster
T = TypeVar("T")
NOTE = "com.example.note.made"
WRITER: dict[str, Any] = {
    **RESEARCHER,
    "metadata": {"name": "writer"},
    "spec": {
        "subscribe": [{"type": NOTE}],
        "handlers": [{"name": "keep", "type": NOTE, "state": {"note": "${event.id}"}}],
    },
}


@pytest.fixture
def stage(
    control_plane: ControlPlane, namespace: str, operator_kubeconfig: Path, tmp_path: Path
) -> Iterator[Stage]:
    """A namespace with an operator and a broker of its own."""
    require_nats_server()
    with NatsServer(tmp_path / "nats") as server:
        operator = Operator(operator_kubeconfig, server.url, tmp_path, free_port())
        try:
            yield Stage(control_plane, namespace, operator.start(), Broker(server.url))
        finally:
            operator.kill()


def on_broker(stage: Stage, act: Callable[[Connection], Awaitable[T]]) -> T:
    """Do something with a connection."""

    async def connected() -> T:
        connection = await connect(Settings(nats_url=stage.broker.url), "test", attempts=3)
        try:
            return await act(connection)
        finally:
            await connection.close()

    return asyncio.run(connected())


def note(stage: Stage, id: str) -> None:
    """An event that only the writer heeds."""
    stage.broker.publish(names.event_subject(stage.namespace, NOTE), Event(id, "/test", NOTE))


def documented(stage: Stage, agent: str, end: int) -> None:
    """Run the command that the page has for an Agent after a stream was restored."""
    page = (ROOT / "docs/operations.md").read_text()
    (line,) = [
        line for line in page.splitlines() if f"patch agent {agent} " in line and '"created":null' in line
    ]
    stage.plane.kubectl(*shlex.split(line.replace("81000", str(end)))[1:], "-n", stage.namespace)


def ready(status: dict[str, Any]) -> tuple[str, str]:
    """What `Ready` says."""
    (found,) = [item for item in status["conditions"] if item["type"] == "Ready"]
    return found["status"], found["reason"]


def test_agents_go_on_after_a_restore_where_they_are_told_to(stage: Stage) -> None:
    # Given two Agents, a backup, and events that only one of them has decided since
    stage.apply(RESEARCHER)
    stage.apply(WRITER)
    stage.ask("q-1", correlation="c-1")
    note(stage, "n-1")
    stage.until(lambda s: totals(s).get("handled") == 1)
    stage.until(lambda s: totals(s).get("handled") == 1, "writer")
    info, chunks = on_broker(stage, back_up)
    stage.ask("q-2", correlation="c-2")
    stage.until(lambda s: totals(s).get("handled") == 2)

    # When the stream is lost, and restored while the operator is stopped
    stage.operator.stop()
    on_broker(stage, lambda connection: connection.api("STREAM.DELETE.HEED"))
    on_broker(stage, lambda connection: restore(connection, info, chunks))
    stage.operator.start()

    # Then both say so, and read nothing
    for agent in ("researcher", "writer"):
        stage.until(lambda s: ready(s) == ("False", "StreamReplaced"), agent)
    stage.ask("q-3", correlation="c-3")
    note(stage, "n-2")

    # And go on where they are told to, with all that they remember
    documented(stage, "researcher", info["state"]["last_seq"])
    documented(stage, "writer", info["state"]["last_seq"])
    researcher = stage.until(lambda s: "c-3" in s["sessions"] and ready(s)[0] == "True")
    writer = stage.until(lambda s: totals(s).get("handled") == 2 and ready(s)[0] == "True", "writer")
    assert totals(researcher) == {"handled": 3, "tasksStarted": 3}
    assert set(researcher["sessions"]) == {"c-1", "c-2", "c-3"}
    assert totals(writer) == {"handled": 2}
    eventually(lambda: len(stage.jobs()) == 3, PATIENCE, what="a Job for each session")
