"""The way to the API server through proxies, by the environment: with real sockets."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from heed.kube.client.client import ApiError, KubeApi

DEAD = "http://127.0.0.1:9"


class Recorder:
    """An HTTP server that answers everything, and keeps what it was asked for: an API server, or a proxy before one."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(f"{request.method} {request.raw_path}")
        return web.json_response({"kind": "Status"})


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    found = Recorder()
    runner = web.ServerRunner(web.Server(found.answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    found.url = f"http://{host}:{port}"
    yield found
    await runner.cleanup()


def kubeconfig(folder: Path, server: str, **cluster: str) -> str:
    """The path of a kubeconfig for a server."""
    path = folder / "kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    path.write_text(json.dumps(document))
    return str(path)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def asked(path: str) -> None:
    api = await KubeApi.connect(path)
    try:
        await api.get("/version")
    finally:
        await api.close()


async def test_loopback_needs_no_exception(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", DEAD)
    await asked(kubeconfig(tmp_path, recorder.url))
    assert recorder.asked == ["GET /version"]


async def test_a_proxy_is_asked_for_what_is_no_exception(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", recorder.url)
    monkeypatch.setenv("NO_PROXY", "10.112.0.0/12")
    await asked(kubeconfig(tmp_path, "http://10.96.0.1:8080"))
    assert recorder.asked == ["GET http://10.96.0.1:8080/version"]


async def test_a_network_in_no_proxy_is_an_exception(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", recorder.url)
    monkeypatch.setenv("NO_PROXY", "10.96.0.0/12")
    api = await KubeApi.connect(kubeconfig(tmp_path, "https://10.96.0.1"))
    assert api.proxy is None
    await api.close()


async def test_a_proxy_of_the_kubeconfig_comes_first(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", DEAD)
    await asked(kubeconfig(tmp_path, "http://api.example", **{"proxy-url": recorder.url}))
    assert recorder.asked == ["GET http://api.example/version"]


async def test_a_proxy_that_does_not_answer_is_an_api_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", DEAD)
    with pytest.raises(ApiError, match="does not answer"):
        await asked(kubeconfig(tmp_path, "http://api.example"))
