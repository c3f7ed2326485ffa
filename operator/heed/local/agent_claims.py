"""Claims on Agents, so that no two `heed dev` run the same Agent on one broker.

A claim is an entry beside the ledgers that names its holder, and the holder answers for it as long as it is connected:
the claim of one that crashed is free at once, with no clock involved. Whatever a claim misses, the ledger's
compare-and-swap refuses.
"""

import json
import os
import socket
import uuid
from pathlib import Path
from typing import Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError

from heed.bus.client.connection import Connection
from heed.errors import HeedError, LedgerUnavailable
from heed.local.ledger_store import Bucket

CLAIM_REPLY_TIMEOUT_S: Final = (
    2.0  # seconds for a holder to answer; one that is connected and does not, holds on
)
MAX_CLAIM_TRIES: Final = 10  # of those who claim the same Agent at the same time, one wins each


class AgentTaken(HeedError):
    """Another `heed dev` runs the Agent on this broker."""


class AgentClaims:
    """The Agents that one process claims on a broker. `folder` is its state folder."""

    def __init__(self, bucket: Bucket, client: Client, folder: Path) -> None:
        self._bucket, self._client = bucket, client
        self._id = uuid.uuid4().hex
        self._who = f"process {os.getpid()} on {socket.gethostname()} in {folder.absolute()}"
        self._held: set[str] = set()

    async def open(self) -> None:
        """Start answering queries about held claims."""
        await self._client.subscribe(_subject(self._id), cb=self._answer)
        await self._client.flush()

    async def serve(self, connection: Connection) -> None:
        """Answer on the connection's current client until cancelled: the broker may close one for good."""

        async def begin(client: Client) -> None:
            self._client = client
            await self.open()

        await connection.serve_clients(begin, self._client)

    async def take(self, namespace: str, agent: str) -> None:
        """Claim an Agent. Idempotent. Raises AgentTaken, LedgerUnavailable."""
        key = _key(namespace, agent)
        if key in self._held:
            return
        self._held.add(key)
        try:
            await self._take(key, f"{namespace}/{agent}")
        except BaseException as error:
            self._held.discard(key)
            if isinstance(error, nats.errors.Error | OSError):  # timeouts are OSErrors
                raise LedgerUnavailable(f"{namespace}/{agent} cannot be claimed: {error!r}") from error
            raise

    def release(self, namespace: str, agent: str) -> None:
        """Release the claim."""
        self._held.discard(_key(namespace, agent))

    async def _take(self, key: str, agent: str) -> None:
        mine = json.dumps({"holder": self._id, "who": self._who}).encode()
        for _ in range(MAX_CLAIM_TRIES):
            try:
                try:
                    entry = await self._bucket.get(key)
                except KeyNotFoundError:
                    await self._bucket.create(key, mine)
                    return
                record = json.loads(entry.value or b"{}")
                if await self._is_held(record.get("holder"), key):
                    raise AgentTaken(
                        f"{agent} is run by another `heed dev` on this broker ({record.get('who')}); "
                        "stop that one, name another broker with --nats, or give the Agent another name"
                    )
                await self._bucket.update(key, mine, last=entry.revision or 0)
                return
            except KeyWrongLastSequenceError:
                continue
        raise AgentTaken(f"{agent} is being claimed by others on this broker; try again")

    async def _is_held(self, holder: str | None, key: str) -> bool:
        if holder in (None, self._id):
            return False
        try:
            reply = await self._client.request(
                _subject(str(holder)), key.encode(), timeout=CLAIM_REPLY_TIMEOUT_S
            )
        except nats.errors.NoRespondersError:
            return False
        except nats.errors.TimeoutError:
            return True
        return bool(reply.data)

    async def _answer(self, message: Msg) -> None:
        await message.respond(b"held" if message.data.decode() in self._held else b"")


def _key(namespace: str, agent: str) -> str:
    """Beside the ledgers' keys, whose first token is a namespace and so has no underscore."""
    return f"_claim.{namespace}.{agent}"


def _subject(holder: str) -> str:
    return f"heed-dev.{holder}"
