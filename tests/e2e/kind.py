"""A cluster of kind's, for machines that have Docker."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.cluster.controlplane.build import cache_root
from tests.e2e import worker_images
from tests.e2e.node.demands import found
from tests.e2e.node.images import OPERATOR, OPERATOR_NEXT, REPORT, ROOT, Failed, run, step

NAME = "heed-e2e"
CONFIG = Path(__file__).with_name("kind.yaml")


def there() -> bool:
    """Whether it is up already."""
    return NAME in run(_kind(), "get", "clusters").split()


def up() -> Path:
    """The cluster with the operator's images; other images are public, and the cluster pulls them. The kubeconfig."""
    kubeconfig = cache_root() / "kind.kubeconfig"
    if not there():
        with step("creating a kind cluster"):
            run(
                _kind(),
                "create",
                "cluster",
                f"--config={CONFIG}",
                f"--kubeconfig={kubeconfig}",
                "--wait=120s",
            )
    else:
        run(_kind(), "export", "kubeconfig", f"--name={NAME}", f"--kubeconfig={kubeconfig}")
    with step("building and loading the images"):
        run("make", "-C", str(ROOT), "image", f"IMAGE={OPERATOR}")
        tool = "docker" if found("docker") else "podman"
        run(tool, "tag", OPERATOR, OPERATOR_NEXT)
        run(tool, "build", "--tag", REPORT, str(ROOT / "examples" / "progress"))
        with tempfile.TemporaryDirectory() as scratch:
            run(tool, "tag", OPERATOR, worker_images.base_image())
            workers = [image.name for image in worker_images.IMAGES]
            for number, image in enumerate(worker_images.IMAGES):
                context = image.write_context(Path(scratch, str(number)))
                run(tool, "build", "--tag", image.name, str(context))
            archive = str(Path(scratch, "operator.tar"))
            run(tool, "save", "--output", archive, OPERATOR, OPERATOR_NEXT, REPORT, *workers)
            run(_kind(), "load", "image-archive", archive, f"--name={NAME}")
    return kubeconfig


def down() -> None:
    run(_kind(), "delete", "cluster", f"--name={NAME}")


def _kind() -> str:
    program = found("kind")
    if program is None:
        raise Failed("E2E_CLUSTER=kind needs kind and Docker: https://kind.sigs.k8s.io")
    return program
