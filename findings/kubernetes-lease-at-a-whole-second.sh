#!/usr/bin/env bash
# kubernetes 37.0.2 (Python) and k8s.io/apimachinery 0.37.2 (which the API server decodes with): a Lease whose time has
# no fraction of a second cannot be written.
# Guess: `renew_time` takes a datetime, so every datetime will do; RFC 3339 makes the fraction optional, and Time, the
# sibling of MicroTime, takes zero to nine digits.
# Really: the client writes isoformat(), which leaves the fraction out where it is zero. MicroTime wants exactly six
# digits: what comes is an error of decoding, HTTP 400, before any validation. Once in a million renewals, if the clock
# is used as it is; always, for who rounds to seconds (`replace(microsecond=0)`) or freezes time in a test.
# `event_time` of an Event is a MicroTime, too. JavaScript's toISOString (three digits) and nanoseconds are refused as well.
# What it means: write these fields yourself: strftime("%Y-%m-%dT%H:%M:%S.%fZ"), or isoformat(timespec="microseconds").
# Source: kubernetes pull request 141204 (open) would have MicroTime take what Time takes.
# Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install kubernetes==37.0.2

export GOPATH="$folder/go" GOFLAGS="-mod=mod -modcacherw -trimpath"
mkdir "$folder/reader"
cat > "$folder/reader/go.mod" <<'GO'
module reader

go 1.26

require k8s.io/apimachinery v0.37.2
GO
cat > "$folder/reader/main.go" <<'GO'
package main

import (
	"encoding/json"
	"fmt"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func main() {
	for _, text := range os.Args[1:] {
		quoted, _ := json.Marshal(text)
		var micro metav1.MicroTime
		var whole metav1.Time
		fmt.Println(json.Unmarshal(quoted, &micro) == nil, json.Unmarshal(quoted, &whole) == nil)
	}
}
GO
(cd "$folder/reader" && go build -o "$folder/read" . 2> "$folder/log") || { cat "$folder/log"; exit 1; }

cat > "$folder/look.py" <<'PYTHON'
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import version

from kubernetes import client

print("kubernetes", version("kubernetes"), "on Python", sys.version.split()[0], "and apimachinery v0.37.2")


def written(microsecond):
    at = datetime(2026, 1, 31, 12, 0, 0, microsecond, tzinfo=timezone.utc)
    lease = client.V1Lease(spec=client.V1LeaseSpec(renew_time=at))
    return client.ApiClient().sanitize_for_serialization(lease)["spec"]["renewTime"]


EXPECTED = {
    written(0): ("false", "true"),
    written(1): ("true", "true"),
    written(500_000): ("true", "true"),
    "2026-01-31T12:00:00.000000Z": ("true", "true"),
    "2026-01-31T12:00:00.500Z": ("false", "true"),
    "2026-01-31T12:00:00.123456789Z": ("false", "true"),
}
done = subprocess.run([sys.argv[1], *EXPECTED], capture_output=True, text=True, check=True)
seen = dict(zip(EXPECTED, (tuple(line.split()) for line in done.stdout.splitlines())))
for text, (micro, whole) in seen.items():
    print(f"  {text:34} MicroTime takes it: {micro:6} Time takes it: {whole}")
if seen != EXPECTED or next(iter(seen)) != "2026-01-31T12:00:00+00:00":
    sys.exit("changed")
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/read"
