"""The definitions are part of the release: to the letter what `heed crds` writes, and kept when it is uninstalled."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from heed import names
from tests.chart.rendering import CHART, render
from tests.cluster.helm import helm

GENERATED = Path(__file__).parents[2] / "crds"


def definitions(documents: Any) -> dict[str, Any]:
    return {
        item["metadata"]["name"]: item for item in documents if item["kind"] == "CustomResourceDefinition"
    }


def test_release_has_what_heed_crds_writes_and_keeps_it() -> None:
    generated = definitions(yaml.safe_load(path.read_text()) for path in GENERATED.glob("*.yaml"))
    rendered = definitions(render())

    assert rendered.keys() == generated.keys()
    assert len(rendered) == len(names.PLURALS)
    for name, wanted in generated.items():
        assert rendered[name]["spec"] == wanted["spec"]
        assert rendered[name]["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert rendered[name]["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"


def test_without_them_the_release_touches_none() -> None:
    assert definitions(render("crds.install=false")) == {}


@pytest.mark.parametrize("text", ["{{ .Values.nats.url }}", "{{ fail `boo` }}", "${event.data} $${x}", "{{"])
def test_braces_in_descriptions_are_not_run(tmp_path: Path, text: str) -> None:
    chart = shutil.copytree(CHART, tmp_path / "chart")
    path = chart / "files" / "crds" / "heed.dev_agents.yaml"
    agents = yaml.safe_load(path.read_text())
    agents["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = text
    agents["metadata"]["annotations"] = {"ours": "stays"}
    path.write_text(yaml.safe_dump(agents))

    printed = subprocess.run([helm(), "template", chart], capture_output=True, text=True, check=True).stdout

    found = definitions(yaml.safe_load_all(printed))["agents.heed.dev"]
    assert found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] == text
    assert found["metadata"]["annotations"] == {"ours": "stays", "helm.sh/resource-policy": "keep"}
