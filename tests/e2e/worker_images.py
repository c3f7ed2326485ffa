"""Images of Agents in Python: the Dockerfile of examples/workers, with modules of other examples.

The researcher has two versions, of which the second says so in its answers.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DOCKERFILE = EXAMPLES / "workers" / "Dockerfile"
FACT = "Their tails point away from the Sun."
LATER_FACT = "Their tails point away from the Sun, always."


@dataclass(frozen=True)
class WorkerImage:
    """An image of the Agent of an example, with some texts of its module replaced."""

    name: str
    example: str
    replaced: Mapping[str, str] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """What an archive of it is called."""
        return self.name.rpartition("/")[2].replace(":", "-") + ".tar"

    def write_context(self, folder: Path) -> Path:
        """The folder that it is built from: the Dockerfile and the module."""
        folder.mkdir(parents=True)
        shutil.copy(DOCKERFILE, folder)
        text = (EXAMPLES / self.example / "agent.py").read_text()
        for old, new in self.replaced.items():
            assert old in text
            text = text.replace(old, new)
        (folder / "agent.py").write_text(text)
        return folder

    def manifests(self, folder: Path, *, image: str | None = None) -> list[dict[str, Any]]:
        """What `heed build` makes of its module; its workers are of another image where one is named."""
        module = self.write_context(folder) / "agent.py"
        heed = Path(sys.executable).with_name("heed")
        command = [str(heed), "build", str(module), "--image", image or self.name]
        built = subprocess.run(command, capture_output=True, text=True, check=True)
        return list(yaml.safe_load_all(built.stdout))


RESEARCHER = WorkerImage("ghcr.io/example/researcher:1", "research")
LATER_RESEARCHER = WorkerImage("ghcr.io/example/researcher:2", "research", {FACT: LATER_FACT})
CHAT = WorkerImage("ghcr.io/example/chat:1", "chat")
IMAGES = (RESEARCHER, LATER_RESEARCHER, CHAT)


def base_image() -> str:
    """The image that they are built on."""
    return DOCKERFILE.read_text().split()[1]
