"""What `helm test` runs: publish one event, and wait until the Agent's status says that it was handled.

It needs the `heed` command and a service account that may read the one Agent.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ACCOUNT = Path(os.environ.get("HEED_TEST_ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount"))
PAUSE = 1.0  # seconds between two looks


def main() -> int:
    """0 as soon as one more event was handled; 1 with what was missing when the time was over."""
    namespace, agent = os.environ["HEED_TEST_NAMESPACE"], os.environ["HEED_TEST_AGENT"]
    end = time.monotonic() + float(os.environ["HEED_TEST_TIMEOUT"])
    problem, published = "nothing was tried", False
    while time.monotonic() < end:
        try:
            status = status_of(namespace, agent)
            if status.get("totals", {}).get("handled", 0) > 0:
                print(f"Agent {namespace}/{agent} has handled an event")
                return 0
            problem = waiting_for(status, published)
            if is_ready(status) and not published:
                publish(namespace, os.environ["HEED_TEST_TYPE"])
                published = True
        except (OSError, RuntimeError) as error:
            problem = str(error)
        time.sleep(PAUSE)
    print(f"Agent {namespace}/{agent} has handled no event in time: {problem}", file=sys.stderr)
    return 1


def status_of(namespace: str, agent: str) -> dict[str, Any]:
    """The Agent's status. Raises OSError, also where the API server refuses."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    url = f"https://{host}:{port}/apis/heed.dev/v1alpha1/namespaces/{namespace}/agents/{agent}"
    request = urllib.request.Request(url)
    request.add_header("Authorization", f"Bearer {(ACCOUNT / 'token').read_text()}")
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    without_proxy = urllib.request.ProxyHandler({})
    opener = urllib.request.build_opener(without_proxy, urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=10) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise RuntimeError(
                f"the API server said {error.code} to {url}: {error.read().decode()}"
            ) from None
    status: dict[str, Any] = found.get("status", {})
    return status


def is_ready(status: dict[str, Any]) -> bool:
    """Whether an operator serves the Agent."""
    return any(item["type"] == "Ready" and item["status"] == "True" for item in status.get("conditions", ()))


def waiting_for(status: dict[str, Any], published: bool) -> str:
    """What is missing, in words."""
    if published:
        return f"the event was published and does not arrive; the status is {json.dumps(status)}"
    conditions = status.get("conditions", ())
    why = "; ".join(f"{item['reason']}: {item.get('message', '')}" for item in conditions)
    return f"it is not Ready: {why or 'no operator has looked at it; is one active?'}"


def publish(namespace: str, type_: str) -> None:
    """Raises RuntimeError with what the command says."""
    command = ["heed", "publish", type_, "--namespace", namespace, "--data", '{"from": "helm test"}']
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    print(done.stdout + done.stderr, end="", flush=True)
    if done.returncode != 0:
        raise RuntimeError(f"heed publish: {done.stderr.strip()}")


if __name__ == "__main__":
    sys.exit(main())
