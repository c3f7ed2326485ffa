"""Brings the node up on this machine and takes it away again.

What a kubelet and a container runtime do to a machine, they do in namespaces of their own: processes, mounts, network
interfaces and packet rules end with the supervisor, which is the first process there. Only the folder, the wire to the
node and the cgroups are the machine's.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.cluster.controlplane.waiting import eventually
from tests.e2e.node import configs
from tests.e2e.node.commands import commands
from tests.e2e.node.demands import PATH, cni_folder, found
from tests.e2e.node.images import Failed, run
from tests.e2e.node.layout import VOLUMES, Layout
from tests.patience import PATIENCE

SUPERVISOR = Path(__file__).resolve().with_name("supervisor.py")
CGROUPS = Path("/sys/fs/cgroup")
CNI_RESULTS = Path("/var/lib/cni")  # the CNI's library knows no other place


def alive(layout: Layout) -> bool:
    """Whether the supervisor runs."""
    return supervisor(layout) is not None


def start(layout: Layout, programs: dict[str, Path]) -> None:
    """Writes what the processes read and starts them; they find each other within seconds. Raises Failed."""
    _refuse_used_addresses(layout)
    for module in ("overlay", "br_netfilter"):  # where they are no part of the kernel
        subprocess.run([found("modprobe") or "true", module], capture_output=True)
    _write(layout, programs)
    _make_cgroups(layout)
    pid = _spawn(layout)
    _wire(layout, pid)


def stop(layout: Layout) -> None:
    """Nothing of it is left; also where it was killed half-way."""
    pid = supervisor(layout)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not processes(layout), what="the end of the node's processes")
    _remove_cgroups(layout)
    if _exists(layout.name):
        subprocess.run([_ip(), "link", "delete", layout.name], capture_output=True)
    eventually(lambda: not _exists(layout.name), what="the end of the wire")
    if layout.root.exists():
        made_here = (layout.root / "made-cni-folder").exists()
        shutil.rmtree(layout.root)
        if made_here:
            CNI_RESULTS.rmdir()


def inside(layout: Layout, *command: str) -> str:
    """What a command writes that runs among the node's processes, mounts and interfaces."""
    pid = supervisor(layout)
    if pid is None:
        raise Failed("the node is not running: make cluster")
    return run("nsenter", f"--target={pid}", "--mount", "--net", "--pid", *command)


def hold(layout: Layout, name: str) -> None:
    """Kills a process of the node (`kubelet`), and keeps it from being started again."""
    (layout.held / name).touch()
    inside(layout, "kill", "-KILL", (layout.pids / name).read_text())


def release(layout: Layout, name: str) -> None:
    """Lets a process that was held be started again."""
    (layout.held / name).unlink()


def load(layout: Layout, archive: Path) -> None:
    """Puts an image's archive into the node's container runtime."""
    _images(layout, "import", str(archive))


def alias(layout: Layout, image: str, name: str) -> None:
    """One more name for an image of the node's."""
    _images(layout, "tag", "--force", image, name)


def _images(layout: Layout, *arguments: str) -> str:
    ctr = ("ctr", f"--address={layout.containerd_socket}", "--namespace=k8s.io", "images")
    return inside(layout, *ctr, *arguments)


def log_tails(layout: Layout, lines: int = 15) -> str:
    tails = []
    for path in sorted(layout.logs.glob("*.log")):
        tails += [f"--- {path.name}", *path.read_text(errors="replace").splitlines()[-lines:]]
    return "\n".join(tails)


def _write(layout: Layout, programs: dict[str, Path]) -> None:
    root = layout.root
    for name in ("logs", "held", "pids", "certificates", "cni", "var-log", "tunables", "volume-plugins"):
        (root / name).mkdir(parents=True, exist_ok=True)
    root.chmod(0o711)
    if not CNI_RESULTS.exists():
        CNI_RESULTS.mkdir()
        (root / "made-cni-folder").touch()
    tokens = {name: secrets.token_hex(16) for name in configs.IDENTITIES}
    rows = [f'{tokens[name]},{user},{user},"{groups}"' for name, (user, groups) in configs.IDENTITIES.items()]
    _secret(root / "tokens.csv", "\n".join(rows) + "\n")
    for name in configs.IDENTITIES:
        _secret(root / f"{name}.kubeconfig", json.dumps(configs.kubeconfig(layout, name, tokens[name])))
    for name, value in {
        "kubelet.json": configs.kubelet(layout),
        "proxy.json": configs.proxy(layout),
        "audit-policy.json": configs.audit_policy(),
        "cni/10-heed.conflist": configs.network(layout),
        "mounts.json": _mounts(layout),
        "plan.json": {Path(words[0]).name: words for words in commands(layout, programs)},
    }.items():
        (root / name).write_text(json.dumps(value, indent=1))
    (root / "containerd.toml").write_text(configs.containerd(layout, cni_folder() or ""))
    (root / "resolv.conf").write_text("# no names but the cluster's\n")
    _make_keys(root / "certificates")
    for number in range(VOLUMES):
        (root / "volumes" / str(number)).mkdir(parents=True, exist_ok=True)


def _mounts(layout: Layout) -> list[list[str]]:
    """Commands that give the node its own /run and /var/log, and shields the machine's kernel settings."""
    shields = []
    for name, value in configs.KERNEL_TUNABLES.items():
        shield = layout.root / "tunables" / name.replace("/", ".")
        shield.write_text(f"{value}\n")
        shields.append(["mount", "--bind", str(shield), f"/proc/sys/{name}"])
    return [
        ["mount", "--make-rshared", "/"],
        ["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"],
        ["mkdir", "-p", "/run/lock", "/run/netns"],
        ["mount", "--bind", str(layout.root / "var-log"), "/var/log"],
        ["mkdir", "-p", "/var/log/pods", "/var/log/containers"],
        ["mount", "-t", "tmpfs", "tmpfs", str(CNI_RESULTS)],
        *shields,
    ]


def _make_keys(certificates: Path) -> None:
    """The key that signs the tokens of service accounts, and what the API server shows the kubelet."""
    run("openssl", "genrsa", "-out", str(certificates / "accounts.key"), "2048")
    files = (
        "-keyout",
        str(certificates / "kubelet-client.key"),
        "-out",
        str(certificates / "kubelet-client.crt"),
    )
    subject = "/O=system:masters/CN=kube-apiserver-kubelet-client"
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", subject, *files)


def _spawn(layout: Layout) -> int:
    """The supervisor's process id as the machine counts."""
    words = [found("unshare") or "unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc"]
    words += ["--kill-child", sys.executable, "-I", str(SUPERVISOR)]
    with (layout.logs / "supervisor.log").open("ab") as log:
        parent = subprocess.Popen(
            [*words, str(layout.root)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={"PATH": PATH},
            start_new_session=True,
        )

    def started() -> int | None:
        if parent.poll() is not None:
            raise Failed(f"the supervisor ended:\n{log_tails(layout)}")
        return supervisor(layout) if any(layout.pids.iterdir()) else None

    pid = eventually(started, what="the supervisor")
    parent.returncode = 0  # it outlives this process, which is not to be warned of it
    return pid


def supervisor(layout: Layout) -> int | None:
    """The process id, as the machine counts, of the node's first process; None where it does not run."""
    root = str(layout.root).encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            words = words[-3:-1]  # after them comes what is after the last zero: nothing
            ours = len(words) == 2 and SUPERVISOR.name.encode() in words[0] and words[1] == root
            if ours and _number_inside(process) == "1":
                return int(process.name)
        except OSError:
            continue  # it has ended meanwhile
    return None


def processes(layout: Layout) -> list[int]:
    """The programs of the node that are there; killed ones stay for a moment.

    They are those that name its folder and count as its own namespace does, and the supervisor's parent.
    """
    here = os.readlink("/proc/self/ns/pid")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            words = (process / "cmdline").read_bytes()
            inside = os.readlink(process / "ns" / "pid") != here or str(SUPERVISOR).encode() in words
            if inside and str(layout.root).encode() in words:
                found.append(int(process.name))
    return found


def _number_inside(process: Path) -> str:
    """The process id as its own namespace counts."""
    (line,) = (row for row in (process / "status").read_text().splitlines() if row.startswith("NSpid:"))
    return line.split()[-1]


def _wire(layout: Layout, pid: int) -> None:
    """A pair of interfaces, one here and one in the node."""
    ip = _ip()
    run(ip, "link", "add", layout.name, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    run(ip, "address", "add", f"{layout.machine_address}/30", "dev", layout.name)
    run(ip, "link", "set", layout.name, "up")
    for words in (
        ("link", "set", "lo", "up"),
        ("address", "add", f"{layout.node_address}/30", "dev", "eth0"),
        ("link", "set", "eth0", "up"),
        ("route", "add", "default", "via", layout.machine_address),
    ):
        inside(layout, ip, *words)


def _refuse_used_addresses(layout: Layout) -> None:
    routes: list[dict[str, Any]] = json.loads(
        run(_ip(), "-json", "route", "show", "match", layout.node_address)
    )
    taken = [route for route in routes if route["dst"] != "default"]
    if taken or _exists(layout.name):
        where = f"{taken[0]['dst']} ({taken[0]['dev']})" if taken else layout.name
        raise Failed(
            f"this machine has a route to {layout.node_address} already: {where}\n"
            "  make cluster-down, or name another network: HEED_NODE_SUBNET=10.254.112 make cluster"
        )


def _hierarchies() -> list[Path]:
    """The roots of the cgroup hierarchies: one with version 2, one per controller with version 1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [path for path in CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()]


def _make_cgroups(layout: Layout) -> None:
    for hierarchy in _hierarchies():
        ours = hierarchy / layout.name
        ours.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):  # version 1: empty ones take no process
            if (ours / name).exists() and not (ours / name).read_text().strip():
                (ours / name).write_text((hierarchy / name).read_text())


def _remove_cgroups(layout: Layout) -> None:
    """Processes leave their cgroups a moment after they are gone."""

    def removed() -> bool:
        for hierarchy in _hierarchies():
            for path, _, _ in os.walk(hierarchy / layout.name, topdown=False):
                try:
                    os.rmdir(path)
                except OSError:
                    return False
        return True

    eventually(removed, what="the end of the cgroups")


def _exists(interface: str) -> bool:
    return Path("/sys/class/net", interface).exists()


def _ip() -> str:
    return found("ip") or "ip"


def _secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def wait(layout: Layout, what: str, ready: Any, patience: float = PATIENCE) -> None:
    """Until `ready()`; Failed with the ends of the logs if it does not come to that."""
    started = time.monotonic()
    try:
        eventually(ready, patience, what=what, every=0.3)
    except AssertionError as late:
        raise Failed(f"{late}\n{log_tails(layout)}") from None
    print(f"{what} after {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
