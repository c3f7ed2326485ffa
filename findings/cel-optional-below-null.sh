#!/usr/bin/env bash
# CEL in two implementations: cel-go 0.32.0 (the one that Kubernetes uses; here as it comes) and cel-expr-python 0.1.3
# (cel-cpp). The variable x is JSON: {"n": null, "s": "text", "m": {"b": 1}}.
# Guess: CEL is one language with a specification and a conformance suite; and `?.` is there so that what is missing on
# the way is no error: `x.?n.?b.orValue("d")` is "d" where n is null, as with optional chaining elsewhere.
# Really: it is "d" in Go, and in C++ an error: `?` stands only before a field of a map, and null is none. So is
# `has(x.n.b)`: false in Go, an error in C++. In JSON, null and missing mean the same to most senders, so an expression
# that was tried in Kubernetes, or with data in which n is missing, breaks with the first event that says `"n": null`.
# What it means: ask for the type first: `type(x.n) == map ? x.n.?b.orValue("d") : "d"`, which both understand.
# Source: cel-go issue 937 asks for this behaviour in Go, where a release had lost it.
# Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install cel-expr-python==0.1.3

export GOPATH="$folder/go" GOFLAGS="-mod=mod -modcacherw -trimpath"
mkdir "$folder/go-side"
cat > "$folder/go-side/go.mod" <<'GO'
module side

go 1.24

require cel.dev/cel-go v0.32.0
GO
cat > "$folder/go-side/main.go" <<'GO'
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"cel.dev/cel-go/cel"
)

func main() {
	var x any
	if err := json.Unmarshal([]byte(os.Args[1]), &x); err != nil {
		panic(err)
	}
	env, _ := cel.NewEnv(cel.OptionalTypes(), cel.Variable("x", cel.DynType))
	for _, source := range os.Args[2:] {
		compiled, issues := env.Compile(source)
		if issues.Err() != nil {
			panic(issues.Err())
		}
		program, _ := env.Program(compiled)
		value, _, err := program.Eval(map[string]any{"x": x})
		if err != nil {
			fmt.Println("error")
		} else {
			fmt.Println(value.Value())
		}
	}
}
GO
(cd "$folder/go-side" && go build -o "$folder/evaluate" . 2> "$folder/log") || { cat "$folder/log"; exit 1; }

cat > "$folder/look.py" <<'PYTHON'
import json
import subprocess
import sys
from importlib.metadata import version

from cel_expr_python import cel
from cel_expr_python.ext import ext_optional

print("cel-go v0.32.0, and cel-expr-python", version("cel-expr-python"), "on Python", sys.version.split()[0])
X = {"n": None, "s": "text", "m": {"b": 1}}
EXPECTED = {  # in Go, in C++
    'x.?n.?b.orValue("d")': ("d", "error"),
    'x.?s.?b.orValue("d")': ("d", "error"),
    'x.?gone.?b.orValue("d")': ("d", "d"),
    "has(x.n.b)": ("false", "error"),
    "has(x.s.b)": ("false", "error"),
    "has(x.m.c)": ("false", "false"),
    'type(x.n) == map ? x.n.?b.orValue("d") : "d"': ("d", "d"),
}
done = subprocess.run([sys.argv[1], json.dumps(X), *EXPECTED], capture_output=True, text=True, check=True)
in_go = done.stdout.splitlines()
env = cel.NewEnv(variables={"x": cel.Type.DYN}, extensions=[ext_optional.ExtOptional()])


def in_cpp(source):
    value = env.compile(source).eval(env.Activation({"x": X}))
    if value.type().name() == "ERROR":
        return "error"
    plain = value.plain_value()
    return str(plain).lower() if isinstance(plain, bool) else plain


changed = []
for source, go in zip(EXPECTED, in_go, strict=True):
    seen = go, in_cpp(source)
    print(f"  {source:46} in Go: {seen[0]:6} in C++: {seen[1]}")
    if seen != EXPECTED[source]:
        changed.append(source)
print("changed:", changed or "nothing")
sys.exit(bool(changed))
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/evaluate"
