"""The release's broker from outside the cluster, through `kubectl port-forward`."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig

from heed import names
from heed.bus.codec.cloudevents import decode, encode
from heed.core.events import Event, MalformedMessage
from tests.e2e.cluster import Cluster
from tests.e2e.release import NAMESPACE, NATS

UNACKNOWLEDGED = ConsumerConfig(ack_policy=AckPolicy.NONE)


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
    """A client of the broker that may do everything. Blocking.

    Each operation has a way there of its own: a way through a kubelet or an API server ends with them.
    """

    def __init__(self, cluster: Cluster, credentials: Path) -> None:
        self._cluster, self._credentials = cluster, str(credentials)

    def publish(self, namespace: str, events: Iterable[Event], pause: float = 0.0) -> int:
        """Publish one after the other, each stored before the next; `pause` seconds between them. How many."""

        async def act() -> int:
            count = 0
            async with self._connected() as client:
                for event in events:
                    headers, payload = encode(event)
                    subject = names.event_subject(namespace, event.type)
                    await client.jetstream().publish(
                        subject, payload, headers=headers | {"Nats-Msg-Id": f"{subject} {event.id}"}
                    )
                    count += 1
                    await asyncio.sleep(pause)
            return count

        return asyncio.run(act())

    def events(self, namespace: str, type_: str) -> list[Event]:
        """The broadcast events of a type that the stream holds."""
        subject = names.event_subject(namespace, type_)

        async def act() -> list[Event]:
            async with self._connected() as client:
                pull = await client.jetstream().pull_subscribe(
                    subject, stream=names.STREAM, config=UNACKNOWLEDGED
                )
                pending = (await pull.consumer_info()).num_pending or 0
                found: list[Msg] = []
                while len(found) < pending:
                    found += await pull.fetch(min(pending - len(found), 500), timeout=10)
                await pull.unsubscribe()
            decoded = (decode(dict(m.headers or {}), m.data, m.subject) for m in found)
            return [event for event in decoded if not isinstance(event, MalformedMessage)]

        return asyncio.run(act())

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        with forwarded(self._cluster, NAMESPACE, f"pod/{NATS}-0", 4222) as port:
            url = f"nats://127.0.0.1:{port}"
            client = await nats.connect(url, user_credentials=self._credentials)
            try:
                yield client
            finally:
                await client.close()
