"""One candidacy for a Lease: what is written, when it is held, and how it is lost and given back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from heed.kube.client.client import ApiError, ApiResponse, KubeApi
from heed.kube.client.reachability import Reachability
from heed.kube.leader import lease_lock
from heed.kube.leader.lease_lock import (
    LEASE_DURATION_S,
    RENEW_DEADLINE_S,
    LeaseLock,
    bound_request,
    leases_path,
)
from tests.integration.waiting import SOON, until
from tests.unit.apiserver import ApiServer, Object
from tests.unit.replicas import Clock

PATH = "/apis/coordination.k8s.io/v1/namespaces/system/leases/heed"
THEN = "2026-11-01T12:00:00.000000Z"
THEIRS: Object = {
    "holderIdentity": "two",
    "leaseDurationSeconds": 15,
    "acquireTime": THEN,
    "renewTime": THEN,
    "leaseTransitions": 4,
}


@pytest.fixture
def contact() -> Reachability:
    return Reachability("the lease system/heed")


@pytest.fixture
def lock(server: ApiServer, contact: Reachability) -> LeaseLock:
    return LeaseLock(server.connect(KubeApi), "system", "heed", "one", contact)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease_lock, "time", clock)
    return clock


async def looked(lock: LeaseLock) -> Any:
    """What a look finds."""
    return await lock.get("heed", "system")


async def made(lock: LeaseLock) -> bool:
    return await lock.create("heed", "system", None)  # type: ignore[arg-type]


async def renewed(lock: LeaseLock) -> bool:
    return await lock.update("heed", "system", None)  # type: ignore[arg-type]


# --- reading ------------------------------------------------------------------------------------------------


async def test_a_lease_that_is_not_there_is_no_failure(lock: LeaseLock, contact: Reachability) -> None:
    there, error = await looked(lock)

    assert there is False
    assert (error.status, error.body) == (404, '{"code": 404}')
    assert contact.error is None


async def test_a_lease_that_cannot_be_read_is_one(
    server: ApiServer, lock: LeaseLock, contact: Reachability
) -> None:
    server.refuse = lambda method, path: 403

    there, error = await looked(lock)

    assert there is False
    assert (error.status, error.reason, error.body) == (403, "no 403", '{"code": 403}')
    assert contact.missing() == "cannot read the lease system/heed: 403: no 403"


@pytest.mark.parametrize(
    ("spec", "record"),
    [
        (THEIRS, ("two", "15", THEN, THEN)),
        ({**THEIRS, "holderIdentity": ""}, (None, "15", THEN, THEN)),
        ({}, (None, None, None, None)),
        (None, (None, None, None, None)),
    ],
)
async def test_who_holds_it_is_told_to_the_client(
    server: ApiServer, lock: LeaseLock, contact: Reachability, spec: Any, record: Any
) -> None:
    server.add(PATH, spec=spec)

    there, found = await looked(lock)

    assert there is True
    assert (found.holder_identity, found.lease_duration, found.acquire_time, found.renew_time) == record
    assert contact.missing() is None


# --- writing ------------------------------------------------------------------------------------------------


async def test_a_lease_is_made(server: ApiServer, lock: LeaseLock, contact: Reachability) -> None:
    assert not lock.holds()

    assert await made(lock)

    (body,) = server.bodies
    now = body["spec"]["renewTime"]
    assert body == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "heed"},
        "spec": {
            "holderIdentity": "one",
            "leaseDurationSeconds": LEASE_DURATION_S,
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": 1,
        },
    }
    assert server.at(PATH)["spec"] == body["spec"]
    assert lock.holds()
    assert contact.missing() is None


async def test_what_was_made_is_renewed_upon_the_version_that_came_back(
    server: ApiServer, lock: LeaseLock
) -> None:
    await made(lock)
    first = server.at(PATH)

    assert await renewed(lock)
    assert await renewed(lock)

    spec = server.at(PATH)["spec"]
    assert spec == {**first["spec"], "renewTime": spec["renewTime"]}
    assert spec["renewTime"] > first["spec"]["renewTime"]
    assert server.bodies[1]["metadata"] == {"resourceVersion": first["metadata"]["resourceVersion"]}


async def test_a_lease_of_others_that_ran_out_is_taken(server: ApiServer, lock: LeaseLock) -> None:
    server.add(PATH, spec=THEIRS)
    await looked(lock)

    assert await renewed(lock)

    spec = server.at(PATH)["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("one", 5)
    assert spec["acquireTime"] == spec["renewTime"] > THEN
    assert lock.holds()


async def test_who_was_slower_has_not_failed_and_does_not_hold_it(
    server: ApiServer, lock: LeaseLock, contact: Reachability
) -> None:
    server.add(PATH, spec=THEIRS)
    assert not await made(lock)
    assert contact.missing() is None

    await looked(lock)
    server.edit(PATH, spec={"renewTime": "2026-11-01T12:00:01.000000Z"})
    assert not await renewed(lock)

    assert not lock.holds()
    assert contact.error is None
    assert server.at(PATH)["spec"]["holderIdentity"] == "two"


async def test_a_write_that_is_refused_is_a_failure(
    server: ApiServer, lock: LeaseLock, contact: Reachability
) -> None:
    server.refuse = lambda method, path: 500

    assert not await made(lock)

    assert not lock.holds()
    assert contact.error is not None and contact.error.status == 500


# --- holding ------------------------------------------------------------------------------------------------


async def test_it_is_held_for_a_while_from_when_it_was_asked_for(
    server: ApiServer, lock: LeaseLock, clock: Clock
) -> None:
    def slow(method: str, path: str) -> None:
        clock.now += 4

    server.refuse = slow
    await made(lock)

    clock.now += RENEW_DEADLINE_S - 4 - 1
    assert lock.holds()
    clock.now += 1
    assert not lock.holds()


async def test_it_is_not_held_any_more_once_another_one_is_seen_to(
    server: ApiServer, lock: LeaseLock
) -> None:
    await made(lock)
    lapsing = asyncio.create_task(lock.wait_until_lost())
    await looked(lock)
    assert lock.holds() and not lapsing.done()

    server.edit(PATH, spec=THEIRS)
    await looked(lock)

    await asyncio.wait_for(lapsing, SOON)
    assert not lock.holds()
    assert lock.why_lost() == "two holds the lease"
    assert await renewed(lock)
    assert not lock.holds(), "there is no way back"


async def test_one_that_somebody_emptied_is_still_ours(server: ApiServer, lock: LeaseLock) -> None:
    await made(lock)
    server.edit(PATH, spec={"holderIdentity": None})

    await looked(lock)

    assert lock.holds()


async def test_a_standby_that_sees_another_holder_may_take_it_later(
    server: ApiServer, lock: LeaseLock
) -> None:
    server.add(PATH, spec=THEIRS)
    await looked(lock)

    await renewed(lock)

    assert lock.holds()


async def test_without_a_renewal_it_lapses(
    server: ApiServer, lock: LeaseLock, contact: Reachability, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_lock, "RENEW_DEADLINE_S", 0.2)
    await made(lock)

    await asyncio.wait_for(lock.wait_until_lost(), SOON)

    assert not lock.holds()
    assert lock.why_lost() == "the lease was not renewed for 0.2 s: this process did not get to it"
    contact.note_failure(ApiError(500, "no room"))
    assert lock.why_lost() == "the lease was not renewed for 0.2 s: 500: no room"


# --- giving back --------------------------------------------------------------------------------------------


async def test_what_is_held_is_given_back(
    server: ApiServer, lock: LeaseLock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await made(lock)
    before = server.at(PATH)["spec"]

    await lock.release()

    spec = server.at(PATH)["spec"]
    assert "holderIdentity" not in spec
    assert (spec["leaseDurationSeconds"], spec["leaseTransitions"]) == (1, 1)
    assert spec["renewTime"] > before["renewTime"]
    assert not lock.holds()
    assert [(r.getMessage(), r.identity) for r in caplog.records] == [("lease released", "one")]  # type: ignore[attr-defined]


async def test_what_is_not_held_is_not_given_back(server: ApiServer, lock: LeaseLock) -> None:
    server.add(PATH, spec=THEIRS)

    await lock.release()

    assert server.asked == []


async def test_what_another_one_has_taken_stays_with_it(server: ApiServer, lock: LeaseLock) -> None:
    await made(lock)
    server.edit(PATH, spec=THEIRS)

    await lock.release()

    assert server.at(PATH)["spec"] == THEIRS
    assert server.count("PATCH") == 0


async def test_a_write_of_others_meanwhile_has_it_tried_again(
    server: ApiServer, lock: LeaseLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_lock, "RELEASE_RETRY_DELAY_S", 0.001)
    await made(lock)

    def touched(method: str, path: str) -> None:
        if method == "PATCH":
            server.refuse = lambda method, path: None
            server.edit(PATH, metadata={"labels": {"a": "b"}})

    server.refuse = touched
    await lock.release()

    assert "holderIdentity" not in server.at(PATH)["spec"]
    assert server.count("PATCH") == 2


async def test_an_api_server_that_is_away_keeps_nobody_from_ending(
    server: ApiServer, lock: LeaseLock
) -> None:
    await made(lock)
    server.refuse = lambda method, path: 500

    await lock.release()

    assert server.count("GET") == 1
    assert server.at(PATH)["spec"]["holderIdentity"] == "one"


# --- the requests -------------------------------------------------------------------------------------------


async def test_no_request_takes_longer_than_others_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_lock, "LEASE_REQUEST_TIMEOUT_S", 0.01)

    async def never() -> ApiResponse:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(ApiError) as error:
        await bound_request(never())

    assert (error.value.status, error.value.message) == (0, "no answer within 0.01 s")


async def test_writes_are_bounded_too(
    server: ApiServer, lock: LeaseLock, contact: Reachability, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_lock, "LEASE_REQUEST_TIMEOUT_S", 0.3)
    server.open.clear()

    assert not await made(lock)
    assert (await looked(lock))[0] is False

    assert contact.error is not None and contact.error.message == "no answer within 0.3 s"
    await until(lambda: len(server.asked) == 2)


def test_the_paths_of_leases() -> None:
    assert leases_path("system") == "/apis/coordination.k8s.io/v1/namespaces/system/leases"
    assert leases_path("system", "heed") == PATH
