#!/usr/bin/env bash
# PyYAML 6.0.4 and sigs.k8s.io/yaml 1.6.0 (which kubectl reads manifests with): what a merge key (`<<`) does to a key that
# stands above it in the same map.
# Guess: a map's own keys always win over merged ones, wherever `<<` stands: a map has no order, and the merge key's
# page says so of keys that are in the map already.
# Really: so it is in PyYAML. In kubectl `<<` overrides what stands above it and is overridden by what stands below it, so
# the same manifest has other values by the order of two lines. Of two `<<` in one map kubectl takes the lower one, PyYAML
# the upper one; of one with a list, both the first map of it.
# What it means: write `<<` first in its map. A checker in Python sees another manifest than the cluster gets.
# Source: yaml.org/type/merge.html; go-yaml v2, decode.go (merges while it reads the map).
# Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install PyYAML==6.0.4

export GOPATH="$folder/go" GOFLAGS="-mod=mod -modcacherw -trimpath"
mkdir "$folder/reader"
cat > "$folder/reader/go.mod" <<'GO'
module reader

go 1.23

require sigs.k8s.io/yaml v1.6.0
GO
cat > "$folder/reader/main.go" <<'GO'
package main

import (
	"fmt"
	"io"
	"os"

	"sigs.k8s.io/yaml"
)

func main() {
	text, _ := io.ReadAll(os.Stdin)
	document, err := yaml.YAMLToJSON(text)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(document))
}
GO
(cd "$folder/reader" && go build -o "$folder/read" . 2> "$folder/log") || { cat "$folder/log"; exit 1; }

cat > "$folder/look.py" <<'PYTHON'
import json
import subprocess
import sys
from importlib.metadata import version

import yaml

print("PyYAML", version("PyYAML"), "on Python", sys.version.split()[0], "and sigs.k8s.io/yaml v1.6.0")
BASES = "one: &one {v: one}\ntwo: &two {v: two}\n"
EXPECTED = {  # members of a map: the value of v in PyYAML, and in kubectl
    "<<: *one\n  v: own": ("own", "own"),
    "v: own\n  <<: *one": ("own", "one"),
    "<<: [*one, *two]": ("one", "one"),
    "<<: *one\n  <<: *two": ("one", "two"),
}


def read_by_go(text):
    done = subprocess.run([sys.argv[1]], input=text, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


changed = []
for members, expected in EXPECTED.items():
    document = f"{BASES}x:\n  {members}\n"
    seen = yaml.safe_load(document)["x"]["v"], read_by_go(document)["x"]["v"]
    print(f"  {members!r:24} PyYAML: {seen[0]!r}, Go: {seen[1]!r}")
    if seen != expected:
        changed.append((members, seen))
if changed:
    sys.exit(f"changed: {changed}")
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/read"
