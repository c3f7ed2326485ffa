"""The autoscalers of examples/workers, as the API server takes them: Kubernetes' own and KEDA's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from heed import names
from tests.cluster.operating import Stage
from tests.cluster.resources.crds import SCALED_OBJECT, definition_of
from tests.cluster.resources.kinds import install

pytestmark = pytest.mark.cluster
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "workers"


def example(name: str, stage: Stage) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((EXAMPLES / name).read_text())
    assert found["metadata"]["namespace"] == "demo"
    return {**found, "metadata": {**found["metadata"], "namespace": stage.namespace}}


def test_the_api_server_takes_them(stage: Stage) -> None:
    install(stage.plane, definition_of(SCALED_OBJECT))
    for name in ("hpa.yaml", "scaledobject.yaml"):
        body = yaml.safe_dump(example(name, stage))
        stage.plane.kubectl("apply", "--validate=strict", "-f", "-", stdin=body)


def test_they_name_what_there_is(stage: Stage) -> None:
    scaler, by_lag = example("hpa.yaml", stage), example("scaledobject.yaml", stage)
    functions, handlers = by_lag["spec"]["triggers"]

    assert scaler["spec"]["scaleTargetRef"]["name"] == by_lag["spec"]["scaleTargetRef"]["name"]
    assert functions["metadata"]["stream"] == names.WORK_STREAM
    assert functions["metadata"]["consumer"] == names.work_consumer("demo", "researcher")
    page = (EXAMPLES.parents[1] / "docs" / "metrics.md").read_text()
    for metric in ("heed_cursor_lag_events", "heed_agent_ready"):
        assert metric in handlers["metadata"]["query"]
        assert f"`{metric}` | gauge | `namespace`, `agent`" in page
