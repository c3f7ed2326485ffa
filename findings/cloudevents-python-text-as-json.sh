#!/usr/bin/env bash
# cloudevents 2.2.0 (Python): in binary mode, data that is a text and of the type application/json is not written as JSON.
# Guess: data "12345" (a postal code) with application/json is the body "12345" with quotes, since that is the JSON
# value; and whatever the library writes, it reads back.
# Really: the text becomes the body as it stands. `12345` is read back as the number 12345, `true` as True, `null` as no
# data, `{"a": 1}` as an object; `hello` is no JSON at all, which the library itself reads leniently and other readers
# refuse. `007` comes through, because that is no JSON. In structured mode all is well, so what arrives depends on a mode
# that the application does not choose. A list or an object that holds such a text is fine, too.
# Beside it: an extension that is True becomes `True`; the canonical text of a Boolean is `true` (spec, type system).
# What it means: with JSON, give the library no bare text as data: wrap it in an object, or encode it and pass bytes.
# Source: CloudEvents 1.0.2, HTTP binding, section 2.2: data is "encoded as declared by the datacontenttype attribute".
# Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install cloudevents==2.2.0

cat > "$folder/look.py" <<'PYTHON'
import sys
from importlib.metadata import version

from cloudevents.core.bindings.http import from_http, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

print("cloudevents", version("cloudevents"), "on Python", sys.version.split()[0])
JSON = JSONFormat()
ATTRIBUTES = {
    "specversion": "1.0",
    "id": "1",
    "source": "/orders",
    "type": "com.example.order",
    "datacontenttype": "application/json",
    "sampled": True,
}


def look(data):
    event = CloudEvent(ATTRIBUTES, data=data)
    binary, structured = to_binary(event, JSON), to_structured(event, JSON)
    seen = binary.body, from_http(binary, JSON).get_data(), from_http(structured, JSON).get_data()
    print(f"  data {data!r:12} binary body {seen[0]!r:14} read back {seen[1]!r:12} from structured mode {seen[2]!r}")
    return seen


expected = {
    "12345": (b"12345", 12345, "12345"),
    "true": (b"true", True, "true"),
    "null": (b"null", None, "null"),
    '{"a": 1}': (b'{"a": 1}', {"a": 1}, '{"a": 1}'),
    "hello": (b"hello", "hello", "hello"),
    "007": (b"007", "007", "007"),
}
changed = [data for data, wanted in expected.items() if look(data) != wanted]
wrapped = {"code": "12345"}
if look(wrapped) != (b'{"code": "12345"}', wrapped, wrapped):
    changed.append("wrapped")
flag = to_binary(CloudEvent(ATTRIBUTES, data=None), JSON).headers["ce-sampled"]
print("  extension True in a header:", flag)
if flag != "True":
    changed.append("extension")
print("changed:", changed or "nothing")
sys.exit(bool(changed))
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
