"""The release from its installation on: `helm test`, and every example with real containers."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.builders.events import data_of
from tests.cluster.controlplane.waiting import eventually
from tests.e2e.agents import PYTHON
from tests.e2e.broker import Broker
from tests.e2e.cluster import (
    Cluster,
)
from tests.e2e.release import CONTAINER_SECURITY, NAMESPACE, RESTRICTED, SECURITY, Release
from tests.e2e.worker_images import CHAT, IMAGES
from tests.patience import PATIENCE
from tests.statuses import totals

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SERVICE, CHARGED = "payment-service", "com.example.order.charged"
LOOK = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8181/v1/charges').read().decode())"


def apply(cluster: Cluster, example: str, namespace: str, replaced: Mapping[str, str] | None = None) -> None:
    """As its README says, with some texts replaced."""
    (manifest,) = (EXAMPLES / example).glob("agent*.yaml")
    text = manifest.read_text()
    for old, new in (replaced or {}).items():
        assert old in text
        text = text.replace(old, new)
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=text)


def payment_service(namespace: str) -> list[dict[str, Any]]:
    """The service of examples/http in a pod, which all may ask there, and the policy that lets Agents do so."""
    program = (EXAMPLES / "http" / "service.py").read_text()
    labels = {"app": SERVICE}
    container = {
        "name": "main",
        "image": PYTHON,
        "command": ["python3", "/service/service.py"],
        "securityContext": CONTAINER_SECURITY,
        "readinessProbe": {"httpGet": {"path": "/v1/charges", "port": 8181}, "periodSeconds": 1},
        "volumeMounts": [{"name": "service", "mountPath": "/service"}],
    }
    pod = {
        "automountServiceAccountToken": False,
        "securityContext": SECURITY,
        "containers": [container],
        "volumes": [{"name": "service", "configMap": {"name": SERVICE}}],
    }
    egress = {"host": f"{SERVICE}.{namespace}.svc", "ports": [8181], "networks": ["10.96.0.0/12"]}
    policy = {"agentSelector": {}, "egress": [egress]}
    data = {"service.py": program.replace('"127.0.0.1"', '""')}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": SERVICE}, "data": data},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": SERVICE, "labels": labels}, "spec": pod},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": SERVICE},
            "spec": {"selector": labels, "ports": [{"port": 8181}]},
        },
        {
            "apiVersion": "heed.dev/v1alpha1",
            "kind": "AgentPolicy",
            "metadata": {"name": SERVICE},
            "spec": policy,
        },
    ]


def test_the_release_is_ready_in_a_namespace_that_enforces_restricted(
    cluster: Cluster, release: Release
) -> None:
    labels = cluster.get("namespace", NAMESPACE)["metadata"]["labels"]
    assert RESTRICTED.items() <= labels.items()
    assert len(release.pods()) == 2
    assert release.active() in [pod["metadata"]["name"] for pod in release.pods()]


def test_helm_test_publishes_an_event_and_sees_its_agent_handle_it(release: Release) -> None:
    assert "Phase:          Succeeded" in release.test()


def test_research_a_real_job_finds_the_answer(
    cluster: Cluster, release: Release, broker: Broker, namespace: str
) -> None:
    # Given
    apply(cluster, "research", namespace)
    cluster.until_ready("researcher", namespace)

    # When two questions come, one of which nobody can answer
    release.publish("com.example.question.asked", {"topic": "tides"}, namespace, "known")
    release.publish("com.example.question.asked", {"topic": "atlantis"}, namespace, "unknown")

    # Then
    status = cluster.until(
        "researcher", namespace, lambda s: totals(s).get("emitted") == 2 and not s["outbox"]
    )
    answer = "The Moon pulls the sea, and the Earth turns under it."
    assert status["sessions"]["known"]["state"] == {"topic": "tides", "answer": answer}
    assert status["pendingTasks"] == {}
    assert totals(status)["tasksCompleted"] == totals(status)["tasksFailed"] == 1
    (answered,) = broker.events(namespace, "com.example.question.answered")
    assert answered.data == {"topic": "tides", "answer": answer}
    (failed,) = broker.events(namespace, "com.example.question.failed")
    assert "nobody knows about atlantis" in json.dumps(failed.data)


def test_github_triage_labels_an_issue_that_was_opened(
    cluster: Cluster, release: Release, broker: Broker, namespace: str
) -> None:
    # Given
    apply(cluster, "github-triage", namespace)
    cluster.until_ready("triage", namespace)

    # When the gateway publishes what GitHub told it
    issue = {"number": 7, "title": "It is broken"}
    data = {"action": "opened", "issue": issue, "repository": {"full_name": "example/app"}}
    release.publish("com.github.issues", data, namespace, "delivery-7")

    # Then
    cluster.until("triage", namespace, lambda s: totals(s).get("emitted") == 1 and not s["outbox"])
    (triaged,) = broker.events(namespace, "com.example.issue.triaged")
    assert triaged.data == {"repository": "example/app", "number": 7, "labels": ["bug"]}


def test_questions_two_agents_cooperate(
    cluster: Cluster, release: Release, broker: Broker, namespace: str
) -> None:
    apply(cluster, "questions", namespace)
    for agent in ("planner", "guide"):
        cluster.until_ready(agent, namespace)

    release.publish("com.example.trip.requested", {"city": "Lisbon"}, namespace, "trip-1")

    (planned,) = eventually(
        lambda: broker.events(namespace, "com.example.trip.planned"), PATIENCE, what="a plan", every=0.5
    )
    assert planned.extensions["correlationid"] == "trip-1"
    assert data_of(planned)["stops"] == 2


def test_orders_joins_jobs_that_run_side_by_side(
    cluster: Cluster, release: Release, broker: Broker, namespace: str
) -> None:
    # Given
    apply(cluster, "orders", namespace)
    cluster.until_ready("packer", namespace)
    items = [{"sku": "rug", "quantity": 3}, {"sku": "lamp", "quantity": 5}, {"sku": "mug", "quantity": 12}]

    # When
    release.publish("com.example.order.placed", {"order": "42", "items": items}, namespace, "flow-1")

    # Then one event tells of all three, also of the one that is out of stock
    (completed,) = eventually(
        lambda: broker.events(namespace, "com.example.order.completed"), PATIENCE, what="the order", every=0.5
    )
    data: Any = completed.data
    assert data["items"] == [
        {"sku": "rug", "parcel": "42/rug"},
        {"sku": "lamp", "problem": "only 2 in stock"},
        {"sku": "mug", "parcel": "42/mug"},
    ]
    assert len(cluster.items("jobs", "-n", namespace)) == 3


@pytest.mark.skipif(os.environ.get("E2E_CLUSTER") == "current", reason="its image is in no registry")
def test_progress_a_job_publishes_with_credentials_of_its_own(
    cluster: Cluster, release: Release, broker: Broker, namespace: str
) -> None:
    # Given
    apply(cluster, "progress", namespace)
    cluster.until_ready("reporter", namespace)

    # When
    release.publish("com.example.report.requested", {"topic": "tides"}, namespace, "report-1")

    # Then what the Job said on its way was handled, and its large result arrived
    status = cluster.until("reporter", namespace, lambda s: totals(s).get("emitted") == 1 and not s["outbox"])
    assert status["sessions"]["report-1"]["state"] == {"topic": "tides", "percent": 100}
    assert totals(status)["handled"] == 6  # the request, four times progress, the end
    (written,) = broker.events(namespace, "com.example.report.written")
    assert written.data == {"topic": "tides", "lines": 2000, "first": "1: all about tides"}


def test_join_a_shipment_is_told_of_whatever_came_first(
    cluster: Cluster, release: Release, broker: Broker, namespace: str
) -> None:
    # Given a departure that waits for what has not come yet
    apply(cluster, "join", namespace)
    cluster.until_ready("dispatcher", namespace)
    release.publish("com.example.shipment.departed", {"shipment": "s-1", "truck": "OSL-7"}, namespace, "a")
    cluster.until("dispatcher", namespace, lambda s: s["counts"].get("held") == 1)

    # When the rest comes
    scanned = {"shipment": "s-1", "parcel": "rug", "kg": 5}
    release.publish("com.example.shipment.scanned", scanned, namespace, "b")
    release.publish("com.example.shipment.announced", {"shipment": "s-1", "parcels": ["rug"]}, namespace, "c")

    # Then
    cluster.until("dispatcher", namespace, lambda s: totals(s).get("emitted") == 1 and not s["outbox"])
    (complete,) = broker.events(namespace, "com.example.delivery.complete")
    parcels = [{"parcel": "rug", "kg": 5}]
    assert complete.data == {"shipment": "s-1", "truck": "OSL-7", "parcels": parcels}


def test_nightly_report_is_due_at_night_and_written_when_asked_for(
    cluster: Cluster, release: Release, broker: Broker, namespace: str
) -> None:
    # Given
    apply(cluster, "nightly-report", namespace)
    cluster.until_ready("bookkeeper", namespace)
    release.publish("com.example.sale.made", {"amount": 12}, namespace, "sale-1")

    # When
    release.publish("com.example.report.requested", {}, namespace, "report-1")

    # Then a Job wrote it, and the next one is due at half past two
    status = cluster.until(
        "bookkeeper", namespace, lambda s: totals(s).get("emitted") == 1 and not s["outbox"]
    )
    (written,) = broker.events(namespace, "com.example.report.written")
    assert written.data == {"text": "1 sales, 12 in all"}
    due = datetime.fromisoformat(status["timers"]["nightly"]["nextAt"]).astimezone(ZoneInfo("Europe/Berlin"))
    assert (due.hour, due.minute) in ((2, 30), (3, 0))  # 03:00 in the night that has no half past two


@pytest.mark.skipif(os.environ.get("E2E_CLUSTER") == "current", reason="its image is in no registry")
def test_chat_a_model_and_its_tools_run_in_a_worker(
    cluster: Cluster, release: Release, broker: Broker, namespace: str, tmp_path: Path
) -> None:
    # Given an Agent in Python, with the image of its module
    cluster.apply(CHAT.manifests(tmp_path / "chat"), namespace)
    cluster.until_ready("chat", namespace)

    # When
    said = "What is the weather in Oslo and Lisbon?"
    release.publish("com.example.chat.said", {"chat": "c-1", "text": said}, namespace, "said-1")
    cluster.until("chat", namespace, lambda s: totals(s).get("emitted") == 1 and not s["outbox"])
    release.publish("com.example.chat.said", {"chat": "c-1", "text": "Thanks"}, namespace, "said-2")

    # Then both tools were asked, in whatever order they ended
    cluster.until("chat", namespace, lambda s: totals(s).get("emitted") == 2 and not s["outbox"])
    first, second = (data_of(event)["text"] for event in broker.events(namespace, "com.example.chat.replied"))
    assert sorted(first.rstrip(".").split("; ")) == ["snow in Oslo", "sun in Lisbon"]
    assert second == 'You said "Thanks".'


def test_http_an_order_is_charged_once_by_a_service_that_is_busy_at_first(
    cluster: Cluster, release: Release, broker: Broker, namespace: str
) -> None:
    # Given a payment service in the cluster, and a policy by which calls may go there
    cluster.apply(payment_service(namespace), namespace)
    cluster.kubectl("apply", "-n", namespace, "-f", str(EXAMPLES / "http" / "secret.yaml"))
    apply(cluster, "http", namespace, {"127.0.0.1": f"{SERVICE}.{namespace}.svc"})
    cluster.until_ready("payments", namespace)

    # When two orders come, one of which is too dear for the card
    release.publish("com.example.order.placed", {"order": "o-1", "cents": 4200}, namespace, "order-1")
    release.publish("com.example.order.placed", {"order": "o-2", "cents": 20_000}, namespace, "order-2")

    # Then
    status = cluster.until("payments", namespace, lambda s: totals(s).get("emitted") == 2 and not s["outbox"])
    assert status["pendingTasks"] == {} and totals(status)["tasksCompleted"] == 2
    charged = {data["order"]: data for data in map(data_of, broker.events(namespace, CHARGED))}
    assert charged["o-1"] == {"order": "o-1", "paid": True, "charge": "ch-1"}
    assert charged["o-2"] == {"order": "o-2", "paid": False, "charge": ""}
    asked = cluster.kubectl("exec", SERVICE, "-n", namespace, "--", "python3", "-c", LOOK)
    assert [charge["order"] for charge in json.loads(asked)] == ["o-1"]


def test_every_example_has_a_story_here() -> None:
    told = Path(__file__).read_text()
    elsewhere = {  # tests/integration/local
        "worker-typescript",  # its worker is started by hand
        "languages",  # its greeter is that worker, and there is no image with Node here
        "graph",  # there is no image with pip here, to install LangGraph into one
    }
    in_python = {image.example for image in IMAGES}
    for example in {found.parent.name for found in EXAMPLES.glob("*/agent*.*")}:
        assert example in elsewhere | in_python or f'apply(cluster, "{example}"' in told


def test_a_purchase_is_decided_by_somebody_of_purchasing(
    cluster: Cluster, release: Release, broker: Broker, namespace: str
) -> None:
    # Given an approval that waits, and somebody who may answer
    apply(cluster, "purchase-approval", namespace)
    cluster.until_ready("purchases", namespace)
    role = f"--clusterrole={NAMESPACE}-heed-approver"
    cluster.kubectl("create", "rolebinding", "purchasing", role, "--group=purchasing", "-n", namespace)
    request = {"item": "a desk", "price": 420, "requestedBy": "lee", "reason": "it wobbles"}
    release.publish("com.example.purchase.requested", request, namespace, "purchase-1")
    status = cluster.until("purchases", namespace, lambda s: len(s["pendingTasks"]) == 2)
    (task,) = (key for key in status["pendingTasks"] if key.startswith("decide-"))

    # When
    kim = ("--as=kim", "--as-group=purchasing")
    who = json.loads(cluster.kubectl("auth", "whoami", "-o", "json", *kim))["status"]["userInfo"]
    answer = {
        "apiVersion": "heed.dev/v1alpha1",
        "kind": "ApprovalAnswer",
        "metadata": {"name": "yes"},
        "spec": {
            "agent": "purchases",
            "task": task,
            "choice": "approve",
            "user": who["username"],
            "groups": who["groups"],
        },
    }
    cluster.kubectl("create", "-n", namespace, "-f", "-", *kim, stdin=json.dumps(answer))

    # Then it is decided, and the answer is deleted after a while
    cluster.until("purchases", namespace, lambda s: not s["pendingTasks"] and not s["outbox"])
    (decided,) = broker.events(namespace, "com.example.purchase.decided")
    assert data_of(decided)["by"] == "kim"
    eventually(
        lambda: cluster.items("approvalanswers", "-n", namespace) == [],
        PATIENCE,
        what="no answer that is left",
    )
