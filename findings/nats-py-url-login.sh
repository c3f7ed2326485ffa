#!/usr/bin/env bash
# nats-py 2.16.0: user, password and token of a URL are sent as they stand in it, not percent-decoded. A URL that works
# with the `nats` command and every Go program (`nats://heed:a%2Fb@host`, password `a/b`) is an authorization error in
# Python: what comes over the wire is `a%2Fb`. Decode them yourself and pass user= and password=.
# Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install nats-py==2.16.0

cat > "$folder/look.py" <<'PYTHON'
import asyncio
import json
import sys
from importlib.metadata import version
from urllib.parse import quote

import nats

PASSWORD = "a/b"
print("nats-py", version("nats-py"), "on Python", sys.version.split()[0])


async def told(url, **options):
    """The password that a server is told at the connect."""
    heard = asyncio.get_running_loop().create_future()

    async def serve(reader, writer):
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"auth_required":true}\r\n')
        verb, _, text = (await reader.readline()).decode().partition(" ")
        assert verb == "CONNECT", verb
        heard.set_result(json.loads(text)["pass"])
        await reader.readline()
        writer.write(b"PONG\r\n")
        await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = await nats.connect(url.format(port=port), allow_reconnect=False, **options)
    await client.close()
    server.close()
    return await heard


async def main():
    in_url = await told("nats://heed:" + quote(PASSWORD, safe="") + "@127.0.0.1:{port}")
    apart = await told("nats://127.0.0.1:{port}", user="heed", password=PASSWORD)
    print(f"password {PASSWORD!r}, percent-encoded in the URL: the server is told {in_url!r}")
    print(f"password {PASSWORD!r}, as an option: the server is told {apart!r}")
    sys.exit((in_url, apart) != ("a%2Fb", "a/b"))


asyncio.run(main())
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
