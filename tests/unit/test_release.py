"""One version in pyproject.toml, and a release that tells of it."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from heed import __version__
from tests.markdown import ROOT

CHANGELOG = """# Changelog

## [Unreleased]

## [1.3.0] - 2027-02-01

### Added

- A third thing.

## [1.2.0] - 2027-01-01

Two things.

[1.3.0]: https://example.com/compare
"""


@pytest.fixture(scope="module")
def release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("heed_release", ROOT / ".ci/release.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(release: ModuleType, tmp_path: Path) -> Path:
    """A copy of pyproject.toml and of every place that has the version."""
    for name in {"pyproject.toml", *(name for name, _ in release.PLACES)}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def _set(project: Path, version: str) -> None:
    file = project / "pyproject.toml"
    file.write_text(file.read_text().replace(f'version = "{__version__}"', f'version = "{version}"', 1))


def test_a_new_version_is_written_to_all_its_places(release: ModuleType, project: Path) -> None:
    _set(project, "12.3.4")

    found = release.spread(check=True, root=project)
    assert len(found) == len(release.PLACES)
    assert __version__ in (project / "Dockerfile").read_text()

    release.spread(check=False, root=project)
    assert release.spread(check=True, root=project) == []
    chart = yaml.safe_load((project / "charts/heed/Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == ("12.3.4", "12.3.4")
    assert all(__version__ not in (project / name).read_text() for name, _ in release.PLACES)


def test_a_place_that_is_gone_is_said(release: ModuleType, project: Path) -> None:
    (project / "Dockerfile").write_text("FROM scratch\n")

    with pytest.raises(release.Unfit, match=r"^Dockerfile: `ARG VERSION=.*` has to be there once"):
        release.spread(check=True, root=project)


def test_a_version_that_helm_and_pip_would_write_differently_is_refused(
    release: ModuleType, project: Path
) -> None:
    _set(project, "0.2.0rc1")

    with pytest.raises(release.Unfit, match="three numbers"):
        release.version(project)


def test_the_notes_are_the_section_of_the_version(release: ModuleType) -> None:
    assert release.notes(CHANGELOG, "1.3.0") == "### Added\n\n- A third thing.\n"
    assert release.notes(CHANGELOG, "1.2.0") == "Two things.\n"


@pytest.mark.parametrize("version", ["1.4.0", "1.2", "1.2.00"])
def test_without_a_section_there_is_no_release(release: ModuleType, version: str) -> None:
    with pytest.raises(release.Unfit, match="give the version a section"):
        release.notes(CHANGELOG, version)


@pytest.mark.parametrize("tag", ["1.3.0", "v1.3", "v1.3.1"])
def test_another_tag_than_the_versions_is_refused(release: ModuleType, tag: str) -> None:
    with pytest.raises(release.Unfit, match=r"tag v1\.3\.0"):
        release.check_tag(tag, "1.3.0")
    release.check_tag("v1.3.0", "1.3.0")


def test_the_chart_that_is_released_has_the_image_that_is_released(release: ModuleType) -> None:
    values = (ROOT / "charts/heed/values.yaml").read_text()
    changed = yaml.safe_load(release.with_image(values, "ghcr.io/example/heed"))
    before = yaml.safe_load(values)

    assert changed.pop("image") == before.pop("image") | {"repository": "ghcr.io/example/heed"}
    assert changed == before


def test_what_it_refuses_is_an_exit_code(release: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(release.Unfit):
        release.run(["tag", "v0.0.1"])
    assert release.run(["version", "--check"]) == 0
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    assert release.run(["publish"]) == 2
