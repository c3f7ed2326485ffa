"""A standby without a cluster: whose the lease is, what the probes say, and what becomes of a watch that ends."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import kopf
import pytest

from heed.kube.client import reachability
from heed.kube.client.client import ApiError
from heed.kube.client.reachability import Reachability
from heed.kube.leader import election
from heed.kube.leader.election import Candidacy, read_candidacy
from heed.kube.leader.lease_lock import LEASE_DURATION_S, lease_spec
from heed.kube.probes import ProbeState
from heed.kube.watch import ClusterWatch, WatchEnded
from heed.settings import Settings
from tests.unit.replicas import Clock, Led

NOW = "2026-11-22T10:00:00.000000Z"
LATER = "2026-11-22T10:00:02.000000Z"


# --- the lease ----------------------------------------------------------------------------------------------


def test_a_lease_that_is_taken_is_renewed_and_handed_on_as_client_go_does() -> None:
    first = lease_spec({}, "one", NOW)
    renewed = lease_spec(first, "one", LATER)
    followed = lease_spec(renewed, "two", LATER)

    assert first == {
        "holderIdentity": "one",
        "leaseDurationSeconds": LEASE_DURATION_S,
        "acquireTime": NOW,
        "renewTime": NOW,
        "leaseTransitions": 1,
    }
    assert renewed == {**first, "renewTime": LATER}
    assert (followed["holderIdentity"], followed["acquireTime"], followed["leaseTransitions"]) == (
        "two",
        LATER,
        2,
    )


def test_a_lease_that_somebody_emptied_can_be_taken() -> None:
    assert lease_spec({"leaseTransitions": None}, "one", NOW)["leaseTransitions"] == 1


@pytest.fixture
def in_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "namespace"
    file.write_text("system\n")
    monkeypatch.setattr(election, "_POD_NAMESPACE", file)
    monkeypatch.setattr(socket, "gethostname", lambda: "heed-abc")


@pytest.mark.usefixtures("in_a_pod")
def test_in_a_pod_the_lease_is_beside_it_and_bears_its_name() -> None:
    assert read_candidacy(Settings(namespace="team")) == Candidacy("system", "heed-operator", "heed-abc")


def test_outside_a_cluster_the_lease_is_where_the_agents_are_and_bears_the_process() -> None:
    here = read_candidacy(Settings(namespace="team"))

    assert here is not None
    assert here.namespace == "team"
    assert here.identity.endswith(f"-{os.getpid()}")
    anywhere = read_candidacy(Settings())
    assert anywhere is not None and anywhere.namespace == "default"


@pytest.mark.parametrize("value", ["", "none"])
def test_no_lease_means_no_election(value: str) -> None:
    assert read_candidacy(Settings.from_environment({"HEED_LEASE": value})) is None


# --- what the probes say ------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(reachability, "time", clock)
    return clock


def test_an_answer_counts_for_a_while(clock: Clock) -> None:
    contact = Reachability("the lease")
    assert contact.missing() == "the lease has not been read yet"

    contact.note_success()
    clock.now += 9
    contact.note_failure(ApiError(0, "the API server does not answer: TimeoutError: "))
    assert contact.missing() is None

    clock.now += 3
    assert contact.missing() == "the API server has not answered for 12 s: TimeoutError: "

    contact.note_success()
    assert contact.missing() is None


def test_a_refusal_comes_with_its_remedy() -> None:
    contact = Reachability("the lease a/b", {403: "grant it"})

    contact.note_failure(ApiError(403, "cannot get leases"))

    assert contact.missing() == "cannot read the lease a/b: 403: cannot get leases; grant it"


def test_each_cause_is_logged_once_a_minute(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    contact = Reachability("the lease")
    for _ in range(31):
        contact.note_failure(ApiError(403, "no right"))
        contact.note_failure(ApiError(0, "no answer"))
        clock.now += 2

    assert [record.error for record in caplog.records] == ["403: no right", "no answer"] * 2  # type: ignore[attr-defined]


class Connected:
    """A connection to the broker that is up."""

    is_connected = True


def health_of(led: Led, connection: Any = Connected) -> ProbeState:
    health = ProbeState(led, ClusterWatch(Settings()))
    health.connection = connection
    return health


def test_a_standby_is_ready_without_a_watch_and_the_active_one_is_not() -> None:
    assert health_of(Led(active=False)).missing() is None
    assert health_of(Led(active=False)).role() == "standby"
    assert health_of(Led()).missing() == "not watching the cluster yet"
    assert health_of(Led()).role() == "active"


def test_everything_that_is_missing_is_named() -> None:
    health = health_of(Led(wrong="the lease has not been read yet"), connection=None)
    health.obstacle = "cannot list agents: 404: no such kind"

    assert health.missing() == (
        "not connected to NATS; the lease has not been read yet; cannot list agents: 404: no such kind"
    )
    assert health.stuck() is None


# --- the watch ----------------------------------------------------------------------------------------------


class Nobody:
    """A watcher that is to be shown nothing."""

    def observe(self, body: Any, *, deleted: bool = False) -> None:
        raise AssertionError(body)

    def observe_job(self, job: Any, *, deleted: bool = False) -> None:
        raise AssertionError(job)

    def observe_rule(self, rule: Any, *, deleted: bool = False) -> None:
        raise AssertionError(rule)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long."""
    for name in (
        "HEARTBEAT_INTERVAL_S",
        "HEARTBEAT_CHECK_INTERVAL_S",
        "KOPF_EXIT_GRACE_S",
        "TLS_CLOSE_S",
        "THREAD_END_TIMEOUT_S",
    ):
        monkeypatch.setattr(f"heed.kube.watch.{name}", 0.02)


class Shown:
    """What was shown, and in which thread."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, bool]] = []
        self.threads: set[Any] = set()

    def observe(self, body: Any, *, deleted: bool = False) -> None:
        self.seen.append((body["name"], deleted))
        self.threads.add(threading.current_thread())

    def observe_job(self, job: Any, *, deleted: bool = False) -> None:
        self.observe(job, deleted=deleted)

    def observe_rule(self, rule: Any, *, deleted: bool = False) -> None:
        self.observe(rule, deleted=deleted)


@pytest.mark.usefixtures("impatient")
async def test_what_kopf_sees_is_shown_in_order_in_the_main_loop_and_not_after_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a kopf that sees something, and something more when it is told to end
    async def sees(registry: Any, stop_flag: asyncio.Event, ready_flag: Any, **_: Any) -> None:
        agent, job, *rules = (handler.fn for handler in registry._watching.get_all_handlers())
        ready_flag.set()
        for number in range(100):
            await agent(event={"type": "MODIFIED", "object": {"name": number}})
        await job(event={"type": "DELETED", "object": {"name": "job"}})
        for rule in rules:
            await rule(event={"type": None, "object": {"name": "rule"}})
        await stop_flag.wait()
        await agent(event={"type": "DELETED", "object": {"name": "late"}})

    monkeypatch.setattr(kopf, "operator", sees)
    watch, shown = ClusterWatch(Settings()), Shown()

    # When
    running = asyncio.create_task(watch.run(shown))
    await _until(lambda: len(shown.seen) == 104)
    assert watch.missing() is None
    running.cancel()
    await asyncio.wait({running})
    await watch.wait_until_ended()
    await asyncio.sleep(0)

    # Then
    assert shown.seen == [*((number, False) for number in range(100)), ("job", True), *[("rule", False)] * 3]
    assert shown.threads == {threading.main_thread()}


@pytest.mark.usefixtures("impatient")
async def test_a_watch_that_dies_ends_the_term_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    async def dies(**_: Any) -> None:
        raise RuntimeError("Error in the watch-stream")

    monkeypatch.setattr(kopf, "operator", dies)
    watch = ClusterWatch(Settings())

    with pytest.raises(WatchEnded, match=r"by itself: RuntimeError\('Error in the watch-stream'\)"):
        await watch.run(Nobody())

    await watch.wait_until_ended()
    assert watch.missing() == "not watching the cluster yet"
    assert watch.stuck() is None


@pytest.mark.usefixtures("impatient")
async def test_a_watch_that_just_ends_is_not_taken_for_one_that_watches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ends(**_: Any) -> None:
        return None

    monkeypatch.setattr(kopf, "operator", ends)

    with pytest.raises(WatchEnded, match="by itself"):
        await ClusterWatch(Settings()).run(Nobody())


@pytest.mark.usefixtures("impatient")
async def test_a_thread_that_hangs_ends_the_term_and_the_process_is_not_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a thread that does not turn any more, and cannot be ended
    enough = threading.Event()

    async def hangs(**_: Any) -> None:
        await asyncio.to_thread(lambda: None)
        enough.wait()

    monkeypatch.setattr(kopf, "operator", hangs)
    watch = ClusterWatch(Settings())

    # Then the term ends
    with pytest.raises(WatchEnded, match="has hung"):
        await watch.run(Nobody())

    # And nothing is better than a restart
    await _until(lambda: watch.stuck() is not None)
    assert (
        health_like(watch).stuck() == "the thread that watches the cluster does not end; only a restart helps"
    )
    enough.set()
    await watch.wait_until_ended()
    assert watch.stuck() is None


def health_like(watch: ClusterWatch) -> ProbeState:
    return ProbeState(Led(), watch)


@pytest.mark.usefixtures("impatient")
async def test_a_watch_that_is_cancelled_before_it_began_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def waits(stop_flag: asyncio.Event, **_: Any) -> None:
        await stop_flag.wait()

    monkeypatch.setattr(kopf, "operator", waits)
    watch = ClusterWatch(Settings())
    for _ in range(20):
        running = asyncio.create_task(watch.run(Nobody()))
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait({running})
        await watch.wait_until_ended()
    await _until(lambda: all(thread.name != "kopf" for thread in threading.enumerate()))


async def _until(holds: Any) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
