"""From nothing to a cluster that is ready: programs, images, processes, storage and DNS."""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path

from tests.cluster.controlplane.build import binaries, node_binaries
from tests.e2e.node import configs, demands, dns, images, machine
from tests.e2e.node.images import Failed, progress, run, step
from tests.e2e.node.layout import NODE, VOLUMES, Layout
from tests.patience import PATIENCE


def up(layout: Layout, install: bool = False) -> None:
    """The cluster is there and has this tree's images; a running one is kept. Raises Unmet, Failed, Unavailable."""
    started = time.monotonic()
    demands.meet(install)
    programs = node_programs()
    archives = [
        images.base_archive(),
        images.nats_archive(),
        images.operator_archive(),
        images.report_archive(),
        *images.worker_archives(),
    ]
    bring_up(layout, programs)
    with step("loading images"):
        for archive in archives:
            machine.load(layout, archive)
        machine.alias(layout, images.OPERATOR, images.OPERATOR_NEXT)
    progress(f"the cluster is ready after {time.monotonic() - started:.0f} s; make cluster-down removes it")


def node_programs() -> dict[str, Path]:
    """All processes' programs, by name; built where they are not cached. Raises Unavailable."""
    control_plane = {name.replace("_", "-"): path for name, path in asdict(binaries(progress)).items()}
    return control_plane | node_binaries(progress)


def bring_up(layout: Layout, programs: dict[str, Path]) -> None:
    """A node with nothing but storage and DNS on it. Raises Failed."""
    archives = images.program_archives()
    if not machine.alive(layout):
        machine.stop(layout)  # what a node left that did not come up, or was killed
        machine.start(layout, programs)
    machine.wait(layout, "the API server is ready", lambda: _answers(layout, "/readyz"))
    machine.wait(layout, "the container runtime is ready", lambda: _runs_containers(layout))
    for archive in archives:
        machine.load(layout, archive)
    _furnish(layout)


def kubectl(layout: Layout, *arguments: str) -> str:
    """As administrator. Raises Failed."""
    beside = Path(sys.executable).with_name("kubectl")
    program = str(beside) if beside.exists() else "kubectl"
    return run(program, f"--kubeconfig={layout.kubeconfig}", *arguments)


def _answers(layout: Layout, path: str) -> bool:
    try:
        return bool(kubectl(layout, "get", "--raw", path))
    except Failed:
        return False


def _runs_containers(layout: Layout) -> bool:
    try:
        return bool(machine.inside(layout, "ctr", f"--address={layout.containerd_socket}", "version"))
    except Failed:
        return False


def _reclaim_volumes(layout: Layout) -> None:
    """Volumes whose claims are gone, with all that is in them: they are made again."""
    volumes = json.loads(kubectl(layout, "get", "persistentvolumes", "-o", "json"))["items"]
    for volume in volumes:
        if volume["status"]["phase"] == "Released":
            kubectl(layout, "delete", "persistentvolume", volume["metadata"]["name"])
            folder = Path(volume["spec"]["local"]["path"])
            shutil.rmtree(folder)
            folder.mkdir()


def _furnish(layout: Layout) -> None:
    """Storage and DNS, once; returns when the node and they are ready."""
    folders = layout.root / "volumes"
    volumes = [configs.volume(str(folders / str(number)), f"local-{number}") for number in range(VOLUMES)]
    items = [*configs.storage(), *volumes, *dns.manifests()]
    manifest = layout.root / "furniture.json"
    manifest.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    machine.wait(layout, "the node registered", lambda: NODE in kubectl(layout, "get", "nodes", "-o", "name"))
    _reclaim_volumes(layout)
    kubectl(layout, "apply", "-f", str(manifest))
    with step("waiting for the node and its DNS"):
        kubectl(layout, "wait", "--for=condition=Ready", f"node/{NODE}", f"--timeout={PATIENCE:.0f}s")
        rollout = (
            "rollout",
            "status",
            "--namespace=kube-system",
            "deployment/coredns",
            f"--timeout={PATIENCE:.0f}s",
        )
        kubectl(layout, *rollout)
