"""The API server behind an HTTP proxy: requests and watches go the same way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from kubernetes.config import kube_config

from heed.kube.client.client import KubeApi, agent_path, agents_path
from heed.kube.watch import ClusterWatch
from heed.settings import Settings
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.stories import RESEARCHER
from tests.cluster.test_election import Seen, _until

pytestmark = pytest.mark.cluster


class Proxy:
    """A proxy for CONNECT, which keeps whom it was asked to connect to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, _ = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ", 2)
        assert method == "CONNECT"
        self.asked.append(target)
        host, _, port = target.rpartition(":")
        theirs, ours = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        ways = [asyncio.create_task(_pass(reader, ours)), asyncio.create_task(_pass(theirs, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for task in ways:
            task.cancel()
        await asyncio.wait(ways)
        ours.close()
        writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    found = Proxy()
    listener = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    yield found
    listener.close()


async def test_requests_and_watches_go_through_the_proxy_of_the_kubeconfig(
    control_plane: ControlPlane,
    namespace: str,
    proxy: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a kubeconfig with a proxy
    document = yaml.safe_load(control_plane.kubeconfig.read_text())
    for item in document["clusters"]:
        item["cluster"]["proxy-url"] = proxy.url
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))

    # When it is asked for something
    api = await KubeApi.connect(str(path))
    await api.create(agents_path(namespace), RESEARCHER)
    assert len(proxy.asked) == 1

    # And watched
    seen = Seen()
    running = asyncio.create_task(ClusterWatch(Settings(namespace=namespace), api.proxy).run(seen))
    await _until(lambda: bool(seen.agents))
    running.cancel()
    await asyncio.wait({running})

    # Then all of it went through the proxy
    assert len(proxy.asked) > 1
    await api.delete(agent_path(namespace, "researcher"))
    await api.close()
