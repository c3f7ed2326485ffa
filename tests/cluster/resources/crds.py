"""CustomResourceDefinitions of other projects, as their releases have them, from the Go module proxy."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.controlplane.build import Unavailable, cache_root, go_of

HERE = Path(__file__).parent
FETCH_TIMEOUT_S = 300


@dataclass(frozen=True)
class Published:
    """A file of a module, of which the sum is known."""

    module: str
    version: str
    sum: str
    file: str


WORKFLOW = Published(
    "github.com/argoproj/argo-workflows/v3",
    "v3.7.4",
    "h1:oA/DxaSsjb6fMYaygf7JVQgnsF+ZzlfUPy5kIfLsCic=",
    "manifests/base/crds/minimal/argoproj.io_workflows.yaml",
)
TASK_RUN = Published(
    "github.com/tektoncd/pipeline",
    "v1.6.0",
    "h1:A+D+jzOVl2QNl/yiNT7csVgBUy2wpz6K6+/D4q5lfss=",
    "config/300-crds/300-taskrun.yaml",
)
RAY_JOB = Published(
    "github.com/ray-project/kuberay/ray-operator",
    "v1.5.0",
    "h1:KCjCQ7PSsvs9Ke+90CZbbs498nuaIJ/JkXk4vd54EVg=",
    "config/crd/bases/ray.io_rayjobs.yaml",
)

SCALED_OBJECT = Published(
    "github.com/kedacore/keda/v2",
    "v2.18.0",
    "h1:ttR223fii/4QJ0YvtrhcWHaEoezByb/t5CeFopjl6EI=",
    "config/crd/bases/keda.sh_scaledobjects.yaml",
)


def definition_of(published: Published) -> dict[str, Any]:
    """The definition; skips where it cannot be had, and fails there in CI."""
    try:
        document: dict[str, Any] = yaml.load(_text(published), Loader=yaml.CSafeLoader)
    except (Unavailable, OSError, subprocess.SubprocessError) as error:
        if os.environ.get("CI"):
            pytest.fail(f"no {published.file} of {published.module}: {error}")
        pytest.skip(f"no {published.file} of {published.module}: {error}")
    # No webhook of theirs runs here; only one version of each is used.
    document["spec"].pop("conversion", None)
    return document


@cache
def _text(published: Published) -> str:
    """The file, kept outside of the tree once it was fetched."""
    kept = cache_root() / "crds" / f"{published.version}-{Path(published.file).name}"
    if not kept.is_file():
        fetched = (_fetched(published) / published.file).read_bytes()
        kept.parent.mkdir(parents=True, exist_ok=True)
        scratch = kept.with_name(f".{os.getpid()}-{kept.name}")
        scratch.write_bytes(fetched)
        scratch.replace(kept)
    return kept.read_text()


def _fetched(published: Published) -> Path:
    """The module's folder in Go's cache. Raises Unavailable."""
    command = [go_of(HERE.parent / "controlplane"), "mod", "download", "-json"]
    done = subprocess.run(
        [*command, f"{published.module}@{published.version}"],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=FETCH_TIMEOUT_S,
    )
    answer = json.loads(done.stdout or "{}")
    if done.returncode or "Error" in answer:
        raise Unavailable(f"{published.module}: {answer.get('Error') or done.stderr[-500:]}")
    if answer["Sum"] != published.sum:
        raise Unavailable(f"{published.module} {published.version} has the sum {answer['Sum']}")
    return Path(answer["Dir"])
