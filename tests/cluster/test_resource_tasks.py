"""Resource tasks on the real API server, with the operator's rights: how each of them ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heed import names
from tests.builders.events import data_of
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import Broker, Operator, Stage
from tests.cluster.resources.kinds import CRDS, GROUP, Objects, definition, install
from tests.cluster.stories import RESEARCHER
from tests.patience import PATIENCE
from tests.statuses import totals

pytestmark = pytest.mark.cluster
AGENT = "researcher"
WIDGET: dict[str, Any] = {
    "template": {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Widget",
        "metadata": {"labels": {"team": "${input.topic}"}},
        "spec": {"size": "${size(input.topic)}"},
    },
    "succeeded": 'object.status.phase == "Ready"',
    "failed": 'object.status.phase == "Broken"',
    "result": "{'answer': object.status.answer, 'size': object.spec.size}",
    "progress": "{'percent': object.status.percent}",
    "reason": "object.status.why",
    "message": "'the widget is ' + object.status.phase",
}


@pytest.fixture(scope="session")
def widgets(control_plane: ControlPlane) -> None:
    """The kind Widget."""
    install(control_plane, definition("widgets", "Widget"))


@pytest.fixture
def things(stage: Stage, widgets: None) -> Objects:
    """The Widgets of the namespace."""
    return Objects(stage.plane.admin, stage.namespace, f"{GROUP}/v1", "widgets")


def asked(stage: Stage, resource: dict[str, Any] | None = None, **task: Any) -> None:
    """The researcher, whose research is a resource, is asked."""
    given = {**RESEARCHER["spec"], "tasks": {"research": {"resource": resource or WIDGET, **task}}}
    progressed = {
        "name": "note",
        "type": "dev.heed.task.progress",
        "state": {"seen": "${event.data.percent}"},
    }
    given["handlers"] = [*given["handlers"], progressed]
    stage.apply({**RESEARCHER, "spec": given})
    stage.ask()


def failure(stage: Stage, attempt: int | None = 1) -> dict[str, Any]:
    """What the Agent was told of its failed task; no attempt where the whole task was over."""
    stage.until(lambda s: totals(s).get("tasksFailed") == 1)
    (event,) = stage.broker.events(names.inbox_subject(stage.namespace, AGENT, names.TASK_FAILED))
    told = data_of(event)
    assert told.pop("attempt", None) == attempt
    return told


def completion(stage: Stage, attempt: int = 1) -> dict[str, Any]:
    """What the Agent was told of its completed task."""
    stage.until(lambda s: totals(s).get("tasksCompleted") == 1)
    (event,) = stage.broker.events(names.inbox_subject(stage.namespace, AGENT, names.TASK_COMPLETED))
    told = data_of(event)
    assert told.pop("attempt") == attempt
    return told


def started(stage: Stage) -> str:
    """The id of the task, once it is known to have started."""
    status = stage.until(lambda s: [t["phase"] for t in s["pendingTasks"].values()] == ["Started"])
    return str(next(iter(status["pendingTasks"])))


def test_an_object_is_made_and_its_status_is_the_tasks_end(stage: Stage, things: Objects) -> None:
    # Given an object that the task asks for
    asked(stage)
    body = things.one()
    task_id = started(stage)
    agent = stage.agent()
    assert body["metadata"]["name"] == names.job_name(AGENT, task_id)
    assert body["metadata"]["labels"] == {
        "team": "tides",
        names.LABEL_RESOURCE_OF: AGENT,
        names.LABEL_TASK: "research",
        names.LABEL_TASK_ID: task_id,
        names.LABEL_ATTEMPT: "1",
        names.LABEL_SESSION: names.session_hash("c-1"),
    }
    (owner,) = body["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Agent", agent["metadata"]["uid"], True)
    assert body["spec"] == {"size": 5}

    # When its controller says how far it is, and that it is done
    things.report(body, phase="Working", percent=40)
    stage.until(lambda s: s["sessions"]["c-1"]["state"]["seen"] == 40)
    things.report(body, phase="Ready", percent=100, answer="the moon")

    # Then that is the end of the task, and the object stays for its retention
    assert completion(stage) == {"task": "research", "result": {"answer": "the moon", "size": 5}}
    stage.until(lambda s: s["sessions"]["c-1"]["state"]["answer"] == "the moon")
    assert [item["metadata"]["uid"] for item in things.all()] == [body["metadata"]["uid"]]


def test_a_failure_is_told_with_its_reason_and_the_object_goes_at_once_where_that_is_asked_for(
    stage: Stage, things: Objects
) -> None:
    asked(stage, {**WIDGET, "deletion": "Immediately"})
    things.report(things.one(), phase="Broken", why="OutOfPaint")

    assert failure(stage) == {"task": "research", "reason": "OutOfPaint", "message": "the widget is Broken"}
    things.none()


def test_an_object_that_a_person_deletes_is_lost(stage: Stage, things: Objects) -> None:
    asked(stage)
    started(stage)

    things.delete(things.one())

    told = failure(stage)
    assert told["reason"] == "ResourceLost"
    assert told["message"] == "the Widget is gone; it was deleted by someone else than Heed"


def test_a_controller_that_never_acts_is_the_tasks_timeout(stage: Stage, things: Objects) -> None:
    asked(stage, timeout="10s")
    things.one()

    assert failure(stage, attempt=None)["reason"] == "DeadlineExceeded"
    things.none()


def test_a_kind_that_is_removed_ends_its_tasks(stage: Stage) -> None:
    # Given an object of a kind of its own
    crd = definition("gadgets", "Gadget")
    install(stage.plane, crd)
    gadgets = Objects(stage.plane.admin, stage.namespace, f"{GROUP}/v1", "gadgets")
    asked(stage, {**WIDGET, "template": {**WIDGET["template"], "kind": "Gadget"}})
    gadgets.one()
    started(stage)

    # When its definition is deleted, and with it all objects
    stage.plane.admin.delete(f"{CRDS}/{crd['metadata']['name']}")

    # Then the task says so
    told = failure(stage)
    assert told["reason"] == "KindUnknown"
    assert told["message"].startswith(f"the API server does not serve Gadget of {GROUP}/v1")


def test_a_kind_that_is_not_there_is_named(stage: Stage) -> None:
    asked(stage, {**WIDGET, "template": {**WIDGET["template"], "kind": "Gizmo"}})

    told = failure(stage)
    assert told["reason"] == "KindUnknown"
    assert "install its CustomResourceDefinition" in told["message"]


def test_without_the_charts_opt_in_a_kind_is_refused_with_what_helps(stage: Stage) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"topic": "${input.topic}"}}
    asked(stage, {"template": config, "succeeded": "has(object.data)"})

    told = failure(stage)
    assert told["reason"] == "Forbidden"
    assert 'add {group: "", resources: [configmaps]} to tasks.resources of the chart' in told["message"]
    assert "the operator may not watch configmaps" in told["message"]


def test_what_the_operator_may_create_for_its_own_ends_is_not_opted_in_to(stage: Stage) -> None:
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "involvedObject": {"kind": "Agent", "name": "researcher", "namespace": stage.namespace},
    }
    asked(stage, {"template": event, "succeeded": "true"}, timeout="10s")

    told = failure(stage)
    assert told["reason"] == "Forbidden"
    assert "tasks.resources of the chart" in told["message"]


def test_kinds_of_the_whole_cluster_are_refused(stage: Stage) -> None:
    template = {"apiVersion": "v1", "kind": "Namespace"}
    asked(stage, {"template": template, "succeeded": "true"})

    told = failure(stage)
    assert told["reason"] == "ClusterScoped"


def test_what_the_api_server_never_takes_is_refused_with_its_words(stage: Stage, things: Objects) -> None:
    asked(stage, {**WIDGET, "template": {**WIDGET["template"], "spec": {"size": -1}}})

    told = failure(stage)
    assert told["reason"] == "InvalidResource"
    assert told["message"].startswith("spec.tasks.research.resource: ")
    assert "spec.size" in told["message"]
    assert things.all() == []


def test_an_expression_that_fails_for_another_reason_than_a_missing_member_ends_the_task(
    stage: Stage, things: Objects
) -> None:
    asked(stage)
    body = things.one()

    things.report(body, phase="Working", percent="many")
    stage.until(lambda s: s["sessions"]["c-1"]["state"]["seen"] == "many")
    things.report(body, phase="Ready")  # without the answer that `result` reads

    told = failure(stage)
    assert told["reason"] == "ExpressionFailed"
    assert told["message"].startswith('spec.tasks.research.resource.result: there is no "answer"')


@pytest.mark.parametrize("label", [names.LABEL_TASK_ID, names.LABEL_RESOURCE_OF])
def test_an_object_whose_label_someone_took_away_is_not_lost(
    stage: Stage, things: Objects, label: str
) -> None:
    asked(stage)
    body = things.one()
    started(stage)
    path = f"/apis/{GROUP}/v1/namespaces/{stage.namespace}/widgets/{body['metadata']['name']}"
    stage.plane.admin.patch(path, {"metadata": {"labels": {label: None}}})

    things.report(body, phase="Ready", answer="the moon")

    assert completion(stage)["result"] == {"answer": "the moon", "size": 5}


def test_each_attempt_has_an_object_of_its_own(stage: Stage, things: Objects) -> None:
    # Given a task that may be attempted twice
    asked(stage, retry={"attempts": 2, "backoff": {"initial": "1s"}})
    first = things.one()
    task_id = started(stage)

    # When the first attempt fails
    things.report(first, phase="Broken", why="OutOfPaint")
    (second,) = eventually(
        lambda: [item for item in things.all() if item["metadata"]["uid"] != first["metadata"]["uid"]],
        PATIENCE,
        what="a second object",
    )

    # Then the second one has its own object, and the end of the task
    assert second["metadata"]["name"] == names.job_name(AGENT, f"{task_id}-2")
    assert second["metadata"]["labels"][names.LABEL_ATTEMPT] == "2"
    things.report(second, phase="Ready", answer="the moon")
    assert completion(stage, attempt=2)["result"] == {"answer": "the moon", "size": 5}
    assert "tasksFailed" not in totals(stage.status())
    assert len(things.all()) == 2


# --- restarts -----------------------------------------------------------------------------------------------------


POINTS: dict[str, Callable[[Objects], object]] = {
    "before-effects": Objects.none,
    "after-StartTask": Objects.one,
}


@pytest.mark.parametrize("point", POINTS)
def test_an_operator_that_dies_around_the_start_makes_one_object(
    control_plane: ControlPlane,
    operator_kubeconfig: Path,
    broker: Broker,
    namespace: str,
    widgets: None,
    tmp_path: Path,
    free_operator: Operator,
    point: str,
) -> None:
    # Given an operator that dies before it has made the object, or before it has noted that
    stage = Stage(control_plane, namespace, free_operator, broker)
    things = Objects(control_plane.admin, namespace, f"{GROUP}/v1", "widgets")
    free_operator.start_dying(point, namespace)
    asked(stage)
    free_operator.wait_dead()
    POINTS[point](things)

    # When another one goes on
    free_operator.start()
    body = things.one()
    started(stage)
    things.report(body, phase="Ready", answer="the moon")

    # Then there was one object, and one end
    assert completion(stage)["result"] == {"answer": "the moon", "size": 5}
    assert [item["metadata"]["uid"] for item in things.all()] == [body["metadata"]["uid"]]


@pytest.mark.parametrize("meanwhile", ["nothing", "ready", "deleted"])
def test_what_happens_while_no_operator_runs_is_found(stage: Stage, things: Objects, meanwhile: str) -> None:
    asked(stage)
    body = things.one()
    started(stage)
    stage.operator.kill()

    match meanwhile:
        case "ready":
            things.report(body, phase="Ready", answer="the moon")
        case "deleted":
            things.delete(body)
    stage.operator.start()
    if meanwhile == "nothing":
        things.report(body, phase="Ready", answer="the moon")

    if meanwhile == "deleted":
        assert failure(stage)["reason"] == "ResourceLost"
    else:
        assert completion(stage)["result"] == {"answer": "the moon", "size": 5}


def test_the_retention_of_an_object_goes_on_after_a_restart(stage: Stage, things: Objects) -> None:
    asked(stage, retention="1s")
    body = things.one()
    started(stage)
    things.report(body, phase="Ready", answer="the moon")
    completion(stage)
    stage.operator.kill()
    stage.operator.start()

    eventually(lambda: not things.all(), PATIENCE, what="the end of the object's retention")
