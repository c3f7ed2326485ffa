#!/usr/bin/env bash
# `format: duration` in the schema of a custom resource: what the API server lets in (kube-openapi, in the version that
# Kubernetes 1.37's apimachinery 0.37.2 names), what a controller in Go reads (metav1.Duration), and what a JSON Schema
# validator makes of the same schema (jsonschema-rs 0.60.3).
# Guess: one format, one syntax; what the API server has stored, the controller can read. Or, for who knows JSON Schema:
# the format is RFC 3339's ISO 8601 duration.
# Really: the API server takes Go's syntax, ISO's, and days and weeks in words (`1d`, `3 weeks`, `1day2hours`).
# metav1.Duration, the Go type that the format is put on (`+kubebuilder:validation:Format=duration`), reads Go's syntax
# only: one stored `1d` fails to decode, and with it every list that holds it. A validator outside the cluster wants ISO
# and refuses `1h`, the spelling that the controller reads. None of the spellings below is good for all three.
# What it means: add a pattern that is Go's syntax, or keep the field a string and check it by a CEL rule.
# Source: apiextensions-apiserver issue 56, apimachinery issue 131 (both closed as stale); kubeconform issues 300 and 347;
# JSON Schema validation, section 7.3.1.
# Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install jsonschema-rs==0.60.3

export GOPATH="$folder/go" GOFLAGS="-mod=mod -modcacherw -trimpath"
mkdir "$folder/reader"
cat > "$folder/reader/go.mod" <<'GO'
module reader

go 1.26

require (
	k8s.io/apimachinery v0.37.2
	k8s.io/kube-openapi v0.0.0-20260721132016-d427ff9ee9ad
)
GO
cat > "$folder/reader/main.go" <<'GO'
package main

import (
	"encoding/json"
	"fmt"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
)

func main() {
	for _, text := range os.Args[1:] {
		quoted, _ := json.Marshal(text)
		var read metav1.Duration
		fmt.Println(strfmt.Default.Validates("duration", text), json.Unmarshal(quoted, &read) == nil)
	}
}
GO
(cd "$folder/reader" && go build -o "$folder/read" . 2> "$folder/log") || { cat "$folder/log"; exit 1; }

cat > "$folder/look.py" <<'PYTHON'
import subprocess
import sys
from importlib.metadata import version

import jsonschema_rs

print("apimachinery v0.37.2 with its kube-openapi, jsonschema-rs", version("jsonschema-rs"))
EXPECTED = {  # API server, metav1.Duration, JSON Schema
    "1h": (True, True, False),
    "1h30m": (True, True, False),
    "0": (True, True, False),
    "1d": (True, False, False),
    "3 weeks": (True, False, False),
    "1day2hours": (True, False, False),
    "PT1H": (True, False, True),
    "P1D": (True, False, True),
    "P1Y": (False, False, True),
}
schema = jsonschema_rs.validator_for({"type": "string", "format": "duration"}, validate_formats=True)
done = subprocess.run([sys.argv[1], *EXPECTED], capture_output=True, text=True, check=True)
changed = []
for (text, expected), line in zip(EXPECTED.items(), done.stdout.splitlines(), strict=True):
    server, controller = (word == "true" for word in line.split())
    seen = server, controller, schema.is_valid(text)
    words = ["yes" if taken else "no" for taken in seen]
    print(f"  {text!r:13} API server {words[0]:4} metav1.Duration {words[1]:4} JSON Schema {words[2]}")
    if seen != expected:
        changed.append(text)
print("changed:", changed or "nothing")
sys.exit(bool(changed))
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/read"
