"""Fixtures of the cluster tests: one real control plane per test run, a fresh namespace per test."""

from __future__ import annotations

import copy
import itertools
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from heed import names
from tests.cluster.admitting import Hook, Replica, until_asked
from tests.cluster.coding import CodeWorker
from tests.cluster.controlplane.build import Unavailable, binaries
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.helm import require_helm
from tests.cluster.operating import (
    CRDS,
    LEASE_NAMESPACE,
    LEASES,
    SYSTEM,
    Broker,
    Operator,
    Stage,
)
from tests.cluster.resources.kinds import CREATABLE
from tests.cluster.tenancy import Tenants, tenancy
from tests.cluster.watchless import Watchless, watchless_fleet
from tests.nats_server import NatsServer, require_nats_server
from tests.ports import free_port

HEED, BATCH, CORE = f"/apis/{names.API_VERSION}", "/apis/batch/v1", "/api/v1"
LIVELY = ((HEED, "agents"), (HEED, "agentpolicies"), (HEED, "eventtypes"), (BATCH, "jobs"), (CORE, "pods"))
BACKGROUND = b'{"propagationPolicy": "Background"}'
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
    """A fresh namespace. What an operator would find in it goes afterwards; deleting it costs more than most tests."""
    name = f"test-{next(_numbers)}"
    control_plane.admin.post("/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    for group, kind in LIVELY:
        # The answer holds what was deleted, which may nest deeper than `json` reads.
        control_plane.admin.send("DELETE", f"{group}/namespaces/{name}/{kind}", BACKGROUND)


@pytest.fixture
def pods(control_plane: ControlPlane) -> PodPhases:
    """Plays the kubelet: `pods.succeed(namespace, job, '{"answer": 42}')`."""
    return PodPhases(control_plane.admin)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One real nats-server for the run."""
    require_nats_server()
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield Broker(server.url)


@pytest.fixture(scope="session")
def operator_kubeconfig(control_plane: ControlPlane) -> Path:
    """The chart's service account with the chart's role: what the operator may do in a cluster, and no more."""
    control_plane.admin.post("/api/v1/namespaces", {"metadata": {"name": SYSTEM}})
    chart = Path(__file__).resolve().parents[2] / "charts" / "heed"
    command = [str(require_helm()), "template", "heed", str(chart), "--namespace", SYSTEM, "--skip-tests"]
    command += ["--set", "workers.enabled=true", "--set-json", f"tasks.resources={json.dumps(CREATABLE)}"]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    wanted = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    rights = [item for item in yaml.safe_load_all(rendered) if item and item["kind"] in wanted]
    control_plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([*rights, *rights_on_leases(rights)]))
    account = next(item for item in rights if item["kind"] == "ServiceAccount")
    return control_plane.kubeconfig_for_service_account(SYSTEM, account["metadata"]["name"])


@pytest.fixture
def operator(operator_kubeconfig: Path, broker: Broker, tmp_path: Path) -> Iterator[Operator]:
    """`heed operator`, ready."""
    started = Operator(operator_kubeconfig, broker.url, tmp_path, free_port())
    try:
        yield started.start()
    finally:
        started.kill()


@pytest.fixture
def free_operator(operator_kubeconfig: Path, broker: Broker, tmp_path: Path) -> Iterator[Operator]:
    """`heed operator`, not started yet."""
    made = Operator(operator_kubeconfig, broker.url, tmp_path, free_port())
    try:
        yield made
    finally:
        made.kill()


@pytest.fixture
def stage(control_plane: ControlPlane, namespace: str, operator: Operator, broker: Broker) -> Stage:
    """A namespace with the operator and the broker."""
    return Stage(control_plane, namespace, operator, broker)


@pytest.fixture
async def watchless(control_plane: ControlPlane, broker: Broker, namespace: str) -> AsyncIterator[Watchless]:
    """The operator's Agents in this process, which see only what a test shows them."""
    async with watchless_fleet(control_plane.kubeconfig, broker.url, namespace) as watchless:
        yield watchless


@pytest.fixture(scope="module")
def tenants(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenants]:
    """Two tenants of one release, for all of a file's stories: each has Agents of its own names."""
    with tenancy(control_plane, tmp_path_factory.mktemp("tenants")) as tenants:
        yield tenants


@pytest.fixture
def hook(control_plane: ControlPlane, namespace: str) -> Iterator[Hook]:
    """A webhook for the test's namespace; nobody answers yet."""
    made = Hook(control_plane, namespace, free_port())
    try:
        yield made
    finally:
        made.delete()


@pytest.fixture
def webhook(hook: Hook) -> Iterator[Hook]:
    """A webhook that answers."""
    with Replica(hook):
        until_asked(hook)
        yield hook


def rights_on_leases(rights: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The chart's rights on its one lease, for the leases of the operators of tests, which are no replicas."""
    found = [copy.deepcopy(item) for item in rights if item["kind"] in ("Role", "RoleBinding")]
    for item in found:
        item["metadata"]["namespace"] = LEASE_NAMESPACE
        for rule in item.get("rules", ()):
            if "resourceNames" in rule:
                rule["resourceNames"] = list(LEASES)
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the control plane wrote last."""
    report = yield
    running = item.config.stash.get(LOGS, None)
    if report.failed and running is not None and "control_plane" in getattr(item, "fixturenames", ()):
        report.sections.append(("control plane logs", running.log_tails()))
    return report


@pytest.fixture
def workers(stage: Stage, tmp_path: Path) -> Iterator[tuple[CodeWorker, CodeWorker]]:
    made = CodeWorker(stage, tmp_path, "one"), CodeWorker(stage, tmp_path, "two")
    yield made
    for worker in made:
        worker.end()
