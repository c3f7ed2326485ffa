"""Resource tasks in `heed dev`: what the page about them shows, played by its script."""

from pathlib import Path
from typing import Any

import pytest

from heed import names
from heed.core.events import Event
from heed.local import resources
from tests.integration.local.examples import Life, edit, life
from tests.markdown import ROOT, blocks
from tests.nats_server import require_nats_server

BUILT, FAILED = "com.example.report.built", "com.example.report.failed"
LAST = '    - status: {phase: Succeeded, progress: 2/2, finishedAt: "2026-01-01T12:00:00Z"}\n'


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the manifest and the script of the page."""
    require_nats_server()
    monkeypatch.setattr(resources.PlayedResources.__init__, "__defaults__", (0.01,))
    manifest, script = blocks((ROOT / "docs/resources.md").read_text(), "yaml")
    (tmp_path / "reports.yaml").write_text(manifest)
    (tmp_path / "stubs.yaml").write_text(script)
    return tmp_path


async def want(one: Life, id: str) -> None:
    """Ask for a report."""
    event = Event(id, "/test", "com.example.report.wanted", {"name": id}, datacontenttype="application/json")
    await one.bench.bus.publish(names.event_subject("default", event.type), event)


def progress(one: Life) -> list[Any]:
    """What sessions were told of progress."""
    return [item["state"]["done"] for item in one.told("decided", type=names.TASK_PROGRESS)]


async def test_the_page_can_be_played(page: Path, tmp_path: Path) -> None:
    async with life(page / "reports.yaml", folder=tmp_path / "state", script=page / "stubs.yaml") as one:
        await want(one, "sales")

        assert await one.emitted(BUILT) == {"name": "sales", "at": "2026-01-01T12:00:00Z"}
        assert progress(one) == ["0/2", "1/2"]


async def test_an_edit_of_the_script_counts_and_a_mistake_in_it_changes_nothing(
    page: Path, tmp_path: Path
) -> None:
    script = page / "stubs.yaml"
    async with life(page / "reports.yaml", folder=tmp_path / "state", script=script) as one:
        edit(script, "task: build", "task: bild")
        assert await one.bench.refresh()
        said = one.told("note")[-1]["text"]
        assert 'no Agent has a task "bild"' in said and said.endswith("the script counts as it was before")
        await want(one, "sales")
        assert (await one.emitted(BUILT))["name"] == "sales"

        script.write_text("- {task: build, reason: Broken}")
        assert await one.bench.refresh()
        await want(one, "stock")
        assert await one.emitted(FAILED) == {"reason": "Broken"}


async def test_without_a_script_the_task_fails_and_says_what_helps(page: Path, tmp_path: Path) -> None:
    async with life(page / "reports.yaml", folder=tmp_path / "state") as one:
        await want(one, "sales")

        assert await one.emitted(FAILED) == {"reason": "UnsupportedKind"}


async def test_a_task_of_a_life_before_is_lost(page: Path, tmp_path: Path) -> None:
    script = page / "stubs.yaml"
    edit(script, LAST, "")
    async with life(page / "reports.yaml", folder=tmp_path / "state", script=script) as one:
        await want(one, "sales")
        await one.hears("decided", type=names.TASK_PROGRESS)

    async with life(page / "reports.yaml", folder=tmp_path / "state", script=script) as one:
        assert await one.emitted(FAILED) == {"reason": "ResourceLost"}
