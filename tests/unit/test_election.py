"""Term after term: who is elected does the work, and has ended it before anybody else can begin."""

from __future__ import annotations

import asyncio
import logging
import sys

import pytest
from kubernetes.aio.leaderelection.electionconfig import Config

from heed.kube.client.client import KubeApi
from heed.kube.leader import election, lease_lock
from heed.kube.leader.election import (
    Candidacy,
    Election,
    LeaseLost,
    NoElection,
)
from heed.kube.leader.lease_lock import LeaseLock
from tests.integration.waiting import SOON, until
from tests.unit.apiserver import ApiServer

PATH = "/apis/coordination.k8s.io/v1/namespaces/system/leases/heed"
LEASE_DURATION = 15.0
THEN = "2026-11-01T12:00:00.000000Z"
THEIRS = {
    "holderIdentity": "two",
    "leaseDurationSeconds": 15,
    "acquireTime": THEN,
    "renewTime": THEN,
    "leaseTransitions": 4,
}


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Seconds that the client was configured with; a second is the least that it takes, so it is told later."""
    made, seconds = election._config, dict[str, float]()

    def quick(lock: LeaseLock) -> Config:
        config = made(lock)
        for name in ("lease_duration", "renew_deadline", "retry_period"):
            seconds.setdefault(name, getattr(config, name))
        config.retry_period = 0.01
        config.lease_duration = LEASE_DURATION
        return config

    monkeypatch.setattr(election, "_config", quick)
    monkeypatch.setattr(lease_lock, "RELEASE_RETRY_DELAY_S", 0.01)
    return seconds


def candidate(server: ApiServer, identity: str = "one") -> Election:
    return Election(server.connect(KubeApi), Candidacy("system", "heed", identity))


class Work:
    """Goes on for ever; an end may take it a while."""

    def __init__(self, place: Election | NoElection | None = None) -> None:
        self.place = place
        self.begun, self.ending, self.may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.may_end.set()
        self.over = False
        self.held_at_the_end: bool | None = None

    async def __call__(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ending.set()
            await self.may_end.wait()
            self.over = True
            self.held_at_the_end = self.place is not None and self.place.holds()


async def asked_by_others(server: ApiServer) -> int:
    """How often others ask for something while we do so for a while."""
    own, before = server.connect(KubeApi), len(server.asked)
    for _ in range(20):
        await own.list("/api/v1/namespaces")
    return len(server.asked) - before - 20


# --- a term -------------------------------------------------------------------------------------------------


async def test_who_finds_no_lease_is_elected_and_gives_it_back_in_the_end(
    server: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    one = candidate(server)
    work = Work(one)
    assert not one.holds()
    assert one.missing() == "the lease system/heed has not been read yet"

    leading = asyncio.create_task(one.lead(work))
    await asyncio.wait_for(work.begun.wait(), SOON)
    assert one.holds()
    assert one.missing() is None
    assert server.at(PATH)["spec"]["holderIdentity"] == "one"

    leading.cancel()
    await asyncio.wait({leading}, timeout=SOON)
    assert leading.cancelled()
    assert work.over
    assert not one.holds()
    assert "holderIdentity" not in server.at(PATH)["spec"]
    said = [(r.getMessage(), getattr(r, "lease", None), r.identity) for r in caplog.records]  # type: ignore[attr-defined]
    assert said == [
        ("standing by", "system/heed", "one"),
        ("elected", "system/heed", "one"),
        ("lease released", None, "one"),
    ]


async def test_the_lease_is_renewed_for_as_long_as_the_work_lasts(
    server: ApiServer, configured: dict[str, float]
) -> None:
    work, one = Work(), candidate(server)
    leading = asyncio.create_task(one.lead(work))

    await until(lambda: server.count("PATCH") >= 3)

    assert one.holds()
    assert server.at(PATH)["spec"]["leaseTransitions"] == 1
    assert configured == {"lease_duration": 15, "renew_deadline": 10, "retry_period": 2}
    leading.cancel()
    await asyncio.wait({leading})


async def test_work_that_ends_by_itself_ends_the_term(server: ApiServer) -> None:
    async def nothing_to_do() -> None:
        return None

    await asyncio.wait_for(candidate(server).lead(nothing_to_do), SOON)

    assert "holderIdentity" not in server.at(PATH)["spec"]


async def test_work_that_breaks_breaks_the_term_and_another_one_is_elected_at_once(server: ApiServer) -> None:
    async def breaks() -> None:
        raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        await asyncio.wait_for(candidate(server).lead(breaks), SOON)

    work = Work()
    leading = asyncio.create_task(candidate(server, "two").lead(work))
    await asyncio.wait_for(work.begun.wait(), SOON)
    leading.cancel()
    await asyncio.wait({leading})


async def test_a_standby_waits_for_as_long_as_the_lease_is_renewed(server: ApiServer) -> None:
    first, second = Work(), Work()
    one, two = candidate(server, "one"), candidate(server, "two")
    leading = asyncio.create_task(one.lead(first))
    await asyncio.wait_for(first.begun.wait(), SOON)

    following = asyncio.create_task(two.lead(second))
    renewals = server.count("PATCH")
    await until(lambda: server.count("PATCH") >= renewals + 5)
    assert not second.begun.is_set()
    assert not two.holds()
    assert two.missing() is None

    leading.cancel()
    await asyncio.wait_for(second.begun.wait(), SOON)
    assert first.over
    assert server.at(PATH)["spec"]["holderIdentity"] == "two"
    following.cancel()
    await asyncio.wait({leading, following})


async def test_a_lease_that_nobody_renews_is_taken(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "LEASE_DURATION", 0.1)
    server.add(PATH, spec=THEIRS)
    work = Work()

    leading = asyncio.create_task(candidate(server).lead(work))
    await asyncio.wait_for(work.begun.wait(), SOON)

    spec = server.at(PATH)["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("one", 5)
    leading.cancel()
    await asyncio.wait({leading})


async def test_a_lease_that_another_one_has_taken_is_lost_when_the_work_is_over(server: ApiServer) -> None:
    # Given
    one = candidate(server)
    work = Work(one)
    work.may_end.clear()
    leading = asyncio.create_task(one.lead(work))
    await asyncio.wait_for(work.begun.wait(), SOON)

    # When
    server.edit(PATH, spec=THEIRS)
    await until(lambda: not one.holds())

    # Then it is lost, but not before the work has ended, and stays with whoever has it
    writes = server.count("PATCH")
    assert not leading.done()
    work.may_end.set()
    with pytest.raises(LeaseLost) as lost:
        await asyncio.wait_for(leading, SOON)
    assert str(lost.value) == "two holds the lease"
    assert work.over and work.held_at_the_end is False
    assert server.count("PATCH") == writes
    assert server.at(PATH)["spec"] == THEIRS


async def test_a_lease_that_cannot_be_renewed_is_lost(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_lock, "RENEW_DEADLINE_S", 0.3)
    work = Work()
    leading = asyncio.create_task(candidate(server).lead(work))
    await asyncio.wait_for(work.begun.wait(), SOON)

    server.refuse = lambda method, path: 500 if method == "PATCH" else None

    with pytest.raises(LeaseLost, match=r"the lease was not renewed for 0\.3 s: "):
        await asyncio.wait_for(leading, SOON)
    assert work.over


async def test_nobody_takes_the_lease_again_while_the_work_of_a_lost_term_ends(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a term that is over because its lease could not be renewed, and work that takes its time to end
    monkeypatch.setattr(lease_lock, "RENEW_DEADLINE_S", 0.2)
    one = candidate(server)
    work = Work(one)
    work.may_end.clear()
    leading = asyncio.create_task(one.lead(work))
    await asyncio.wait_for(work.begun.wait(), SOON)
    server.refuse = lambda method, path: 500 if method == "PATCH" else None
    await asyncio.wait_for(work.ending.wait(), SOON)

    # When it could be renewed
    server.refuse = lambda method, path: None

    # Then
    assert await asked_by_others(server) == 0
    assert not one.holds()
    work.may_end.set()
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(leading, SOON)


def test_the_client_is_not_to_say_every_two_seconds_what_is_wrong() -> None:
    Election(None, Candidacy("system", "heed", "one"))  # type: ignore[arg-type]

    assert logging.getLogger("kubernetes.aio.leaderelection.leaderelection").level == logging.CRITICAL


async def test_a_refusal_comes_with_what_to_do(server: ApiServer) -> None:
    one = candidate(server)
    server.refuse = lambda method, path: 404 if method == "POST" else None
    leading = asyncio.create_task(one.lead(Work()))

    await until(lambda: "create the namespace" in (one.missing() or ""))

    assert one.missing() == (
        "cannot read the lease system/heed: 404: no 404; "
        "create the namespace, or name another one in HEED_LEASE_NAMESPACE"
    )
    server.refuse = lambda method, path: 403
    await until(lambda: "403" in (one.missing() or ""))
    assert one.missing() == (
        "cannot read the lease system/heed: 403: no 403; "
        "grant the operator get, create and patch on leases there, as the chart does"
    )
    leading.cancel()
    await asyncio.wait({leading})
