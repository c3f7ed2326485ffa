"""Event to Job to result on a real API server with the real controllers: what people rely on, told as stories."""

from __future__ import annotations

import json

import pytest

from heed import names
from heed.api.conditions import find_condition
from heed.core.events import Event
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import (
    Operator,
    Stage,
)
from tests.cluster.stories import RESEARCHER, researcher, with_handler
from tests.patience import PATIENCE
from tests.statuses import totals

pytestmark = pytest.mark.cluster


def test_an_event_becomes_a_job_and_its_result_comes_back(stage: Stage, pods: PodPhases) -> None:
    # Given
    stage.apply(RESEARCHER)

    # When
    stage.ask("q-1", correlation="c-1")
    job = stage.until_job()
    pods.succeed(stage.namespace, job["metadata"]["name"], '{"answer": "the moon"}')

    # Then
    status = stage.until(
        lambda s: (
            not any(s["counts"][name] for name in ("pendingTasks", "outbox")) and totals(s).get("emitted")
        )
    )
    assert status["sessions"]["c-1"]["state"] == {"topic": "tides", "answer": "the moon"}
    assert totals(status) == {"handled": 2, "emitted": 1, "tasksStarted": 1, "tasksCompleted": 1}
    assert status["recentTasks"][0]["outcome"] == "Completed"
    (answer,) = stage.answers()
    assert answer.data == {"topic": "tides", "answer": "the moon"}
    assert answer.extensions["correlationid"] == "c-1"
    assert answer.extensions["causationid"] == job["metadata"]["uid"]


def test_the_first_events_of_new_agents_meet_no_conflict_of_the_operators_own_making(stage: Stage) -> None:
    for number in range(5):
        stage.apply({**RESEARCHER, "metadata": {"name": f"new-{number}"}})
        stage.until(
            lambda s: (find_condition(s.get("conditions") or [], "Ready") or {}).get("status") == "True",
            f"new-{number}",
        )
    before = stage.operator.log.read_text()

    stage.ask("q-1")

    for number in range(5):
        stage.until(lambda s: totals(s).get("handled"), f"new-{number}")
    assert "LedgerConflict" not in stage.operator.log.read_text()[len(before) :]


def test_the_job_keeps_the_contract(stage: Stage) -> None:
    stage.apply(RESEARCHER)
    stage.ask("q-1", correlation="c-1")

    job = stage.until_job()

    agent = stage.agent()
    (owner,) = job["metadata"]["ownerReferences"]
    (task_id,) = stage.until(lambda s: s.get("pendingTasks"))["pendingTasks"]
    assert owner["uid"] == agent["metadata"]["uid"]
    assert job["metadata"]["name"] == f"researcher-{task_id}"
    assert job["metadata"]["labels"] == {
        names.LABEL_AGENT: "researcher",
        names.LABEL_TASK: "research",
        names.LABEL_TASK_ID: task_id,
        names.LABEL_ATTEMPT: "1",
        names.LABEL_SESSION: names.session_hash("c-1"),
    }
    pod = job["spec"]["template"]
    document = json.loads(pod["metadata"]["annotations"][names.ANNOTATION_TASK])
    assert document["input"] == {"topic": "tides"}
    assert document["event"]["id"] == "q-1"
    assert document["session"]["key"] == "c-1"
    (container,) = pod["spec"]["containers"]
    assert container["args"] == ["tides"]
    assert {"name": "HEED_TASK_FILE", "value": "/heed/task.json"} in container["env"]
    assert job["spec"]["activeDeadlineSeconds"] == 600
    assert "ttlSecondsAfterFinished" not in job["spec"]


def test_kubectl_get_agents_is_readable_at_a_glance(stage: Stage) -> None:
    stage.apply(RESEARCHER)
    stage.ask()
    stage.until_job()
    stage.until(lambda s: s["counts"]["pendingTasks"] == 1)

    head, row = stage.plane.kubectl("get", "agents", "-n", stage.namespace).splitlines()

    assert head.split() == ["NAME", "READY", "SUSPEND", "SESSIONS", "PENDING", "HANDLED", "DEAD", "AGE"]
    assert row.split()[:6] == ["researcher", "True", "1", "1", "1", "0"]


def test_the_same_event_three_times_starts_one_job(stage: Stage) -> None:
    # Given an event that was decided
    stage.apply(RESEARCHER)
    stage.ask("q-1")
    stage.until_job()

    # When it comes again: without the broker's help, after a restart, and after a crash
    stage.ask("q-1", deduplicate=False)
    stage.until(lambda s: totals(s).get("duplicates") == 1)
    stage.operator.stop()
    stage.operator.start()
    stage.ask("q-1", deduplicate=False)
    stage.until(lambda s: totals(s).get("duplicates") == 2)
    stage.operator.kill()
    stage.ask("q-1", deduplicate=False)
    stage.operator.start()

    # Then
    status = stage.until(
        lambda s: (
            totals(s).get("duplicates") == 3
            and [task["phase"] for task in s["pendingTasks"].values()] == ["Started"]
        )
    )
    assert totals(status) == {"handled": 1, "duplicates": 3, "tasksStarted": 1}
    assert len(stage.jobs()) == 1


def test_a_completion_of_an_unknown_task_changes_nothing_but_a_counter(stage: Stage) -> None:
    stage.apply(RESEARCHER)
    stage.ask("q-1")
    stage.until_job()
    before = stage.until(
        lambda s: not s.get("outbox") and all(t["phase"] == "Started" for t in s["pendingTasks"].values())
    )

    end = Event("x", "/nobody", names.TASK_COMPLETED, {"result": 1}, subject="research-0000000000")
    stage.broker.publish(names.inbox_subject(stage.namespace, "researcher", names.TASK_COMPLETED), end)

    after = stage.until(lambda s: totals(s).get("stale") == 1)
    changed = {key for key in after if after[key] != before.get(key)}
    assert changed == {"cursor", "totals"}
    assert {key for key, count in after["totals"].items() if count != before["totals"][key]} == {"stale"}


def test_a_completion_before_the_job_watch_saw_the_job_is_integrated_once(
    stage: Stage, pods: PodPhases
) -> None:
    # Given a task whose end is told in Heed's name by someone faster than the watch
    stage.apply(RESEARCHER)
    stage.ask("q-1")
    job = stage.until_job()
    task_id = job["metadata"]["labels"][names.LABEL_TASK_ID]
    end = Event(
        job["metadata"]["uid"],
        names.agent_source(stage.namespace, "researcher"),
        names.TASK_COMPLETED,
        {"result": {"answer": "early"}},
        subject=task_id,
        datacontenttype="application/json",
    )
    stage.broker.publish(names.inbox_subject(stage.namespace, "researcher", names.TASK_COMPLETED), end)
    stage.until(lambda s: totals(s).get("tasksCompleted") == 1)

    # When the Job itself ends, and the operator looks at it again and again
    pods.succeed(stage.namespace, job["metadata"]["name"], '{"answer": "late"}')
    eventually(lambda: stage.jobs()[0].get("status", {}).get("succeeded"), PATIENCE)
    stage.operator.stop()
    stage.operator.start()
    stage.ask("q-2", correlation="c-2")

    # Then
    status = stage.until(lambda s: "c-2" in s["sessions"] and not s["outbox"])
    assert status["sessions"]["c-1"]["state"]["answer"] == "early"
    assert totals(status)["tasksCompleted"] == 1
    assert len(stage.answers()) == 1


@pytest.mark.parametrize("point", ["before-effects", "after-StartTask"])
def test_killed_around_starting_a_job_there_is_one_job(stage: Stage, point: str) -> None:
    # Given an operator that dies with the decision durable and the effect not made, or made and not yet struck off
    stage.operator.stop()
    stage.apply(RESEARCHER)
    stage.ask("q-1")
    stage.operator.start_dying(point, stage.namespace)
    stage.operator.wait_dead()
    owed = stage.status()
    assert [task["phase"] for task in owed["pendingTasks"].values()] == ["Owed"]
    assert len(stage.jobs()) == (0 if point == "before-effects" else 1)

    # When
    stage.operator.start()

    # Then
    stage.until(lambda s: [task["phase"] for task in s["pendingTasks"].values()] == ["Started"])
    assert len(stage.jobs()) == 1
    assert totals(stage.status()) == {"handled": 1, "tasksStarted": 1}


@pytest.mark.parametrize("point", ["before-effects", "after-Publish"])
def test_killed_around_emitting_there_is_one_event(stage: Stage, pods: PodPhases, point: str) -> None:
    # Given
    stage.apply(RESEARCHER)
    stage.ask("q-1")
    job = stage.until_job()
    stage.until(lambda s: all(task["phase"] == "Started" for task in s["pendingTasks"].values()))
    stage.operator.stop()
    pods.succeed(stage.namespace, job["metadata"]["name"], '{"answer": "42"}')
    stage.operator.start_dying(point, stage.namespace)
    stage.operator.wait_dead()
    assert len(stage.status()["outbox"]) == 1
    assert len(stage.answers()) == (0 if point == "before-effects" else 1)

    # When
    stage.operator.start()

    # Then
    stage.until(lambda s: s["outbox"] == {})
    assert len(stage.answers()) == 1


def test_a_failed_job_comes_back_with_its_reason(stage: Stage, pods: PodPhases) -> None:
    stage.apply(RESEARCHER)
    stage.ask()
    job = stage.until_job()

    pods.fail(stage.namespace, job["metadata"]["name"], 3, "no such topic")

    status = stage.until(lambda s: totals(s).get("tasksFailed") == 1 and not s["outbox"])
    assert status["sessions"]["c-1"]["state"]["reason"] == "BackoffLimitExceeded"
    assert status["recentTasks"][0]["reason"] == "BackoffLimitExceeded"
    (failed,) = stage.answers("com.example.question.failed")
    assert failed.data == {"reason": "BackoffLimitExceeded", "exitCode": 3}


def test_a_job_deleted_by_a_person_fails_its_task(stage: Stage) -> None:
    stage.apply(RESEARCHER)
    stage.ask()
    job = stage.until_job()
    stage.until(lambda s: all(task["phase"] == "Started" for task in s["pendingTasks"].values()))

    stage.plane.kubectl("delete", "job", job["metadata"]["name"], "-n", stage.namespace, "--wait=false")

    status = stage.until(lambda s: totals(s).get("tasksFailed") == 1)
    assert status["recentTasks"][0]["reason"] == "JobLost"


def test_a_job_that_the_api_server_refuses_fails_its_task(stage: Stage) -> None:
    manifest = researcher()
    manifest["spec"]["tasks"]["research"]["job"]["template"]["spec"]["restartPolicy"] = "Always"
    stage.apply(manifest)

    stage.ask()

    status = stage.until(lambda s: totals(s).get("tasksFailed") == 1)
    assert status["recentTasks"][0]["reason"] == "InvalidJob"
    assert stage.jobs() == []


def test_a_finished_job_is_deleted_once_its_end_is_in_the_ledger(stage: Stage, pods: PodPhases) -> None:
    manifest = researcher()
    manifest["spec"]["tasks"]["research"]["retention"] = "0s"
    stage.apply(manifest)
    stage.ask()
    job = stage.until_job()

    pods.succeed(stage.namespace, job["metadata"]["name"], '{"answer": "42"}')

    stage.until(lambda s: totals(s).get("tasksCompleted") == 1)
    eventually(lambda: not stage.jobs(), PATIENCE, what="the Job to be deleted")


def test_what_cannot_be_decided_is_a_dead_letter_and_the_agent_goes_on(stage: Stage) -> None:
    # Given an Agent with an expression that some events break
    stage.apply(with_handler(name="careless", type="com.example.question.asked", when="event.data.depth > 3"))
    subject = names.event_subject(stage.namespace, "com.example.question.asked")

    # When such an event comes, and messages that are no events at all
    broken = stage.ask("q-broken")
    malformed = stage.broker.publish_raw(subject, b'{"specversion": "1.0"}')
    binary = stage.broker.publish_raw(subject, b"\xff\xfe", {"ce-id": "1"})
    fine = Event(
        "q-fine",
        "/t",
        "com.example.question.asked",
        {"topic": "tides", "depth": 1},
        datacontenttype="application/json",
    )
    stage.broker.publish(subject, fine)

    # Then each is one letter with its cause, and the event after them is decided
    status = stage.until(lambda s: totals(s).get("handled") == 1 and not s["outbox"])
    assert totals(status) == {"deadLettered": 3, "handled": 1, "tasksStarted": 1}
    letters = {
        int(letter["Heed-Dead-Sequence"]): letter
        for letter in stage.broker.letters(stage.namespace, "researcher")
    }
    assert set(letters) == {broken, malformed, binary}
    assert letters[broken]["Heed-Dead-Handler"] == "careless"
    assert list(status["sessions"]) == ["q-fine"]


def test_every_delivered_message_is_counted(stage: Stage) -> None:
    stage.apply(RESEARCHER)
    stage.ask("q-1")
    stage.ask("q-1", deduplicate=False)
    stage.ask("q-2", topic="")
    stage.ask("q-3", correlation="c-1")
    stage.broker.publish_raw(names.event_subject(stage.namespace, "com.example.question.asked"), b"{}")
    note = Event("n-1", "/t", "com.example.note")
    stage.broker.publish(names.inbox_subject(stage.namespace, "researcher", note.type), note)
    last = stage.broker.publish(
        names.inbox_subject(stage.namespace, "researcher", names.TASK_FAILED),
        Event("x", "/t", names.TASK_FAILED),
    )

    status = stage.until(lambda s: s.get("cursor", {}).get("sequence") == last)

    assert totals(status) == {
        "handled": 1,
        "duplicates": 1,
        "ignored": 3,
        "deadLettered": 1,
        "stale": 1,
        "tasksStarted": 1,
    }


def test_an_invalid_edit_is_reported_and_the_last_valid_generation_goes_on(
    stage: Stage, operator: Operator
) -> None:
    # Given a valid Agent that is edited into one that no server can check
    stage.apply(RESEARCHER)
    stage.until(lambda s: s["conditions"][0]["status"] == "True")
    stage.apply(with_handler(name="typo", type="com.example.question.asked", when="evnt.data.x == 1"))

    # Then the condition names the field and the remedy
    (ready,) = stage.until(lambda s: s["conditions"][0]["status"] == "False")["conditions"]
    assert ready["reason"] == "Invalid"
    assert (
        ready["message"]
        == 'spec.handlers[3].when: unknown variable or function "evnt"; did you mean "event"?'
    )

    # And the last valid generation decides, also after a restart
    stage.ask("q-1")
    stage.until(lambda s: totals(s).get("handled") == 1)
    operator.stop()
    operator.start()
    stage.ask("q-2", correlation="c-2")
    stage.until(lambda s: totals(s).get("handled") == 2)

    # And a correction takes over
    stage.apply(RESEARCHER)
    status = stage.until(lambda s: s["conditions"][0]["status"] == "True")
    assert "lastValidSpec" not in status
    assert status["observedGeneration"] == 3


def test_a_recreated_agent_begins_anew(stage: Stage) -> None:
    stage.apply(RESEARCHER)
    stage.ask("q-1")
    stage.until_job()
    stage.plane.kubectl("delete", "agent", "researcher", "-n", stage.namespace)
    eventually(lambda: not stage.jobs(), PATIENCE, what="the Jobs of the deleted Agent to be collected")

    stage.apply(RESEARCHER)
    stage.until(lambda s: s.get("observedGeneration") == 1)
    stage.ask("q-9", correlation="c-9")

    status = stage.until(lambda s: "c-9" in s.get("sessions", {}))
    assert totals(status)["tasksStarted"] >= 1
    assert "c-9" in status["sessions"]


def test_the_operator_stops_when_told(stage: Stage) -> None:
    stage.apply(RESEARCHER)
    stage.until(lambda s: s["conditions"])

    assert stage.operator.stop() == 0


def test_a_result_that_went_with_its_pod_is_said_to_be_lost(
    stage: Stage, pods: PodPhases, control_plane: ControlPlane
) -> None:
    # Given a Job that completes while no operator looks
    begin = RESEARCHER["spec"]["handlers"][0]
    look = {"name": "look", "type": names.TASK_COMPLETED, "state": {"said": "${event.data.message}"}}
    stage.apply(researcher(handlers=[begin, look]))
    stage.ask("q-1")
    job = stage.until_job()["metadata"]["name"]
    stage.until(lambda s: all(task["phase"] == "Started" for task in s["pendingTasks"].values()))
    stage.operator.kill()
    pods.succeed(stage.namespace, job, '{"answer": "the moon"}')
    eventually(lambda: stage.jobs()[0]["status"].get("completionTime"), what="the Job's end")

    # When somebody deletes its pod before anyone has read what it left
    (pod,) = pods.of_job(stage.namespace, job)
    path = f"/api/v1/namespaces/{stage.namespace}/pods/{pod['metadata']['name']}"
    control_plane.admin.request("DELETE", path, {"gracePeriodSeconds": 0})
    eventually(lambda: not pods.of_job(stage.namespace, job), what="no pod")
    stage.operator.start()

    # Then the task is over, and its handlers can tell
    status = stage.until(lambda s: totals(s).get("tasksCompleted") == 1)
    assert "its pod was deleted" in status["sessions"]["c-1"]["state"]["said"]
