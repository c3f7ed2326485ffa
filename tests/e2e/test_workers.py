"""An Agent in Python on a real kubelet: its image rolled, its workers scaled, their credentials renewed, under load."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from heed import names
from heed.core.events import Event
from tests.builders.events import data_of
from tests.cluster.controlplane.waiting import eventually
from tests.e2e.agents import ANSWERED
from tests.e2e.broker import Broker
from tests.e2e.cluster import Cluster
from tests.e2e.worker_images import FACT, LATER_FACT, LATER_RESEARCHER, RESEARCHER
from tests.patience import PATIENCE

PAUSE = 0.2  # seconds between two questions
AGENT, DEPLOYMENT = "researcher", "researcher-worker"
SOON = 60  # seconds until credentials end that are to be renewed


def question(number: int) -> Event:
    """A question of a session of its own."""
    name = f"q-{number}"
    data, extensions = {"topic": "comets"}, {"correlationid": name}
    type_ = "com.example.question.asked"
    return Event(name, "/e2e", type_, data, datacontenttype="application/json", extensions=extensions)


class Readers:
    """Ask in the background, and know who was answered."""

    def __init__(self, broker: Broker, namespace: str) -> None:
        self._broker, self._namespace = broker, namespace
        self._numbers = itertools.count()

    def ask_meanwhile(self, act: Callable[[], Any]) -> int:
        """Ask as long as it takes. How many questions that were."""
        over = threading.Event()
        with ThreadPoolExecutor(1) as publishing:
            published = publishing.submit(self._broker.publish, self._namespace, self._questions(over), PAUSE)
            try:
                act()
            finally:
                over.set()
            return published.result()

    def ask(self) -> None:
        """Ask one question."""
        self._broker.publish(self._namespace, [question(next(self._numbers))])

    def answers(self) -> dict[str, list[str]]:
        """The answers to each question."""
        found: dict[str, list[str]] = {}
        for event in self._broker.events(self._namespace, ANSWERED):
            session = str((event.extensions or {}).get("correlationid"))
            found.setdefault(session, []).append(str(data_of(event)["answer"]))
        return found

    def until_answered(self, count: int) -> Counter[str]:
        """Wait until so many questions have answers; each has one. How often which answer was given."""
        found = eventually(
            lambda: there if len(there := self.answers()) >= count else None,
            2 * PATIENCE,
            what=f"{count} questions to be answered",
            every=1.0,
        )
        assert {len(answers) for answers in found.values()} == {1}
        assert len(found) == count
        return Counter(answer for (answer,) in found.values())

    def _questions(self, over: threading.Event) -> Iterator[Event]:
        while not over.is_set():
            yield question(next(self._numbers))


def worker_ready(cluster: Cluster, namespace: str, *reasons: str) -> dict[str, Any]:
    """WorkerReady, once it has one of these reasons."""
    return cluster.until_condition(
        AGENT, namespace, "WorkerReady", lambda item: item["reason"] in reasons, 2 * PATIENCE
    )


def pods(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    """The workers' pods, also those that are on their way out."""
    return cluster.items("pods", "-n", namespace, "-l", f"{names.LABEL_WORKER_OF}={AGENT}")


def rolled(cluster: Cluster, namespace: str, holds: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until all pods of workers are ones of which this holds."""
    eventually(
        lambda: bool(there := pods(cluster, namespace)) and all(map(holds, there)),
        2 * PATIENCE,
        what="all workers to be replaced",
        every=1.0,
    )


def image_of(pod: dict[str, Any]) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def secret_of(pod: dict[str, Any]) -> str:
    """The Secret with the broker's credentials."""
    (found,) = (volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if "secret" in volume)
    return str(found)


def test_a_worker_is_rolled_under_load_and_an_image_that_is_not_there_changes_nothing(
    cluster: Cluster, broker: Broker, namespace: str, tmp_path: Path
) -> None:
    # Given an Agent in Python, built from a module, whose worker answers
    cluster.apply(RESEARCHER.manifests(tmp_path / "first"), namespace)
    cluster.until_ready(AGENT, namespace)
    readers = Readers(broker, namespace)
    readers.ask()
    assert readers.until_answered(1) == {FACT: 1}

    # When its code is replaced while questions come
    def roll() -> None:
        cluster.apply(LATER_RESEARCHER.manifests(tmp_path / "second"), namespace)
        rolled(cluster, namespace, lambda pod: image_of(pod).endswith(":2"))
        cluster.until(AGENT, namespace, lambda s: s["observedGeneration"] == 2)

    asked = 1 + readers.ask_meanwhile(roll)

    # Then each has one answer, and what is asked from now on has that of the new code
    given = readers.until_answered(asked)
    assert set(given) <= {FACT, LATER_FACT}
    before = given[LATER_FACT]
    readers.ask()
    assert readers.until_answered(asked + 1)[LATER_FACT] == before + 1

    # When an image is not there, then the code of before goes on
    missing = RESEARCHER.manifests(tmp_path / "third", image="ghcr.io/example/researcher:none")
    cluster.apply(missing, namespace)
    worker_ready(cluster, namespace, "ErrImagePull", "ImagePullBackOff")
    readers.ask()
    assert readers.until_answered(asked + 2)[LATER_FACT] == before + 2


def test_workers_go_to_zero_and_back_and_get_new_credentials(
    cluster: Cluster, broker: Broker, namespace: str, tmp_path: Path
) -> None:
    cluster.apply(RESEARCHER.manifests(tmp_path / "first"), namespace)
    cluster.until_ready(AGENT, namespace)
    readers = Readers(broker, namespace)

    worker_ready(cluster, namespace, "Available")

    # When there are none, then events wait
    cluster.kubectl("scale", "deployment", DEPLOYMENT, "-n", namespace, "--replicas=0")
    worker_ready(cluster, namespace, "ScaledToZero")
    eventually(lambda: not pods(cluster, namespace), PATIENCE, what="the workers to be gone")
    readers.ask()
    cluster.until(
        AGENT, namespace, lambda s: any(item["reason"] == "CodeUnavailable" for item in s["conditions"])
    )
    assert readers.answers() == {}

    # When there are two, then they are answered
    cluster.kubectl("scale", "deployment", DEPLOYMENT, "-n", namespace, "--replicas=2")
    readers.until_answered(1)
    rolled(cluster, namespace, lambda pod: pod["status"]["phase"] == "Running")

    # When their credentials end soon, then they get others, one pod after the other
    (before,) = {secret_of(pod) for pod in pods(cluster, namespace)}
    expiry = {names.ANNOTATION_EXPIRES: str(int(time.time()) + SOON)}
    patch = {"spec": {"template": {"metadata": {"annotations": expiry}}}}

    def renew() -> None:
        cluster.kubectl(
            "patch", "deployment", DEPLOYMENT, "-n", namespace, "-p", str(patch).replace("'", '"')
        )
        rolled(cluster, namespace, lambda pod: secret_of(pod) != before)

    asked = 1 + readers.ask_meanwhile(renew)
    assert asked > 2
    readers.until_answered(asked)
    assert len(pods(cluster, namespace)) == 2, "how many there are is still the user's to say"

    # When somebody else is to run them, then Heed's go
    removed = '[{"op": "remove", "path": "/spec/worker/template"}]'
    cluster.kubectl("patch", "agent", AGENT, "-n", namespace, "--type=json", "-p", removed)
    eventually(lambda: not pods(cluster, namespace), 2 * PATIENCE, what="the workers to be gone")
    worker_ready(cluster, namespace, "External")
