"""Two replicas on a real API server: whatever becomes of the active one, the standby goes on exactly where it was."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from heed import names
from heed.core.events import Event
from tests.cluster.controlplane.api import ApiError
from tests.cluster.controlplane.pods import PodPhases
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.controlplane.waiting import eventually
from tests.cluster.operating import SYSTEM, Broker, Operator, Stage
from tests.cluster.stories import RESEARCHER
from tests.cluster.tcpproxy import TcpProxy
from tests.cluster.ticking import TICKING, ticks, until_ticks
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.statuses import totals

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
LEASE = "heed"  # the chart's, with the chart's rights
LEASE_PATH = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/{LEASE}"
NOTED = "com.example.question.noted"
Start = Callable[..., Operator]


@pytest.fixture
def replicas(
    control_plane: ControlPlane, operator_kubeconfig: Path, broker: Broker, tmp_path: Path
) -> Iterator[Start]:
    """Starts replicas of one release: `replicas("one", "active")`."""
    started: list[Operator] = []

    def start(
        identity: str, role: str | None, kubeconfig: Path = operator_kubeconfig, **more: Any
    ) -> Operator:
        options = {"lease": LEASE, "lease_namespace": SYSTEM, **more}
        replica = Operator(kubeconfig, broker.url, tmp_path, free_port(), identity=identity, **options)
        started.append(replica)
        return replica.start(role) if role else replica.start_unready()

    yield start
    for replica in started:
        replica.kill()
    remove_lease(control_plane)


def remove_lease(plane: ControlPlane, path: str = LEASE_PATH) -> None:
    with suppress(ApiError):  # where there is none
        plane.admin.delete(path)


def lease_of(plane: ControlPlane) -> dict[str, Any]:
    spec: dict[str, Any] = plane.admin.get(LEASE_PATH)["spec"]
    return spec


def noting() -> dict[str, Any]:
    """The researcher, who also says at once that it has heard a question."""
    manifest: dict[str, Any] = json.loads(json.dumps(RESEARCHER))
    manifest["spec"]["handlers"][0]["emit"] = [{"type": NOTED, "data": {"topic": "${event.data.topic}"}}]
    return manifest


class Questions:
    """A stream of questions, every tenth of them twice, for as long as the `with` lasts."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self.asked = 0
        self.repeated = 0
        self.last = 0

    def __enter__(self) -> Questions:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._enough.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._enough.wait(0.1):
            number = self.asked
            self.last = self._stage.ask(f"q-{number}", correlation=f"c-{number}")
            self.asked += 1
            if number % 10 == 9:
                self.last = self._stage.ask(f"q-{number}", correlation=f"c-{number}", deduplicate=False)
                self.repeated += 1


class Watchful:
    """Takes the time from a blow to what comes of it."""

    def __init__(self, stage: Stage, what: str) -> None:
        self._stage, self._what = stage, what
        self._at = time.monotonic()
        self._cursor = stage.status()["cursor"]["sequence"]

    def until_active(self, replica: Operator) -> None:
        replica.until("active", PATIENCE)
        self._say(f"{replica.identity} is active")

    def until_commit(self) -> None:
        """The first commit since: of the other replica, where the first one cannot make any more."""
        self._stage.until(lambda s: s["cursor"]["sequence"] > self._cursor)
        self._say("first commit")

    def _say(self, event: str) -> None:
        print(f"\nTAKEOVER {self._what}: {event} after {time.monotonic() - self._at:.1f} s")


def answer_all(stage: Stage, pods: PodPhases, jobs: list[dict[str, Any]]) -> None:
    for job in jobs:
        pods.succeed(stage.namespace, job["metadata"]["name"], '{"answer": "the moon"}')


def assert_exact(stage: Stage, questions: Questions, ends: int) -> None:
    """Every question decided once, with one Job and one event; every end told once."""
    asked = questions.asked
    status = stage.until(
        lambda s: totals(s).get("emitted") == asked + ends and not s["outbox"] and not owes_a_start(s),
        what=f"{asked} questions and {ends} ends to be decided",
    )
    expected = {
        "handled": asked + ends,
        "duplicates": questions.repeated,
        "emitted": asked + ends,
        "tasksStarted": asked,
        "tasksCompleted": ends,
    }
    assert totals(status) == {name: count for name, count in expected.items() if count}
    task_ids = [job["metadata"]["labels"][names.LABEL_TASK_ID] for job in stage.jobs()]
    assert len(task_ids) == len(set(task_ids)) == asked
    assert len(status["pendingTasks"].keys() & set(task_ids)) == asked - ends
    assert len(stage.answers(NOTED)) == asked
    assert len(stage.answers()) == ends


def first_five(stage: Stage) -> list[dict[str, Any]]:
    """Five Jobs, once there are so many: they come after the commit."""
    return eventually(lambda: found[:5] if len(found := stage.jobs()) >= 5 else None, what="five Jobs")


def owes_a_start(status: dict[str, Any]) -> bool:
    return any(task["phase"] == "Owed" for task in status["pendingTasks"].values())


def test_a_killed_active_is_followed_by_its_standby(
    replicas: Start, control_plane: ControlPlane, namespace: str, broker: Broker, pods: PodPhases
) -> None:
    # Given two replicas, and events that go on and on
    one, two = replicas("one", "active"), replicas("two", "standby")
    stage = Stage(control_plane, namespace, one, broker)
    stage.apply(noting())
    with Questions(stage) as questions:
        stage.until(lambda s: totals(s).get("handled", 0) >= 20)
        answered = first_five(stage)

        # When the active one is killed, and Jobs end while nobody looks
        one.kill()
        takeover = Watchful(stage, "SIGKILL")
        answer_all(stage, pods, answered)

        # Then the standby goes on
        takeover.until_commit()
        takeover.until_active(two)
        assert lease_of(control_plane)["holderIdentity"] == "two"
        stage.until(lambda s: totals(s).get("tasksCompleted") == 5)
    assert_exact(stage, questions, ends=5)


def test_a_hanging_active_is_replaced_and_does_no_harm_when_it_goes_on(
    replicas: Start, control_plane: ControlPlane, namespace: str, broker: Broker, pods: PodPhases
) -> None:
    # Given
    one, two = replicas("one", "active"), replicas("two", "standby")
    stage = Stage(control_plane, namespace, one, broker)
    stage.apply(noting())
    with Questions(stage) as questions:
        stage.until(lambda s: totals(s).get("handled", 0) >= 20)

        # When the active one hangs in the midst of it
        pid = one.pid
        one.freeze()
        takeover = Watchful(stage, "SIGSTOP")
        takeover.until_active(two)
        takeover.until_commit()
        assert one.probe("healthz") is None
        answer_all(stage, pods, first_five(stage))
        stage.until(lambda s: totals(s).get("tasksCompleted") == 5)

        # And goes on where it was, with all it had in hand
        one.thaw()

        # Then it finds itself replaced, and stands by
        one.until("standby")
        assert one.pid == pid
        assert lease_of(control_plane)["holderIdentity"] == "two"
        decided = totals(stage.status())["handled"]
        stage.until(lambda s: totals(s)["handled"] >= decided + 20)
    assert_exact(stage, questions, ends=5)

    # And is as good as any
    two.kill()
    one.until("active", PATIENCE)
    stage.ask("q-last", correlation="c-last")
    stage.until(lambda s: "c-last" in s["sessions"])


def test_an_active_that_loses_the_api_server_gives_way_and_comes_back(
    replicas: Start,
    control_plane: ControlPlane,
    operator_kubeconfig: Path,
    namespace: str,
    broker: Broker,
    tmp_path: Path,
) -> None:
    # Given an active one that reaches the API server through a wire that we hold in our hands
    config = json.loads(operator_kubeconfig.read_text())
    server = config["clusters"][0]["cluster"]["server"]
    with TcpProxy(int(server.rpartition(":")[2])) as wire:
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{wire.port}"
        (tmp_path / "through-the-wire").write_text(json.dumps(config))
        one = replicas("one", "active", tmp_path / "through-the-wire")
        two = replicas("two", "standby")
        stage = Stage(control_plane, namespace, one, broker)
        stage.apply(noting())
        with Questions(stage) as questions:
            stage.until(lambda s: totals(s).get("handled", 0) >= 20)

            # When nothing passes any more, though no connection breaks
            pid = one.pid
            wire.swallow()
            takeover = Watchful(stage, "API server lost")
            eventually(lambda: (one.probe("readyz") or (0,))[0] == 503, PATIENCE, what="one to be unready")
            takeover.until_active(two)
            takeover.until_commit()

            # Then the first one says so, and lives
            _, text = one.probe("readyz") or (0, "")
            assert "the API server has not answered for" in text
            assert one.probe("healthz") == (200, "ok")

            # And stands by when the wire is mended, in the same process, whatever comes late of it
            wire.pass_on()
            one.until("standby")
            assert one.pid == pid
            decided = totals(stage.status())["handled"]
            stage.until(lambda s: totals(s)["handled"] >= decided + 20)
        assert_exact(stage, questions, ends=0)

        # And is the active one again when the other one goes
        assert two.stop() == 0
        one.until("active")
        stage.ask("q-last", correlation="c-last")
        stage.until(lambda s: "c-last" in s["sessions"])


def test_an_active_that_is_told_to_stop_leaves_its_place_at_once(
    replicas: Start, control_plane: ControlPlane, namespace: str, broker: Broker
) -> None:
    # Given
    one, two = replicas("one", "active"), replicas("two", "standby")
    stage = Stage(control_plane, namespace, one, broker)
    stage.apply(noting())
    with Questions(stage) as questions:
        stage.until(lambda s: totals(s).get("handled", 0) >= 20)

        # When
        takeover = Watchful(stage, "SIGTERM")
        assert one.stop() == 0

        # Then nobody has to wait for the lease to expire
        assert lease_of(control_plane).get("holderIdentity") in (None, "two")
        takeover.until_active(two)
        transitions = lease_of(control_plane)["leaseTransitions"]
        takeover.until_commit()
    assert_exact(stage, questions, ends=0)
    assert transitions == 2


def test_without_an_election_one_operator_runs_at_once(
    replicas: Start, control_plane: ControlPlane, namespace: str, broker: Broker
) -> None:
    alone = replicas("alone", "active", lease="none")

    stage = Stage(control_plane, namespace, alone, broker)
    stage.apply(noting())
    stage.ask("q-1")

    stage.until_job()
    assert alone.stop() == 0
    with pytest.raises(ApiError, match="not found"):
        lease_of(control_plane)


def test_a_missing_right_on_the_lease_is_said_and_waited_for(
    replicas: Start, control_plane: ControlPlane
) -> None:
    # Given a lease that the chart grants nothing on
    one = replicas("one", None, lease="someone-elses")

    # Then it says which right is missing, and lives
    refused = eventually(lambda: unready(one, "forbidden"), PATIENCE, what="the refusal")
    assert 'cannot get resource "leases"' in refused
    assert "grant the operator get, create and patch on leases" in refused
    assert one.probe("healthz") == (200, "ok")

    # When it gets the right, then it goes on
    role = control_plane.admin.get(f"{RBAC}/{SYSTEM}/roles/heed-lease")
    granted = [
        {**rule, "resourceNames": ["someone-elses"]} for rule in role["rules"] if "resourceNames" in rule
    ]
    again = {"rules": [*role["rules"], *granted]}
    control_plane.admin.patch(f"{RBAC}/{SYSTEM}/roles/heed-lease", again)
    try:
        one.until("active")
    finally:
        control_plane.admin.patch(f"{RBAC}/{SYSTEM}/roles/heed-lease", {"rules": role["rules"]})
        remove_lease(control_plane, LEASE_PATH.replace(f"/{LEASE}", "/someone-elses"))
    assert one.log.read_text().count("cannot read the lease") == 1


RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces"


def test_a_missing_namespace_of_the_lease_is_said_and_waited_for(
    replicas: Start, control_plane: ControlPlane
) -> None:
    one = replicas("one", None, control_plane.kubeconfig, lease_namespace="nowhere")

    refused = eventually(lambda: unready(one, "not found"), PATIENCE, what="the refusal")
    assert 'namespaces "nowhere" not found; create the namespace' in refused

    control_plane.admin.post("/api/v1/namespaces", {"metadata": {"name": "nowhere"}})
    try:
        one.until("active")
    finally:
        control_plane.admin.delete("/api/v1/namespaces/nowhere")


def unready(replica: Operator, word: str) -> str | None:
    status, text = replica.probe("readyz") or (0, "")
    return text if status == 503 and word in text else None


def test_a_direct_message_is_decided_by_whoever_is_active(
    replicas: Start, control_plane: ControlPlane, namespace: str, broker: Broker
) -> None:
    """Two replicas that change places again and again."""
    one, two = replicas("one", "active"), replicas("two", "standby")
    stage = Stage(control_plane, namespace, one, broker)
    stage.apply(noting())
    active, standby = one, two
    for number in range(4):
        note = Event(f"n-{number}", "/t", "com.example.note")
        stage.broker.publish(names.inbox_subject(namespace, "researcher", note.type), note)
        stage.ask(f"q-{number}", correlation=f"c-{number}")
        active.stop()
        standby.until("active")
        active.start("standby")
        active, standby = standby, active

    stage.until(
        lambda s: (
            (totals(s).get("handled"), totals(s).get("ignored")) == (4, 4)
            and not owes_a_start(s)
            and not s["outbox"]
        )
    )
    assert len(stage.jobs()) == 4
    assert len(stage.answers(NOTED)) == 4


def test_ticks_go_on_through_a_failover(
    replicas: Start, control_plane: ControlPlane, namespace: str, broker: Broker
) -> None:
    # Given an Agent that ticks every second, and two replicas
    one, two = replicas("one", "active"), replicas("two", "standby")
    stage = Stage(control_plane, namespace, one, broker)
    stage.apply(TICKING)
    before = until_ticks(stage, 3)

    # When the active one hangs, the standby takes over, and the first one goes on
    one.freeze()
    two.until("active")
    until_ticks(stage, len(before) + 5)
    one.thaw()
    until_ticks(stage, len(before) + 10)

    # Then no second was left out, and none came twice
    found = ticks(stage)
    assert found == [found[0] + timedelta(seconds=number) for number in range(len(found))]
