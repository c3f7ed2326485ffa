"""`python -m tests.e2e`: the end-to-end tests on the cluster that E2E_CLUSTER names.

node (default): a node on this machine, made for the run and removed after it, unless it was there before or E2E_KEEP is
set. kind: a cluster of kind's, the same way. current: what the current kubeconfig points to; the images must be there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from tests.cluster.controlplane.build import Unavailable
from tests.e2e import kind
from tests.e2e.node import machine
from tests.e2e.node.bringing import up
from tests.e2e.node.demands import Unmet
from tests.e2e.node.images import Failed
from tests.e2e.node.layout import Layout


def main() -> int:
    arguments, rest = _arguments()
    which = os.environ.get("E2E_CLUSTER", "node")
    if which not in ("node", "kind", "current"):
        print(f"E2E_CLUSTER={which}: choose node, kind or current", file=sys.stderr)
        return 2
    try:
        return {"node": _on_a_node, "kind": _on_kind, "current": _on_current}[which](arguments.install, rest)
    except (Unmet, Failed, Unavailable) as problem:
        print(f"make e2e: {problem}", file=sys.stderr)
        return 1


def _on_a_node(install: bool, rest: list[str]) -> int:
    layout = Layout.from_environment()
    keep = machine.alive(layout) or bool(os.environ.get("E2E_KEEP"))
    try:
        up(layout, install)
        return _tests(rest, KUBECONFIG=str(layout.kubeconfig))
    finally:
        if not keep:
            machine.stop(layout)


def _on_kind(_: bool, rest: list[str]) -> int:
    keep = kind.there() or bool(os.environ.get("E2E_KEEP"))
    try:
        return _tests(rest, KUBECONFIG=str(kind.up()))
    finally:
        if not keep:
            kind.down()


def _on_current(_: bool, rest: list[str]) -> int:
    return _tests(rest)


def _tests(rest: list[str], **environment: str) -> int:
    command = [sys.executable, "-m", "pytest", "tests/e2e", *rest]
    return subprocess.run(command, env=os.environ | {"HEED_E2E": "1"} | environment, check=False).returncode


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e", description=__doc__)
    install = bool(os.environ.get("CI"))
    parser.add_argument("--install", action="store_true", default=install, help="by apt-get, what is missing")
    return parser.parse_known_args()


if __name__ == "__main__":
    sys.exit(main())
