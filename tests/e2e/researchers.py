"""The researcher in Python of the examples, in two versions, of which the second says so in its answers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DOCKERFILE = EXAMPLES / "workers" / "Dockerfile"
IMAGE = "ghcr.io/example/researcher"
VERSIONS = (1, 2)
FACT = "Their tails point away from the Sun."
LATER_FACT = "Their tails point away from the Sun, always."


def fact(version: int) -> str:
    """What a version answers about comets."""
    return FACT if version == 1 else LATER_FACT


def base_image() -> str:
    """The image that those of Agents are built on."""
    return DOCKERFILE.read_text().split()[1]


def write_context(folder: Path, version: int) -> Path:
    """The folder that the image of a version is built from: the Dockerfile and the module."""
    context = folder / str(version)
    context.mkdir(parents=True)
    shutil.copy(DOCKERFILE, context)
    text = (EXAMPLES / "research" / "agent.py").read_text()
    assert FACT in text
    (context / "agent.py").write_text(text.replace(FACT, fact(version)))
    return context


def manifests(folder: Path, version: int, *, image: str | None = None) -> list[dict[str, Any]]:
    """What `heed build` makes of a version."""
    module = write_context(folder, version) / "agent.py"
    heed = Path(sys.executable).with_name("heed")
    command = [str(heed), "build", str(module), "--image", image or f"{IMAGE}:{version}"]
    built = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(built.stdout))
