"""examples/workers is what its page shows, and fits the Deployment that Heed makes."""

from __future__ import annotations

import kubernetes_validate
import yaml

from heed.kube.workers.manifest import deployment_name
from tests.markdown import ROOT

EXAMPLES = ROOT / "examples" / "workers"


def test_the_page_shows_the_dockerfile_of_the_example() -> None:
    assert (EXAMPLES / "Dockerfile").read_text() in (ROOT / "docs" / "workers.md").read_text()


def test_the_autoscaler_is_of_the_deployment() -> None:
    scaler = yaml.safe_load((EXAMPLES / "hpa.yaml").read_text())

    kubernetes_validate.validate(scaler, "1.33", strict=True)
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment_name("researcher")
