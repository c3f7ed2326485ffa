"""The election in this process, on a real API server: how a term begins, and all the ways in which it ends."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.config import kube_config

from heed import names
from heed.bus.client.connection import connect
from heed.bus.client.streams import ensure_streams
from heed.core.events import Event
from heed.errors import BusUnavailable
from heed.kube.client.client import ApiError, KubeApi, agent_path, agents_path
from heed.kube.client.reachability import Reachability
from heed.kube.leader.election import Candidacy, Election, LeaseLost
from heed.kube.leader.fencing import FencedBus, FencedKubeApi
from heed.kube.leader.lease_lock import LeaseLock, leases_path
from heed.kube.watch import ClusterWatch
from heed.settings import Settings
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.operating import Broker
from tests.cluster.stories import RESEARCHER
from tests.patience import PATIENCE

pytestmark = pytest.mark.cluster
_numbers = itertools.count(1)


class Work:
    """The work of a term, which tells when it runs and when it has ended."""

    def __init__(self, error: Exception | None = None) -> None:
        self.running, self.ended, self._error = asyncio.Event(), asyncio.Event(), error

    async def __call__(self) -> None:
        self.running.set()
        try:
            if self._error is not None:
                raise self._error
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            self.ended.set()


class Ballot:
    """A lease of its own, in the test's namespace."""

    def __init__(self, api: KubeApi, namespace: str) -> None:
        self.api, self.namespace, self.lease = api, namespace, f"lease-{next(_numbers)}"
        self.path = leases_path(namespace, self.lease)

    def candidate(self, identity: str) -> Election:
        return Election(self.api, Candidacy(self.namespace, self.lease, identity))

    def lock(self, identity: str) -> LeaseLock:
        return LeaseLock(self.api, self.namespace, self.lease, identity, Reachability("the lease"))

    async def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = (await self.api.get(self.path)).body["spec"]
        return spec

    async def seize(self) -> None:
        """What a replica does that takes the lease for expired."""
        await self.api.merge(self.path, {"spec": {"holderIdentity": "rival", "leaseDurationSeconds": 15}})


@pytest.fixture
async def api(control_plane: ControlPlane) -> AsyncIterator[KubeApi]:
    api = await KubeApi.connect(str(control_plane.kubeconfig))
    yield api
    await api.close()


@pytest.fixture
def ballot(api: KubeApi, namespace: str) -> Ballot:
    return Ballot(api, namespace)


async def soon(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE):
        await event.wait()


async def test_the_first_one_is_elected_and_the_second_one_waits(ballot: Ballot) -> None:
    one, two, work = ballot.candidate("one"), ballot.candidate("two"), Work()
    leading = asyncio.create_task(one.lead(work))
    await soon(work.running)

    other = Work()
    waiting = asyncio.create_task(two.lead(other))
    await _until(lambda: two.missing() is None)

    assert (one.holds(), two.holds(), other.running.is_set()) == (True, False, False)
    assert one.missing() is None
    assert (await ballot.spec())["holderIdentity"] == "one"

    # When the first one is told to stop, then its work ends, and after it its term
    leading.cancel()
    await asyncio.wait({leading})
    assert work.ended.is_set()
    assert not one.holds()
    await soon(other.running)
    assert (await ballot.spec())["holderIdentity"] == "two"
    waiting.cancel()
    await asyncio.wait({waiting})
    assert "holderIdentity" not in await ballot.spec()


async def test_a_lease_that_is_seized_ends_the_work_and_is_not_taken_back(ballot: Ballot) -> None:
    one, work = ballot.candidate("one"), Work()
    leading = asyncio.create_task(one.lead(work))
    await soon(work.running)

    await ballot.seize()

    with pytest.raises(LeaseLost, match="rival holds the lease"):
        await leading
    assert work.ended.is_set()
    assert not one.holds()
    assert (await ballot.spec())["holderIdentity"] == "rival"


async def test_work_that_breaks_gives_the_lease_back(ballot: Ballot) -> None:
    one = ballot.candidate("one")

    with pytest.raises(ValueError, match="broke"):
        await one.lead(Work(ValueError("broke")))

    assert not one.holds()
    assert "holderIdentity" not in await ballot.spec()


async def test_a_lease_that_a_person_deletes_is_made_again(ballot: Ballot) -> None:
    one, work = ballot.candidate("one"), Work()
    leading = asyncio.create_task(one.lead(work))
    await soon(work.running)

    await ballot.api.delete(ballot.path)

    async def again() -> bool:
        try:
            return bool((await ballot.spec())["holderIdentity"] == "one")
        except ApiError:
            return False

    await _until(again)
    assert not leading.done()
    assert one.holds()
    leading.cancel()
    await asyncio.wait({leading})


async def test_of_two_that_reach_for_a_free_lease_one_has_it(ballot: Ballot) -> None:
    # Given a lease that both of them have seen to be free
    body = {"metadata": {"name": ballot.lease}, "spec": {}}
    await ballot.api.create(leases_path(ballot.namespace), body)
    record = LeaderElectionRecord(None, None, None, None)
    locks = [ballot.lock(identity) for identity in ("one", "two")]
    for lock in locks:
        await lock.get(ballot.lease, ballot.namespace)

    took = [await lock.update(ballot.lease, ballot.namespace, record) for lock in locks]

    assert took == [lock.holds() for lock in locks] == [True, False]
    assert (await ballot.spec())["holderIdentity"] == "one"


async def test_the_next_process_of_a_pod_has_its_lease_at_once(ballot: Ballot) -> None:
    # Given a lease that was not given back
    work = Work()
    leading = asyncio.create_task(ballot.candidate("pod").lead(work))
    await soon(work.running)
    before = await ballot.spec()

    again = Work()
    other = asyncio.create_task(ballot.candidate("pod").lead(again))
    await soon(again.running)

    after = await ballot.spec()
    assert (after["acquireTime"], after["leaseTransitions"]) == (
        before["acquireTime"],
        before["leaseTransitions"],
    )
    for task in (leading, other):
        task.cancel()
        await asyncio.wait({task})


async def test_a_replica_that_was_replaced_writes_nothing_more(
    ballot: Ballot, control_plane: ControlPlane, broker: Broker
) -> None:
    # Given what the work of a term writes with
    connection = await connect(Settings(nats_url=broker.url), "test", attempts=3)
    await ensure_streams(connection, Settings().stream)
    one, work = ballot.candidate("one"), Work()
    api = await FencedKubeApi.connect(str(control_plane.kubeconfig), may_write=one.holds)
    bus = FencedBus(connection, one.holds)
    subject = names.event_subject(ballot.namespace, "com.example.note")
    agents = agents_path(ballot.namespace)
    path = agent_path(ballot.namespace, "researcher")

    # When it leads, then it writes
    leading = asyncio.create_task(one.lead(work))
    await soon(work.running)
    await api.create(agents, RESEARCHER)
    await bus.publish(subject, Event("n-1", "/t", "com.example.note"))

    # When it does not, then it does not, and may still look
    await ballot.seize()
    with pytest.raises(LeaseLost):
        await leading
    for writing in (api.create(agents, RESEARCHER), api.merge(path, {"spec": {}}), api.delete(path)):
        with pytest.raises(ApiError, match="not the active one"):
            await writing
    with pytest.raises(BusUnavailable, match="not the active one"):
        await bus.publish(subject, Event("n-2", "/t", "com.example.note"))
    assert (await api.get(path)).body["metadata"]["name"] == "researcher"
    assert [event.id for event in await asyncio.to_thread(broker.events, subject)] == ["n-1"]
    await connection.close()
    await api.close()


class Seen:
    """What was shown, in order."""

    def __init__(self) -> None:
        self.agents: list[tuple[str, bool]] = []
        self.jobs: list[str] = []

    def observe(self, body: Any, *, deleted: bool = False) -> None:
        self.agents.append((body["metadata"]["name"], deleted))

    def observe_job(self, job: Any, *, deleted: bool = False) -> None:
        self.jobs.append(job["metadata"]["name"])

    def observe_rule(self, rule: Any, *, deleted: bool = False) -> None:
        pass


async def test_the_watch_can_be_begun_again_in_one_process(
    api: KubeApi, control_plane: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given; the client that kopf logs in with read KUBECONFIG when it was imported
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(control_plane.kubeconfig))
    watch = ClusterWatch(Settings(namespace=namespace))
    await api.create(agents_path(namespace), RESEARCHER)
    seen: list[Seen] = []
    for _ in range(3):
        # When a term begins, then all is shown that is there
        seen.append(Seen())
        running = asyncio.create_task(watch.run(seen[-1]))
        await _until(lambda: bool(seen[-1].agents))
        assert watch.missing() is None

        # And when it ends, nothing more, at once
        running.cancel()
        await asyncio.wait({running})
        assert watch.missing() == "not watching the cluster yet"
        seen[-1].agents.append(("the end", False))
        await api.merge(agent_path(namespace, "researcher"), {"metadata": {"labels": {"n": str(len(seen))}}})
        await watch.wait_until_ended()

    await api.delete(agent_path(namespace, "researcher"))
    assert [one.agents for one in seen] == [[("researcher", False), ("the end", False)]] * 3


async def _until(holds: Callable[[], Any]) -> None:
    """Wait until something holds; it may have to be asked for."""
    clock = asyncio.get_running_loop().time
    end = clock() + PATIENCE
    while True:
        found = holds()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert clock() < end, holds
        await asyncio.sleep(0.02)
