#!/usr/bin/env bash
# PyYAML 6.0.4 and sigs.k8s.io/yaml 1.6.0 (which kubectl reads manifests with): what one writes as a text, the other reads
# as a number.
# Guess: both speak YAML 1.1, and a dumper quotes what would be read as something else. `'1_0'` and `'0777'` are quoted.
# Really: PyYAML goes by YAML 1.1 to the letter (a float has a dot and a signed exponent, an octal begins with 0), and
# leaves quotes away from what is a number by YAML 1.2 or to Go: a commit `25921e05` becomes 2592100000, the month `08`
# becomes 8, `0o17` 15; `y` becomes true. No error anywhere: an image's tag or a ConfigMap's value is another one, or
# the API server refuses a number where it wants a text; with short commit ids that happens now and then.
# What it means: where kubectl reads it, write JSON (which is YAML), or quote all texts (default_style='"').
# Source: YAML 1.2.2, section 10.3.2 (core schema); PyYAML issues 173 and 860, both open.
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
EXPECTED = {"25921e05": 2592100000, "1E5": 100000, "0o17": 15, "08": 8, "y": True, "1_0": "1_0", "0777": "0777"}


def read_by_go(text):
    done = subprocess.run([sys.argv[1]], input=text, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


written = {text: yaml.safe_dump({"value": text}) for text in EXPECTED}
assert all(yaml.safe_load(document) == {"value": text} for text, document in written.items())
seen = {text: read_by_go(document)["value"] for text, document in written.items()}
for text, document in written.items():
    print(f"  {text!r:11} is written as `{document.strip()}`, Go reads {seen[text]!r}")
quoted = {text: read_by_go(yaml.safe_dump({"value": text}, default_style='"'))["value"] for text in EXPECTED}
print("with default_style='\"' all are read as they were:", all(text == value for text, value in quoted.items()))
changed = [text for text, value in EXPECTED.items() if (type(seen[text]), seen[text]) != (type(value), value)]
if changed or any(text != value for text, value in quoted.items()):
    sys.exit(f"changed: {changed or quoted}")
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/read"
