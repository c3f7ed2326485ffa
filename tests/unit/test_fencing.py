"""Nothing leaves a replica that is not the active one any more; whatever it reads harms nobody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from heed.api.status import OutboxMessage
from heed.bus.jetstream import JetStreamBus, PubAck
from heed.core.events import Event
from heed.errors import BusUnavailable
from heed.kube.client.client import ApiError
from heed.kube.leader.fencing import FENCED_MESSAGE, FencedBus, FencedKubeApi
from tests.unit.apiserver import ApiServer

CLAIMS = "/api/v1/namespaces/demo/configmaps"
CLAIM = f"{CLAIMS}/it"
EVENT = Event("1", "/test", "com.example.a")
OWED = OutboxMessage(3, 0, "heed.events.demo.com.example.a", "2026-11-01T12:00:00Z", event="{}")
Write = Callable[[FencedKubeApi], Awaitable[Any]]
WRITES: dict[str, Write] = {
    "POST": lambda api: api.create(CLAIMS, {"metadata": {"name": "other"}}),
    "PATCH": lambda api: api.merge(CLAIM, {"data": {"a": "b"}}),
    "DELETE": lambda api: api.delete(CLAIM, "uid-of-it"),
}


@pytest.mark.parametrize("method", WRITES)
async def test_writes_are_made_only_by_the_active_one(server: ApiServer, method: str) -> None:
    server.add(CLAIM)
    active = False
    api = server.connect(FencedKubeApi, may_write=lambda: active)

    with pytest.raises(ApiError) as refused:
        await WRITES[method](api)
    assert (refused.value.status, refused.value.message) == (0, FENCED_MESSAGE)
    assert server.asked == []

    active = True
    answer = await WRITES[method](api)
    assert answer.body["metadata"]["name"] in ("it", "other")
    assert [asked for asked, _ in server.asked] == [method]

    active = False
    with pytest.raises(ApiError, match=FENCED_MESSAGE):
        await WRITES[method](api)


async def test_what_is_written_is_what_was_given(server: ApiServer) -> None:
    server.add(CLAIM, data={"c": "d"})
    api = server.connect(FencedKubeApi, may_write=lambda: True)

    await WRITES["POST"](api)
    await WRITES["PATCH"](api)
    assert server.at(CLAIM)["data"] == {"a": "b", "c": "d"}
    assert server.at(f"{CLAIMS}/other")["metadata"]["name"] == "other"

    with pytest.raises(ApiError, match="UID in the precondition"):
        await api.delete(CLAIM, "uid-of-another")
    await WRITES["DELETE"](api)
    assert [item["metadata"]["name"] for item in server.of("configmaps")] == ["other"]


async def test_reads_are_free(server: ApiServer) -> None:
    server.add(CLAIM)
    api = server.connect(FencedKubeApi)

    assert (await api.get(CLAIM)).body["metadata"]["name"] == "it"
    assert [item["metadata"]["name"] for item in await api.list(CLAIMS)] == ["it"]


async def test_a_connection_is_one_that_is_fenced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    config = tmp_path / "config"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n"
        "users: [{name: u, user: {}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"
    )

    api = await FencedKubeApi.connect(str(config))

    assert isinstance(api, FencedKubeApi)
    with pytest.raises(ApiError, match=FENCED_MESSAGE):
        await api.delete(CLAIM)
    await api.close()


class Sent:
    """What a bus was told to do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[Any, ...]] = []

        async def send(_: Any, subject: str, event: Event, *, deduplicate: bool = True) -> PubAck:
            self.calls.append((subject, event, deduplicate))
            return PubAck("HEED", 7, False)

        async def publish_owed(_: Any, id: str, owed: OutboxMessage, *, look_first: bool) -> None:
            self.calls.append((id, owed, look_first))

        monkeypatch.setattr(JetStreamBus, "__init__", lambda _, connection: self.calls.append((connection,)))
        monkeypatch.setattr(JetStreamBus, "send", send)
        monkeypatch.setattr(JetStreamBus, "publish_owed", publish_owed)


async def test_events_are_published_only_by_the_active_one(monkeypatch: pytest.MonkeyPatch) -> None:
    sent, active = Sent(monkeypatch), False
    connection: Any = object()
    bus = FencedBus(connection, lambda: active)
    assert sent.calls.pop() == (connection,)

    for publish in (
        lambda: bus.send("s", EVENT),
        lambda: bus.publish("s", EVENT),
        lambda: bus.publish_owed("1", OWED, look_first=True),
    ):
        with pytest.raises(BusUnavailable, match=FENCED_MESSAGE):
            await publish()
    assert sent.calls == []

    active = True
    assert await bus.send("s", EVENT) == PubAck("HEED", 7, False)
    assert await bus.send("s", EVENT, deduplicate=False) == PubAck("HEED", 7, False)
    await bus.publish_owed("1", OWED, look_first=True)
    await bus.publish_owed("2", OWED, look_first=False)
    assert sent.calls == [("s", EVENT, True), ("s", EVENT, False), ("1", OWED, True), ("2", OWED, False)]
