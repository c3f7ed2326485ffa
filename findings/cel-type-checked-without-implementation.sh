#!/usr/bin/env bash
# cel-expr-python 0.1.3 (cel-cpp): the type checker accepts conversions that the runtime does not have. `duration(60)` and
# `int(duration("60s"))` compile to DURATION and INT, and every evaluation is an error value, not an exception; its plain
# value is a text, which Python takes for true. So "it compiles" does not mean "it can be evaluated": try an expression
# once, or look at the overload that the checker chose (int64_to_duration, duration_to_int64). Seen beside it: a
# timestamp's plain value ends at microseconds while string() keeps nanoseconds, and %s writes six digits of a double.
# Exits with 0 as long as all of this is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install cel-expr-python==0.1.3

cat > "$folder/look.py" <<'PYTHON'
import sys
from importlib.metadata import version

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

env = cel.NewEnv(extensions=[ext_strings.ExtStrings()])
print("cel-expr-python", version("cel-expr-python"), "on Python", sys.version.split()[0])


def look(source):
    compiled = env.compile(source)
    value = compiled.eval(env.Activation({}))
    seen = compiled.return_type().name(), value.type().name(), str(value.plain_value())
    print(f"{source}\n    checked as {seen[0]}, evaluated to {seen[1]}: {seen[2]}")
    return seen


time = "timestamp('2026-01-31T12:00:00.123456789Z')"
expected = {
    "duration(60)": ("DURATION", "ERROR", "UNKNOWN: No matching overloads found : duration(int64)"),
    'int(duration("60s"))': ("INT", "ERROR", "UNKNOWN: No matching overloads found : int(duration)"),
    'duration("60s").getSeconds()': ("INT", "INT", "60"),
    time: ("TIMESTAMP", "TIMESTAMP", "2026-01-31 12:00:00.123456+00:00"),
    f"string({time})": ("STRING", "STRING", "2026-01-31T12:00:00.123456789Z"),
    "'%s'.format([1234567.89])": ("STRING", "STRING", "1.23457e+06"),
    "string(1234567.89)": ("STRING", "STRING", "1.23456789e+06"),
}
changed = [source for source, wanted in expected.items() if look(source) != wanted]
print("changed:", changed if changed else "nothing")
sys.exit(bool(changed))
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
