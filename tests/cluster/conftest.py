"""Fixtures of the cluster tests: one real control plane per test run, a fresh namespace per test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests.cluster.controlplane.build import Unavailable, binaries
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.run import ControlPlane

CRDS = Path(__file__).resolve().parents[2] / "crds"
LOGS = pytest.StashKey[ControlPlane]()
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def control_plane(pytestconfig: pytest.Config) -> Iterator[ControlPlane]:
    """A real API server with the real controllers, and the project's CRDs installed."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def progress(line: str) -> None:
        with capture.global_and_fixture_disabled():  # a build takes minutes: say so while it runs
            print(f"\n{line}", end="", flush=True)

    try:
        startable = ControlPlane(binaries(progress), crds=sorted(CRDS.glob("*.yaml")))
    except Unavailable as unavailable:
        if os.environ.get("CI"):
            pytest.fail(f"no control plane: {unavailable}")
        pytest.skip(f"no control plane: {unavailable}")
    with startable as running:
        pytestconfig.stash[LOGS] = running
        yield running


@pytest.fixture
def kubectl(control_plane: ControlPlane) -> Callable[..., str]:
    """The real kubectl, as administrator: `kubectl("get", "agents", "-n", namespace)`."""
    return control_plane.kubectl


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A fresh namespace; deleted afterwards, without waiting for the end of it."""
    name = f"test-{next(_numbers)}"
    control_plane.admin.post("/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    control_plane.admin.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def pods(control_plane: ControlPlane) -> PodPhases:
    """Plays the kubelet: `pods.succeed(namespace, job, '{"answer": 42}')`."""
    return PodPhases(control_plane.admin)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the control plane wrote last."""
    report = yield
    running = item.config.stash.get(LOGS, None)
    if report.failed and running is not None and "control_plane" in getattr(item, "fixturenames", ()):
        report.sections.append(("control plane logs", running.log_tails()))
    return report
