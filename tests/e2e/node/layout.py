"""Where everything of the node lives: a folder outside the tree, and addresses that only the node's network has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

NODE = "heed-node"
POD_CIDR = "10.244.0.0/24"
SERVICE_CIDR = "10.96.0.0/16"
DNS_ADDRESS = "10.96.0.10"
API_PORT = 6443
VOLUMES = 16


@dataclass(frozen=True)
class Layout:
    """Where the node is: its folder, its names and the addresses of its wire.

    `name` is what its cgroups and the machine's end of the wire are called, at most 15 characters; the two addresses
    are the machine's and the node's.
    """

    root: Path
    name: str
    machine_address: str
    node_address: str

    @classmethod
    def from_environment(cls) -> Layout:
        """HEED_NODE_DIR names the folder, HEED_NODE_SUBNET the first three numbers of the wire's network."""
        folder = os.environ.get("HEED_NODE_DIR", "/var/lib/heed-node")
        return cls.at(Path(folder), NODE, os.environ.get("HEED_NODE_SUBNET", "10.254.111"))

    @classmethod
    def at(cls, root: Path, name: str, subnet: str) -> Layout:
        return cls(root, name, f"{subnet}.1", f"{subnet}.2")

    @property
    def server(self) -> str:
        return f"https://{self.node_address}:{API_PORT}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.root / "admin.kubeconfig"

    @property
    def audit_log(self) -> Path:
        return self.root / "audit.log"

    @property
    def authority(self) -> Path:
        """The API server signs its own certificate, at its first start."""
        return self.root / "certificates" / "apiserver.crt"

    @property
    def containerd_socket(self) -> Path:
        return self.root / "containerd.sock"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def plan(self) -> Path:
        """What the supervisor starts: a JSON list of name and command."""
        return self.root / "plan.json"

    @property
    def held(self) -> Path:
        """A file here, named like a process, keeps the supervisor from starting it."""
        return self.root / "held"

    @property
    def pids(self) -> Path:
        """Files named like the processes, with their ids as the node counts."""
        return self.root / "pids"
