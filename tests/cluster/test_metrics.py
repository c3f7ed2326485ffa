"""What Prometheus reads of a real operator: of its work, of its Agents as they come and go, and of a standby."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import LEASES, Broker, Operator, Stage
from tests.cluster.stories import RESEARCHER
from tests.patience import PATIENCE
from tests.ports import free_port

pytestmark = pytest.mark.cluster


@pytest.fixture
def replicas(operator_kubeconfig: Path, broker: Broker, tmp_path: Path) -> Iterator[list[Operator]]:
    """An active operator and its standby, with metrics."""
    found = [
        Operator(
            operator_kubeconfig,
            broker.url,
            tmp_path,
            free_port(),
            identity=role,
            lease=LEASES[-1],
            metrics_port=free_port(),
        )
        for role in ("active", "standby")
    ]
    try:
        for replica in found:
            replica.start(replica.identity)
        yield found
    finally:
        for replica in found:
            replica.stop()


@pytest.fixture
def stage(control_plane: ControlPlane, namespace: str, replicas: list[Operator], broker: Broker) -> Stage:
    return Stage(control_plane, namespace, replicas[0], broker)


class Scrape:
    """A replica's page, read as Prometheus reads it."""

    def __init__(self, page: str) -> None:
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples.get((name, frozenset(labels.items())))

    def of_agent(self, namespace: str, agent: str) -> set[str]:
        """The metrics with series of an Agent."""
        wanted = {("namespace", namespace), ("agent", agent)}
        return {name for name, labels in self.samples if wanted <= labels}


def until(operator: Operator, holds: Callable[[Scrape], object], what: str) -> Scrape:
    """The page once a condition holds of it."""

    def look() -> Scrape | None:
        scrape = Scrape(operator.metrics())
        return scrape if holds(scrape) else None

    return eventually(look, PATIENCE, what=f"{what}; log: {operator.log}")


def test_the_work_of_an_agent_can_be_followed(stage: Stage, pods: PodPhases) -> None:
    # Given an Agent that starts a Job for a question
    stage.apply(RESEARCHER)
    agent = {"namespace": stage.namespace, "agent": "researcher"}
    until(stage.operator, lambda page: page.value("heed_agent_ready", **agent) == 1, "a ready agent")

    # When
    stage.ask()
    until(stage.operator, lambda page: page.value("heed_pending_tasks", **agent) == 1, "a pending task")
    pods.succeed(stage.namespace, stage.until_job()["metadata"]["name"], '{"answer": 42}')

    # Then
    results = {"outcome": "completed", **agent}
    page = until(
        stage.operator, lambda page: page.value("heed_task_results_total", **results) == 1, "an ended task"
    )
    assert page.value("heed_events_total", outcome="handled", **agent) == 2
    assert page.value("heed_tasks_started_total", **agent) == 1
    assert (page.value("heed_status_bytes", **agent) or 0) > 500
    page = until(
        stage.operator, lambda page: page.value("heed_cursor_lag_events", **agent) == 0, "nothing to do"
    )
    assert page.value("heed_cursor_lag_seconds", **agent) == 0
    assert (page.value("heed_effects_total", effect="start") or 0) >= 1
    assert (page.value("heed_tasks_ended_total", reason="Completed") or 0) >= 1
    assert (page.value("heed_commit_duration_seconds_count") or 0) >= 2
    assert (page.value("heed_decide_duration_seconds_count") or 0) >= 2
    assert (page.value("heed_api_requests_total", method="PATCH", code="200") or 0) >= 2
    assert page.value("heed_nats_connected") == 1


def test_an_agent_that_is_deleted_leaves_no_series(stage: Stage) -> None:
    stage.apply(RESEARCHER)
    name = (stage.namespace, "researcher")
    until(stage.operator, lambda page: "heed_events_total" in page.of_agent(*name), "series of the agent")

    stage.plane.kubectl("delete", "agent", "researcher", "-n", stage.namespace)

    until(stage.operator, lambda page: not page.of_agent(*name), "no series of the agent")


def test_a_standby_tells_that_it_is_one_until_it_follows(stage: Stage, replicas: list[Operator]) -> None:
    active, standby = replicas
    stage.apply(RESEARCHER)
    stage.ask()
    stage.until(lambda status: status.get("pendingTasks"))
    agent = {"namespace": stage.namespace, "agent": "researcher"}
    assert Scrape(active.metrics()).value("heed_leader") == 1
    waiting = Scrape(standby.metrics())
    assert waiting.value("heed_leader") == 0
    assert waiting.value("heed_nats_connected") == 1
    assert waiting.of_agent(stage.namespace, "researcher") == set()

    active.stop()

    # Then its totals go on where the other one left off
    page = until(
        standby, lambda page: page.value("heed_events_total", outcome="handled", **agent) == 1, "the totals"
    )
    assert page.value("heed_leader") == 1


def test_a_port_that_is_taken_is_named(operator_kubeconfig: Path, broker: Broker, tmp_path: Path) -> None:
    port = free_port()
    operator = Operator(operator_kubeconfig, broker.url, tmp_path, port, metrics_port=port)

    with pytest.raises(AssertionError, match=f"HEED_METRICS_PORT={port}: .*choose a free port, or 0"):
        operator.start()
