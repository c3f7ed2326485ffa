"""A backup of the stream, taken and restored through the broker's API, as the `nats` command line tool does it."""

import json
from typing import Any

from heed.bus.client.connection import Connection


async def back_up(connection: Connection) -> tuple[dict[str, Any], list[bytes]]:
    """A backup, as `nats stream backup` takes it: the stream's configuration and state, and its chunks."""
    subscription = await connection.client.subscribe(connection.client.new_inbox())
    info = await connection.api("STREAM.SNAPSHOT.HEED", {"deliver_subject": subscription.subject})
    chunks: list[bytes] = []
    while (message := await subscription.next_msg(5)).data:
        chunks.append(message.data)
        if message.reply:
            await connection.client.publish(message.reply)
    await subscription.unsubscribe()
    return {"config": info["config"], "state": info["state"]}, chunks


async def restore(connection: Connection, info: dict[str, Any], chunks: list[bytes]) -> None:
    """As `nats stream restore`."""
    subject = (await connection.api("STREAM.RESTORE.HEED", info))["deliver_subject"]
    for chunk in chunks:
        await connection.request(subject, chunk)
    answer = json.loads((await connection.request(subject)).data)
    assert "error" not in answer, answer
