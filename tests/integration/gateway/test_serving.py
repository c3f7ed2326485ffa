"""The gateway's server: TLS whose certificate is renewed, and the end of a process that has requests under way."""

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from heed.bus.client.connection import Connection
from heed.gateway import manager
from heed.kube.webhook.ca import renew_keys
from tests.integration.gateway.gateway_process import GatewayProcess
from tests.integration.gateway.serving import RunningGateway, serving
from tests.integration.gateway.test_inbound import binary
from tests.integration.waiting import until
from tests.nats_server import NatsServer


def write_keys(folder: Path) -> ssl.SSLContext:
    """New keys for 127.0.0.1 in a folder, as cert-manager would write them; a context that trusts these only."""
    keys = renew_keys(None, ["127.0.0.1"], datetime.now(UTC))
    assert keys is not None
    for name, content in keys.data().items():
        (folder / name).write_bytes(content)
    return ssl.create_default_context(cadata=keys.bundle_pem.decode())


async def status(gateway: RunningGateway, namespace: str, trust: ssl.SSLContext) -> int | None:
    """How a request over TLS is answered; None where the certificate is not trusted."""
    host, port = gateway.address
    url = f"https://{host}:{port}/v1/events/{namespace}"
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as http:
        try:
            async with http.post(url, headers=binary(), ssl=trust) as response:
                return response.status
        except aiohttp.ClientConnectorError:
            return None


async def test_a_certificate_that_is_renewed_is_served_without_a_restart(
    connection: Connection, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "CERTIFICATE_CHECK_INTERVAL_S", 0.05)
    old = write_keys(tmp_path)
    async with serving(connection, certificate=str(tmp_path)) as gateway:

        async def served(trust: ssl.SSLContext) -> bool:
            return await status(gateway, namespace, trust) == 202

        await until(lambda: served(old))
        new = write_keys(tmp_path)
        await until(lambda: served(new))
        assert await status(gateway, namespace, old) is None


async def test_without_a_usable_certificate_nothing_is_served(
    connection: Connection, namespace: str, tmp_path: Path
) -> None:
    trust = write_keys(tmp_path)
    (tmp_path / "tls.key").write_text("no key")
    async with serving(connection, certificate=str(tmp_path)) as gateway:
        gateway.health.connection = connection
        assert await status(gateway, namespace, trust) is None
        assert gateway.health.missing() == "there is no certificate to serve with yet"


async def test_a_request_that_is_under_way_is_finished_when_the_gateway_is_told_to_stop(
    connection: Connection, nats_server: NatsServer, namespace: str
) -> None:
    gateway = GatewayProcess(nats_server.url)
    await gateway.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    idle, idler = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = "".join(f"{name}: {value}\r\n" for name, value in binary().items())
    writer.write(f"POST /v1/events/{namespace} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}".encode())
    writer.write(b"Expect: 100-continue\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nha")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")  # it is under way

    stopping = asyncio.create_task(gateway.stop())
    await until(lambda: refuses(gateway.port))
    writer.write(b"lf")
    answer = await reader.read()  # to the end: it is the connection's last one

    assert answer.startswith(b"HTTP/1.1 202 ")
    assert b"\r\nConnection: close\r\n" in answer and b"\r\nServer: heed\r\n" in answer
    assert await idle.read() == b""  # who sent nothing is hung up on
    await stopping
    for each in (writer, idler):
        each.close()


async def refuses(port: int) -> bool:
    """Whether nobody listens there any more."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return True
    writer.close()
    return False
