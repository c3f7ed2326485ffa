"""A node leaves nothing on the machine, whether it was taken down in good order or died."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.node import machine
from tests.e2e.node.bringing import bring_up, kubectl, node_programs
from tests.e2e.node.demands import PATH
from tests.e2e.node.images import Failed
from tests.e2e.node.layout import Layout

pytestmark = pytest.mark.skipif(
    os.environ.get("E2E_CLUSTER", "node") != "node", reason="the cluster is not on this machine"
)
ROOT = Path("/var/lib/heed-node-test")
NAME = "heed-node-test"
SYSCTLS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")
FOLDERS = ("/run", "/var/lib", "/var/log", "/etc", "/opt")


@pytest.fixture
def layout() -> Iterator[Layout]:
    """A second node beside the one of the other tests."""
    layout = Layout.at(ROOT, NAME, "10.254.112")
    yield layout
    machine.stop(layout)


def traces(layout: Layout) -> dict[str, object]:
    """What a node could leave behind; other programs may come and go meanwhile."""
    return {
        "processes": machine.processes(layout),
        "mounts": Path("/proc/self/mounts").read_text(),
        "interfaces": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "rules": [written("iptables-save", "-t", table) for table in ("filter", "nat", "mangle")],
        "routes": written("ip", "route", "show", "table", "all"),
        "cgroups": list(Path("/sys/fs/cgroup").rglob(layout.name)),
        "settings": [Path("/proc/sys", name).read_text() for name in SYSCTLS],
        "folders": {folder: sorted(os.listdir(folder)) for folder in FOLDERS},
    }


def written(*command: str) -> list[str]:
    """Without comments and counters."""
    program = shutil.which(command[0], path=PATH) or command[0]
    lines = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=True).stdout
    return [line.split(" [")[0] for line in lines.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("how", ["taken down", "killed"])
def test_nothing_is_left(layout: Layout, how: str) -> None:
    # Given a machine without it, and then a node with running pods on it
    machine.stop(layout)
    before = traces(layout)
    bring_up(layout, node_programs())
    assert "Running" in kubectl(layout, "get", "pods", "-A")
    assert traces(layout)["processes"]

    # When
    if how == "killed":
        supervisor = machine.supervisor(layout)
        assert supervisor is not None
        os.kill(supervisor, signal.SIGKILL)
    machine.stop(layout)

    # Then
    assert traces(layout) == before


def test_a_running_node_is_kept(layout: Layout) -> None:
    programs = node_programs()
    bring_up(layout, programs)
    supervisor = machine.supervisor(layout)

    bring_up(layout, programs)

    assert machine.supervisor(layout) == supervisor


def test_addresses_that_the_machine_uses_are_refused() -> None:
    taken = Layout.from_environment()
    second = Layout.at(ROOT, NAME, taken.node_address.rpartition(".")[0])

    with pytest.raises(Failed, match="HEED_NODE_SUBNET"):
        bring_up(second, node_programs())

    machine.stop(second)
    assert machine.alive(taken)
