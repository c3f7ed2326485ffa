"""Fixtures of the end-to-end tests: one release for all stories, which are told in the order of ORDER.

Not part of `make test`: they need a cluster. `make e2e` sets HEED_E2E.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Generator, Iterator

import pytest

from tests.e2e.broker import Broker
from tests.e2e.cluster import Cluster, CommandFailed
from tests.e2e.release import NAMESPACE, Release, make_namespace

WANTED = bool(os.environ.get("HEED_E2E"))
collect_ignore_glob = [] if WANTED else ["test_*.py"]
# What is left at the end of the others is looked at last; the stories before leave the release as they found it.
ORDER = (
    "test_image",
    "test_examples",
    "test_rights",
    "test_tasks",
    "test_workers",
    "test_interruptions",
    "test_upgrade",
    "test_uninstall",
    "test_audit",
    "test_node",
)
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if WANTED:
        items.sort(key=lambda item: ORDER.index(item.path.stem) if item.path.stem in ORDER else len(ORDER))


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """What KUBECONFIG points to."""
    return Cluster()


@pytest.fixture(scope="session")
def release(cluster: Cluster, pytestconfig: pytest.Config) -> Iterator[Release]:
    """The chart of this tree, installed; uninstalled at the end where no test has done it."""
    installed = Release(cluster)
    if installed.there():  # left by a run that was killed
        installed.uninstall()
    say(pytestconfig, f"helm install: ready after {installed.install():.0f} s")
    yield installed
    if installed.there():
        installed.uninstall()


@pytest.fixture(scope="session")
def broker(release: Release, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Broker:
    """The release's broker, with credentials that may do everything."""
    credentials = tmp_path_factory.mktemp("nats") / "admin.creds"
    credentials.write_text(release.credentials("admin.creds"))
    return Broker(cluster, credentials)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh one for Agents that takes only `restricted` pods; deleted afterwards."""
    name = f"story-{next(_numbers)}"
    make_namespace(cluster, name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def say(config: pytest.Config, line: str) -> None:
    """Shown while tests run: some steps take long, and how long is a result."""
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{line}", end="", flush=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the operator wrote last, and what became of the pods."""
    report = yield
    if report.failed and "cluster" in getattr(item, "fixturenames", ()):
        report.sections.append(("cluster", _state(Cluster())))
    return report


def _state(cluster: Cluster) -> str:
    asked = (
        ("get", "pods,jobs", "-A", "-o", "wide"),
        ("get", "agents", "-A"),
        ("get", "events", "-A", "--field-selector=type=Warning"),
        ("logs", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=operator", "--prefix", "--tail=25"),
    )
    told = []
    for words in asked:
        try:
            told.append(f"$ kubectl {' '.join(words)}\n{cluster.kubectl(*words)[-8000:]}")
        except CommandFailed as failed:
            told.append(str(failed))
    return "\n".join(told)
