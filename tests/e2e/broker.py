"""The release's broker from outside the cluster, through `kubectl port-forward`."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nats
from nats.aio.client import Client

from heed import names
from heed.bus.cloudevents import decode, encode
from heed.core.events import Event, Malformed
from tests.e2e.cluster import Cluster


@contextmanager
def forwarded(cluster: Cluster, namespace: str, target: str, port: int) -> Iterator[int]:
    """A local port that leads to a port of a pod or service."""
    words = [cluster.kubectl_path, "port-forward", "-n", namespace, target, f":{port}"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert found, f"no port-forward to {target}: {line}{process.stdout.read() if process.poll() else ''}"
        yield int(found[1])
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


class Broker:
    """Who may do everything with it. Blocking."""

    def __init__(self, port: int, credentials: Path | None) -> None:
        self._url = f"nats://127.0.0.1:{port}"
        self._credentials = str(credentials) if credentials else None

    def publish(self, namespace: str, events: Sequence[Event], pause: float = 0.0) -> None:
        """Publish one after the other, each stored before the next; `pause` seconds between them."""

        async def act() -> None:
            async with self._connected() as client:
                for event in events:
                    headers, payload = encode(event)
                    headers = headers | {"Nats-Msg-Id": event.id}
                    subject = names.event_subject(namespace, event.type)
                    await client.jetstream().publish(subject, payload, headers=headers)
                    await asyncio.sleep(pause)

        asyncio.run(act())

    def events(self, namespace: str, type_: str) -> list[Event]:
        """The broadcast events of a type that the stream holds."""
        subject = names.event_subject(namespace, type_)

        async def act() -> list[Event]:
            async with self._connected() as client:
                pull = await client.jetstream().pull_subscribe(subject, stream=names.STREAM)
                pending = (await pull.consumer_info()).num_pending
                found = []
                while len(found) < pending:
                    found += await pull.fetch(pending - len(found), timeout=5)
                await pull.unsubscribe()
            decoded = (decode(dict(m.headers or {}), m.data, m.subject) for m in found)
            return [event for event in decoded if not isinstance(event, Malformed)]

        return asyncio.run(act())

    def _connected(self) -> _Connection:
        return _Connection(self._url, self._credentials)


class _Connection:
    def __init__(self, url: str, credentials: str | None) -> None:
        self._url, self._credentials = url, credentials

    async def __aenter__(self) -> Client:
        self._client = await nats.connect(self._url, user_credentials=self._credentials)
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()
