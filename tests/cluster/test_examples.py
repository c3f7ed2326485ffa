"""The examples on a real API server, with the commands that their readers type. A kubelet is played through the API."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from heed import names
from heed.core.events import Event
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import (
    HEED,
    Stage,
)
from tests.patience import PATIENCE
from tests.statuses import totals

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]


def publish(stage: Stage, type_: str, data: Any, correlation: str) -> None:
    """`heed publish`, as a person types it."""
    command = [str(HEED), "publish", type_, "--data", json.dumps(data)]
    command += ["--correlation", correlation, "-n", stage.namespace]
    environment = {**os.environ, "HEED_NATS_URL": stage.broker.url}
    subprocess.run(command, check=True, capture_output=True, env=environment)


def broadcast(stage: Stage, type_: str) -> list[Event]:
    return stage.broker.events(names.event_subject(stage.namespace, type_))


def test_research_from_kubectl_apply_to_the_answer(stage: Stage, pods: PodPhases) -> None:
    # Given what the README says to apply, the CRDs again included
    kubectl = stage.plane.kubectl
    kubectl(
        "apply", "-n", stage.namespace, "-f", str(ROOT / "crds"), "-f", str(ROOT / "examples" / "research")
    )

    # When
    publish(stage, "com.example.question.asked", {"topic": "tides"}, "question-1")
    job = stage.until_job()
    pods.succeed(stage.namespace, job["metadata"]["name"], '{"answer": "The Moon."}')

    # Then the status has the answer, a moved cursor and nothing pending
    status = stage.until(lambda s: totals(s).get("tasksCompleted") == 1 and not s["outbox"])
    assert status["sessions"]["question-1"]["state"] == {"topic": "tides", "answer": "The Moon."}
    assert status["cursor"]["sequence"] > 0
    assert status["pendingTasks"] == {}
    (answered,) = broadcast(stage, "com.example.question.answered")
    assert answered.extensions["correlationid"] == "question-1"
    assert answered.extensions["causationid"] == job["metadata"]["uid"]

    # And kubectl explains the fields
    assert "The reactions" in kubectl("explain", "agent.spec.handlers")


def test_questions_two_agents_that_know_each_other_by_events_only(stage: Stage) -> None:
    stage.plane.kubectl("apply", "-n", stage.namespace, "-f", str(ROOT / "examples" / "questions"))

    publish(stage, "com.example.trip.requested", {"city": "Lisbon"}, "trip-1")

    (planned,) = eventually(lambda: broadcast(stage, "com.example.trip.planned"), PATIENCE, what="a plan")
    assert planned.extensions["correlationid"] == "trip-1"
    assert planned.source == names.agent_source(stage.namespace, "planner")


def test_orders_joins_its_jobs_whatever_their_order(stage: Stage, pods: PodPhases) -> None:
    # Given an order of three items, each with a Job of its own
    stage.plane.kubectl("apply", "-n", stage.namespace, "-f", str(ROOT / "examples" / "orders"))
    items = [{"sku": sku, "quantity": 1} for sku in ("rug", "lamp", "mug")]
    publish(stage, "com.example.order.placed", {"order": "42", "items": items}, "flow-1")
    jobs = eventually(lambda: found if len(found := stage.jobs()) == 3 else None, PATIENCE, what="three Jobs")

    # When they end in another order than they were started in
    for job in reversed(jobs):
        pods.succeed(
            stage.namespace, job["metadata"]["name"], json.dumps({"parcel": job["metadata"]["name"]})
        )

    # Then there is one event, with all results in the order of the items
    (completed,) = eventually(
        lambda: broadcast(stage, "com.example.order.completed"), PATIENCE, what="the order"
    )
    assert completed.extensions["correlationid"] == "flow-1"
    data: Any = completed.data
    assert data["complete"] is True
    assert [item["sku"] for item in data["items"]] == ["rug", "lamp", "mug"]


def test_join_holds_what_comes_early_over_a_restart(stage: Stage) -> None:
    # Given a shipment whose departure and first parcel come before its announcement
    kubectl = stage.plane.kubectl
    kubectl("apply", "-n", stage.namespace, "-f", str(ROOT / "examples" / "join" / "agent.yaml"))
    publish(stage, "com.example.shipment.departed", {"shipment": "s-1", "truck": "OSL-7"}, "a")
    publish(stage, "com.example.shipment.scanned", {"shipment": "s-1", "parcel": "rug", "kg": 5}, "b")
    status = stage.until(lambda s: s["counts"]["held"] == 2, "dispatcher")
    assert [item["handler"] for item in status["held"].values()] == ["departed", "scanned"]
    assert {item["session"] for item in status["held"].values()} == {"s-1"}

    # When the operator is replaced, and the rest comes
    stage.operator.kill()
    publish(stage, "com.example.shipment.announced", {"shipment": "s-1", "parcels": ["rug", "mug"]}, "c")
    publish(stage, "com.example.shipment.scanned", {"shipment": "s-1", "parcel": "mug", "kg": 3}, "d")
    stage.operator.start()

    # Then all is there, once, and nothing is held any more
    (complete,) = eventually(
        lambda: broadcast(stage, "com.example.delivery.complete"), PATIENCE, what="the shipment"
    )
    assert complete.data == {
        "shipment": "s-1",
        "truck": "OSL-7",
        "parcels": [{"parcel": "rug", "kg": 5}, {"parcel": "mug", "kg": 3}],
    }
    status = stage.until(lambda s: totals(s).get("handled") == 4 and not s["outbox"], "dispatcher")
    assert (status["held"], status.get("sessions", {}), totals(status)["emitted"]) == ({}, {}, 1)
