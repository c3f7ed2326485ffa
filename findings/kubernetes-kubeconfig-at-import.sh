#!/usr/bin/env bash
# kubernetes 37.0.2 (Python): KUBECONFIG is read when the package is imported, not when a configuration is loaded. A
# program that sets the variable later, in a test's monkeypatch, after a fork, or from a setting of its own, goes on
# talking to the cluster of before, without a word; so does kubernetes.aio. Where
# the variable was not there at the import, ~/.kube/config is meant for good. Name the file: config_file=….
# Exits with 0 as long as this is so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install kubernetes==37.0.2 aiohttp

for name in first second; do
  cat > "$folder/$name" <<YAML
apiVersion: v1
kind: Config
current-context: $name
contexts: [{name: $name, context: {cluster: $name, user: $name}}]
clusters: [{name: $name, cluster: {server: "https://$name.example"}}]
users: [{name: $name, user: {token: t}}]
YAML
done

cat > "$folder/look.py" <<'PYTHON'
import asyncio
import os
import sys
from importlib.metadata import version

folder = sys.argv[1]
os.environ["KUBECONFIG"] = f"{folder}/first"
from kubernetes import client, config  # noqa: E402
from kubernetes.aio import client as aio_client  # noqa: E402
from kubernetes.aio import config as aio_config  # noqa: E402

print("kubernetes", version("kubernetes"), "on Python", sys.version.split()[0])
os.environ["KUBECONFIG"] = f"{folder}/second"


def loaded(**options):
    configuration = client.Configuration()
    config.load_kube_config(client_configuration=configuration, **options)
    return configuration.host


async def aio_loaded(**options):
    configuration = aio_client.Configuration()
    await aio_config.load_kube_config(client_configuration=configuration, **options)
    return configuration.host


seen = {
    "load_kube_config()": loaded(),
    "list_kube_config_contexts()": config.list_kube_config_contexts()[1]["name"],
    "aio load_kube_config()": asyncio.run(aio_loaded()),
    "load_kube_config(config_file=KUBECONFIG)": loaded(config_file=os.environ["KUBECONFIG"]),
}
print("imported with KUBECONFIG=first, loaded with KUBECONFIG=second:")
for call, found in seen.items():
    print(f"  {call:42} {found}")
stale = ["https://first.example", "first", "https://first.example", "https://second.example"]
sys.exit(list(seen.values()) != stale)
PYTHON

"$folder/venv/bin/python" "$folder/look.py" "$folder"
