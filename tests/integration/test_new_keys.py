"""New keys for a broker in JWT mode: the streams belong to the old accounts, and a backup carries them over."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from heed import names
from heed.bus.auth import accounts
from heed.bus.client.connection import Connection, connect
from heed.bus.client.streams import ensure_streams
from heed.bus.jetstream import JetStreamBus
from heed.core.events import Event
from heed.errors import BusUnavailable
from heed.settings import Settings, StreamSettings
from tests.nats_backup import back_up, restore
from tests.nats_server import NatsServer, require_nats_server

SUBJECT = names.event_subject("demo", "com.example.note")


def keys_in(folder: Path) -> Path:
    """New keys, as files."""
    files: Mapping[str, str] = accounts.make_broker_keys(1)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


def broker(store: Path, keys: Path) -> NatsServer:
    return NatsServer(store, "-c", str(keys / accounts.AUTH_CONF))


async def administrator(server: NatsServer, keys: Path) -> Connection:
    settings = Settings(nats_url=server.url, nats_credentials=str(keys / accounts.ADMIN_CREDS))
    return await connect(settings, "test", attempts=3)


async def test_a_backup_carries_the_stream_over_to_new_keys(tmp_path: Path) -> None:
    require_nats_server()
    store, old, new = tmp_path / "nats", keys_in(tmp_path / "old"), keys_in(tmp_path / "new")
    # Given a stream with an event, and a backup of it
    with broker(store, old) as server:
        before = await administrator(server, old)
        await ensure_streams(before, StreamSettings())
        await JetStreamBus(before).publish(SUBJECT, Event("e-1", "/test", "com.example.note"))
        info, chunks = await back_up(before)
        await before.close()

    # When the broker gets new keys
    with broker(store, new) as server:
        after = await administrator(server, new)

        # Then the stream is out of sight, and the old keys open nothing
        with pytest.raises(BusUnavailable):
            await after.api(f"STREAM.INFO.{names.STREAM}")
        with pytest.raises(BusUnavailable):
            await administrator(server, old)

        # And the backup brings the event back
        await restore(after, info, chunks)
        found = await after.api(f"STREAM.MSG.GET.{names.STREAM}", {"last_by_subj": SUBJECT})
        assert found["message"]["seq"] == 1
        await after.close()

    # And with the old keys all is as it was
    with broker(store, old) as server:
        again = await administrator(server, old)
        state = (await again.api(f"STREAM.INFO.{names.STREAM}"))["state"]
        assert state["messages"] == 1
        await again.close()
