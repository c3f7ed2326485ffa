"""`python -m tests.e2e.node up` and `down`: a real Kubernetes node on this machine, for end-to-end tests."""

from __future__ import annotations

import argparse
import os
import sys

from tests.cluster.controlplane.build import Unavailable
from tests.e2e.node import demands, machine
from tests.e2e.node.bringing import up
from tests.e2e.node.images import Failed
from tests.e2e.node.layout import Layout


def main() -> int:
    arguments = _arguments()
    layout = Layout.from_environment()
    try:
        if arguments.command == "down":
            demands.require_root()
            machine.stop(layout)
        else:
            up(layout, arguments.install)
            print(f"export KUBECONFIG={layout.kubeconfig}")
    except (demands.Unmet, Failed, Unavailable) as problem:
        print(f"make cluster: {problem}", file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.node", description=__doc__)
    parser.add_argument("command", choices=("up", "down"))
    install = bool(os.environ.get("CI"))
    parser.add_argument("--install", action="store_true", default=install, help="by apt-get, what is missing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
