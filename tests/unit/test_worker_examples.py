"""examples/workers is what its page shows, fits the Deployment of workers, and makes the images of a node's tests."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from heed.api.validation import parse_agent
from heed.kube.workers.manifest import deployment_name
from heed.sdk.loading import load_agent
from heed.sdk.manifest import code_digest
from tests.e2e.worker_images import IMAGES, LATER_RESEARCHER, RESEARCHER, WorkerImage
from tests.markdown import ROOT

EXAMPLES = ROOT / "examples" / "workers"


def test_the_page_shows_the_dockerfile_of_the_example() -> None:
    assert (EXAMPLES / "Dockerfile").read_text() in (ROOT / "docs" / "workers.md").read_text()


def test_the_autoscaler_is_of_the_deployment() -> None:
    scaler = yaml.safe_load((EXAMPLES / "hpa.yaml").read_text())

    kubernetes_validate.validate(scaler, "1.33", strict=True)
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment_name("researcher")


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_the_manifest_of_an_image_is_of_the_code_in_it(image: WorkerImage, tmp_path: Path) -> None:
    agent, *types = image.manifests(tmp_path / "context")

    (tmp_path / "elsewhere").mkdir()
    module = (tmp_path / "context/agent.py").rename(tmp_path / "elsewhere/agent.py")
    worker = parse_agent(agent).spec.worker
    assert worker is not None
    assert worker.template is not None
    assert worker.digest == code_digest(load_agent(str(module)))
    (container,) = worker.template["spec"]["containers"]
    assert container["image"] == image.name
    assert types
    assert (tmp_path / "context/Dockerfile").is_file()


def test_images_of_other_code_have_other_names_and_digests(tmp_path: Path) -> None:
    assert len({image.name for image in IMAGES}) == len({image.file_name for image in IMAGES}) == len(IMAGES)
    first, later = (
        image.manifests(tmp_path / image.file_name)[0]["spec"]["worker"]["digest"]
        for image in (RESEARCHER, LATER_RESEARCHER)
    )
    assert first != later
