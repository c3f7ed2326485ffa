"""What the machine must have, said before anything is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CNI_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin")
PROGRAMS = {  # by the Debian package that brings them
    "containerd": ("containerd", "ctr"),
    "runc": ("runc",),
    "iptables": ("iptables", "iptables-save", "iptables-restore"),
    "iproute2": ("ip",),
    "util-linux": ("unshare", "nsenter"),
    "mount": ("mount",),
    "openssl": ("openssl",),
    "buildah": ("buildah",),
    "debootstrap": ("debootstrap",),
}
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"))


class Unmet(Exception):
    """The machine lacks something; the message says what to type."""


def cni_folder() -> str | None:
    """Where the CNI's standard plugins are."""
    return next((folder for folder in CNI_FOLDERS if Path(folder, "bridge").exists()), None)


def require_root() -> None:
    """Raises Unmet."""
    if sys.platform != "linux":
        raise Unmet("a node needs Linux; elsewhere use E2E_CLUSTER=kind")
    if os.geteuid() != 0:
        raise Unmet("a node needs root: its kubelet makes containers. Use sudo, or E2E_CLUSTER=kind")


def missing_packages() -> list[str]:
    """Debian packages to install."""
    lacking = [name for name, programs in PROGRAMS.items() if not all(map(found, programs))]
    return lacking if cni_folder() else [*lacking, "containernetworking-plugins"]


def found(program: str) -> str | None:
    return shutil.which(program, path=PATH)


def meet(install: bool) -> None:
    """Everything is there, or installed by apt-get where that is wanted. Raises Unmet with the line to type."""
    require_root()
    lacking = missing_packages()
    if not lacking:
        return
    line = f"apt-get install --no-install-recommends {' '.join(lacking)}"
    if not install:
        raise Unmet(
            f"missing on this machine: {', '.join(lacking)}\n  {line}\n  (or: make cluster INSTALL=1)"
        )
    if not found("apt-get"):
        raise Unmet(f"no apt-get here to install {', '.join(lacking)}")
    print(f"installing {', '.join(lacking)}", flush=True)
    for command in (["apt-get", "-qq", "update"], ["apt-get", "-qq", "-y", *line.split()[1:]]):
        done = subprocess.run(
            command, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, capture_output=True, text=True
        )
        if done.returncode:
            raise Unmet(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-2000:]}")
