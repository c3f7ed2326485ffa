"""The ledger store without a cluster: a JetStream KV bucket, whose revisions serve for compare-and-swap.

Next to each ledger stands who its Agent is. An Agent whose ledger was thrown away is another one with the same name,
as it would be in a cluster; so its uid depends on when it was first seen.
"""

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import KeyValueConfig
from nats.js.errors import (
    APIError,
    BucketNotFoundError,
    KeyNotFoundError,
    KeyWrongLastSequenceError,
    NotFoundError,
)
from nats.js.kv import KeyValue

from heed import names
from heed.bus.client.connection import Connection
from heed.core.codec.canonical_json import dump_compact
from heed.core.ledger.ledger import Ledger, dump_ledger, load_ledger
from heed.engine.ports import StoredLedger
from heed.errors import LedgerConflict, LedgerGone, LedgerUnavailable

BUCKET: Final = "HEED_LEDGERS"
_STREAM_NAME_IN_USE: Final = 10058  # JSStreamNameExistErr: two of us made it at once


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    """An Agent's identity. `since` is when it was first seen (RFC 3339); it reads events stored from then on."""

    uid: str
    since: str


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    try:
        yield
    except KeyWrongLastSequenceError as error:
        raise LedgerConflict("the ledger was written by someone else") from error
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise LedgerUnavailable(f"bucket {BUCKET}: {type(error).__name__}: {error}") from error


class Bucket(Protocol):
    """The part of nats-py's KeyValue that is used."""

    async def get(self, key: str, /) -> KeyValue.Entry:
        """The entry. Raises KeyNotFoundError."""

    async def create(self, key: str, value: bytes, /) -> int:
        """The revision of a new entry. Raises KeyWrongLastSequenceError where there is one."""

    async def update(self, key: str, value: bytes, /, *, last: int) -> int:
        """The revision of an entry that was at `last`. Raises KeyWrongLastSequenceError where it was not."""


class ConnectedBucket:
    """The bucket of all ledgers on the connection's current client: the broker may close one for good."""

    def __init__(self, connection: Connection, domain: str | None = None) -> None:
        self._connection, self._domain = connection, domain
        self._client: Client | None = None
        self._bucket: KeyValue | None = None

    async def get(self, key: str, /) -> KeyValue.Entry:
        """As Bucket."""
        return await (await self.open()).get(key)

    async def create(self, key: str, value: bytes, /) -> int:
        """As Bucket."""
        return await (await self.open()).create(key, value)

    async def update(self, key: str, value: bytes, /, *, last: int) -> int:
        """As Bucket."""
        return await (await self.open()).update(key, value, last=last)

    async def open(self) -> KeyValue:
        """The bucket, made where it is missing. Raises LedgerUnavailable."""
        client = self._connection.client
        if self._bucket is None or client is not self._client:
            self._bucket = await open_ledgers(client.jetstream(domain=self._domain))
            self._client = client
        return self._bucket


async def open_ledgers(js: JetStreamContext) -> KeyValue:
    """The bucket of all ledgers, made where it is missing. Raises LedgerUnavailable."""
    async with _answering():
        try:
            return await js.key_value(BUCKET)
        except BucketNotFoundError:
            pass
        try:
            return await js.create_key_value(KeyValueConfig(bucket=BUCKET, description="Ledgers of heed dev"))
        except APIError as error:
            if error.err_code != _STREAM_NAME_IN_USE:
                raise
            return await js.key_value(BUCKET)


class KeyValueLedgerStore:
    """The LedgerStore of one Agent in a KV bucket. `since` (RFC 3339) counts where the Agent was never seen before."""

    def __init__(self, bucket: Bucket, namespace: str, agent: str, *, since: str) -> None:
        self._bucket, self._key = bucket, f"{namespace}.{agent}"
        self._new = AgentIdentity(_uid(namespace, agent, since), since)
        self._known: AgentIdentity | None = None

    async def identify(self) -> AgentIdentity:
        """The Agent's identity, stored by the first call ever. Raises LedgerUnavailable."""
        record, _, _ = await self._read()
        self._known = AgentIdentity(record["uid"], record["since"])
        return self._known

    async def load(self) -> StoredLedger:
        """The ledger, an empty one where there was none. Raises LedgerGone, LedgerUnavailable."""
        record, version, size = await self._read()
        if self._known is not None and record["uid"] != self._known.uid:
            raise LedgerGone(f"the ledger of {self._key} was thrown away; start over")
        return StoredLedger(load_ledger(record["status"]), str(version), size)

    async def commit(self, base: StoredLedger, ledger: Ledger) -> StoredLedger:
        """Write `ledger` if the bucket still is at `base.version`. Raises LedgerConflict, LedgerUnavailable."""
        value = _record(self._known or await self.identify(), ledger)
        async with _answering():
            revision = await self._bucket.update(self._key, value, last=int(base.version))
        return StoredLedger(ledger, str(revision), len(value))

    async def _read(self) -> tuple[dict[str, Any], int, int]:
        """The record, its revision and its size."""
        async with _answering():
            try:
                entry = await self._bucket.get(self._key)
            except (KeyNotFoundError, NotFoundError):
                return await self._create()
            value = entry.value or b"{}"
            return json.loads(value), entry.revision or 0, len(value)

    async def _create(self) -> tuple[dict[str, Any], int, int]:
        value = _record(self._new, Ledger())
        revision = await self._bucket.create(self._key, value)
        return json.loads(value), revision, len(value)


def _record(identity: AgentIdentity, ledger: Ledger) -> bytes:
    return dump_compact(
        {"uid": identity.uid, "since": identity.since, "status": dump_ledger(ledger)}
    ).encode()


def _uid(namespace: str, agent: str, since: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{names.agent_source(namespace, agent)}#{since}"))
