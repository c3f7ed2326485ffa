"""The manifests of resource tasks that people read: they have no warnings, and simulations end as the pages say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.markdown import blocks
from tests.unit.cli import heed

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples/resources").glob("*.yaml"))
ENDS: dict[str, dict[str, Any]] = {
    "job": {"conditions": [{"type": "Complete", "status": "True"}], "completionTime": "2026-01-01T00:00:00Z"},
    "rayjob": {"jobStatus": "SUCCEEDED", "endTime": "2026-01-01T00:00:00Z"},
    "taskrun": {
        "conditions": [{"type": "Succeeded", "status": "True"}],
        "results": [{"name": "url", "value": "https://x"}],
    },
    "workflow": {"phase": "Succeeded", "finishedAt": "2026-01-01T00:00:00Z"},
}


def simulated(folder: Path, manifest: str, script: Any) -> dict[str, Any]:
    """The transcript of one wanted report."""
    (folder / "agent.yaml").write_text(manifest)
    (folder / "stubs.yaml").write_text(yaml.safe_dump(script))
    event = {"type": "com.example.report.wanted", "data": {"name": "sales"}}
    (folder / "events.jsonl").write_text(json.dumps(event))
    files = [str(folder / name) for name in ("agent.yaml", "events.jsonl", "stubs.yaml")]
    result = heed("simulate", "-f", files[0], files[1], "--script", files[2], "-o", "json", "--allow-unheard")
    assert result.exit_code == 0, result.output
    transcript: dict[str, Any] = json.loads(result.stdout)
    return transcript


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_valid_without_a_warning_and_end(example: Path, tmp_path: Path) -> None:
    checked = heed("validate", "-f", str(example))
    assert checked.exit_code == 0
    assert "warning" not in checked.output

    script = [{"task": "build", "objects": [{}, {"status": ENDS[example.stem]}]}]
    transcript = simulated(tmp_path, example.read_text(), script)

    (built,) = transcript["emitted"]
    assert built["type"] == "com.example.report.built"
    assert built["data"]["name"] == "sales"


def test_every_example_has_an_end() -> None:
    assert [path.stem for path in EXAMPLES] == sorted(ENDS)


def test_the_page_can_be_played(tmp_path: Path) -> None:
    manifest, script = blocks((ROOT / "docs/resources.md").read_text(), "yaml")

    transcript = simulated(tmp_path, manifest, yaml.safe_load(script))

    assert [step["event"]["type"].rpartition(".")[2] for step in transcript["events"]] == [
        "wanted",
        "progress",
        "progress",
        "completed",
        "built",
    ]
    assert transcript["emitted"][0]["data"] == {"name": "sales", "at": "2026-01-01T12:00:00Z"}
