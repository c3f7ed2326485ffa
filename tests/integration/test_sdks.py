"""Senders made with the SDKs of CloudEvents publish now what is kept of them, and Heed reads it from the stream."""

import asyncio
import json

import pytest

from heed.bus.client.connection import Connection
from tests.nats_server import NatsServer
from tests.sdks.availability import skipping_unavailable
from tests.sdks.sending import HERE, SENDERS, Message, Sender, sent

KEPT = [Message(**item) for item in json.loads((HERE / "messages.json").read_text())]
OF_THE_MOMENT = ("ce-time", "time")  # some SDKs make up a time where there is none


def comparable(message: Message) -> tuple[object, ...]:
    """A message without the times that SDKs make up, and without the order of members and headers."""
    headers = {name: value for name, value in message.headers.items() if name not in OF_THE_MOMENT}
    try:
        body = json.loads(message.body)
    except ValueError:
        body = message.body
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in OF_THE_MOMENT}
    return message.event, headers, body


@pytest.mark.parametrize("sender", SENDERS, ids=str)
async def test_a_sender_publishes_what_is_kept_of_it(
    sender: Sender, nats_server: NatsServer, connection: Connection
) -> None:
    with skipping_unavailable(fails_in_ci=sender.sdk.startswith("go")):
        now = await asyncio.to_thread(sent, sender, nats_server.url)
    assert [comparable(item) for item in now] == [
        comparable(item) for item in KEPT if item.sender == str(sender)
    ]
