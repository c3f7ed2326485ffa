"""What GitHub runs for us: from pinned commits, with no more rights than it needs, on every Python that Heed is for."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.markdown import ROOT

WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def workflow(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def _read(path: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(path.read_text())
    return found


def test_actions_are_named_by_their_commit_with_the_version_beside_it(workflow: Path) -> None:
    used = [line.strip(" -") for line in workflow.read_text().splitlines() if "uses:" in line]

    assert used
    assert [line for line in used if not PINNED.match(line) and not line.startswith("uses: ./")] == []


def test_a_job_may_only_read_unless_it_says_what_else(workflow: Path) -> None:
    assert _read(workflow)["permissions"] == {"contents": "read"}


def test_no_job_runs_for_ever(workflow: Path) -> None:
    jobs = _read(workflow)["jobs"]

    assert [name for name, job in jobs.items() if "uses" not in job and "timeout-minutes" not in job] == []


def test_no_secret_is_stored(workflow: Path) -> None:
    assert re.findall(r"secrets\.\w+|secrets:", workflow.read_text()) == []


def test_unit_tests_run_on_the_oldest_python_that_heed_takes() -> None:
    unit = _read(ROOT / ".github/workflows/ci.yml")["jobs"]["unit"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["requires-python"] == ">=" + unit["strategy"]["matrix"]["python"][0]


def test_no_python_is_said_to_be_fit_that_unit_tests_do_not_run_on() -> None:
    unit = _read(ROOT / ".github/workflows/ci.yml")["jobs"]["unit"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    said = [item.rpartition(" :: ")[2] for item in project["classifiers"] if "Python :: 3." in item]

    assert said
    assert set(said) <= set(unit["strategy"]["matrix"]["python"])
