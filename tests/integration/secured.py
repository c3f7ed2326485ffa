"""A real broker in JWT mode, and users of it: Heed itself, publishers, Jobs, and whoever pretends to be one."""

import json
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from heed import names
from heed.bus.auth.accounts import ACCOUNT_SEED, ADMIN_CREDS, AUTH_CONF, OPERATOR_CREDS, make_broker_keys
from heed.bus.auth.jwt import SubjectPermissions, UserSigner
from heed.bus.client.connection import Connection, connect
from heed.bus.client.streams import ensure_streams
from heed.bus.task_credentials import TaskCredentials
from heed.core.effects import AgentRef, TaskWork
from heed.settings import Settings
from tests.builders.tasks import task_work
from tests.nats_server import NatsServer
from tests.patience import PATIENCE


class SecuredBroker:
    """The server, its keys, and ways to connect."""

    def __init__(self, folder: Path) -> None:
        self.keys: Mapping[str, str] = make_broker_keys(int(time.time()))
        self.signer = UserSigner.of(self.keys[ACCOUNT_SEED])
        self.folder = folder
        (folder / AUTH_CONF).write_text(self.keys[AUTH_CONF])
        self.server = NatsServer(folder / "nats", "-c", str(folder / AUTH_CONF))

    def minted(self, grants: SubjectPermissions, lifetime: int | None = 600) -> str:
        """Credentials of a client with any permissions."""
        return self.signer.credentials("test", grants, now=int(time.time()), lifetime=lifetime)

    def of_job(self, work: TaskWork) -> str:
        """Credentials as a Job gets them."""
        return TaskCredentials(self.server.url, self.signer).credentials(work)

    @asynccontextmanager
    async def user(self, credentials: str | None, prefix: str = "_INBOX") -> AsyncIterator["User"]:
        """Somebody who is connected with credentials. Raises what the client library raises where they are refused."""
        user = User()
        with tempfile.NamedTemporaryFile("w", dir=self.folder, suffix=".creds") as file:
            file.write(credentials or "")
            file.flush()
            options: dict[str, Any] = {"user_credentials": file.name} if credentials else {}
            try:
                await user.client.connect(
                    self.server.url,
                    inbox_prefix=prefix,
                    error_cb=user.failed,
                    allow_reconnect=False,
                    connect_timeout=round(PATIENCE),
                    **options,
                )
                yield user
            finally:
                await user.client.close()

    @asynccontextmanager
    async def heed(self) -> AsyncIterator[Connection]:
        """Heed's own connection, with its own credentials and no more."""
        settings = Settings(nats_url=self.server.url)
        connection = await connect(settings, "heed", attempts=3, credentials=self.keys[OPERATOR_CREDS])
        try:
            await ensure_streams(connection, settings.stream)
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def admin(self) -> AsyncIterator["User"]:
        """Somebody who may do everything."""
        async with self.user(self.keys[ADMIN_CREDS]) as user:
            yield user


class User:
    """A client, and the errors that the server sent it."""

    def __init__(self) -> None:
        self.client = Client()
        self.errors: list[str] = []

    async def failed(self, error: Exception) -> None:
        self.errors.append(str(error))

    async def publish(
        self, subject: str, data: Any = None, headers: Mapping[str, str] | None = None, reply: str = ""
    ) -> None:
        """Publish, and have the server have seen it."""
        payload = json.dumps(data).encode()
        await self.client.publish(subject, payload, reply=reply, headers=dict(headers or {}) or None)
        await self.client.flush()

    async def request(self, subject: str, data: Any = None, headers: Mapping[str, str] | None = None) -> Msg:
        return await self.client.request(
            subject, json.dumps(data).encode(), timeout=PATIENCE, headers=dict(headers or {}) or None
        )

    async def stored(self, stream: str = names.STREAM) -> list[tuple[str, bytes]]:
        """Subject and payload of every message of a stream, oldest first; for admins."""
        jetstream = self.client.jetstream()
        state = (await jetstream.stream_info(stream)).state
        if not state.messages:
            return []
        found = [await jetstream.get_msg(stream, seq) for seq in range(state.first_seq, state.last_seq + 1)]
        return [(str(item.subject), item.data or b"") for item in found]


def spying(
    namespace: str, agent: str = "spy", id: str = "look-1", publish: tuple[str, ...] = (">",), **more: Any
) -> TaskWork:
    """A task whose Job may publish."""
    facts = {"task": "look", "spec": {}, "document": {}, "timeout": 600, "retention": 60, **more}
    return task_work(agent=AgentRef(namespace, agent, "uid"), id=id, publish=publish, **facts)


def event_headers(type_: str, id: str = "e-1") -> dict[str, str]:
    """The headers of an event in binary mode."""
    return {"ce-specversion": "1.0", "ce-id": id, "ce-source": "/job", "ce-type": type_}
