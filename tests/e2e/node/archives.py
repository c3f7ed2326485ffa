"""Container images of one layer as files that docker, containerd and buildah load, made without any of them.

The format is that of `docker save`: https://github.com/moby/docker-image-spec, "Combined Image JSON + Filesystem".
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def layer_of(files: Mapping[str, Path]) -> bytes:
    """A layer with these programs, by their absolute path in the image."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for target, source in files.items():
            member = tarfile.TarInfo(target.lstrip("/"))
            member.size, member.mode = source.stat().st_size, 0o755
            with source.open("rb") as content:
                tar.addfile(member, content)
    return packed.getvalue()


def write_archive(target: Path, names: Sequence[str], layer: bytes, config: Mapping[str, Any]) -> None:
    """The archive of an image with these names (with registry and tag), whole or not at all."""
    description = {
        "architecture": "amd64",
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created_by": "heed"}],
    }
    encoded = json.dumps(description).encode()
    config_name = f"{hashlib.sha256(encoded).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": list(names), "Layers": ["layer.tar"]}]
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    with tarfile.open(partial, "w") as tar:
        for name, content in (
            (config_name, encoded),
            ("layer.tar", layer),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    os.replace(partial, target)
