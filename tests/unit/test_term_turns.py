"""Turn after turn of a replica, and what is swept beside the work."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from heed.errors import BusUnavailable, InvalidSettings, StreamConflict
from heed.kube import manager
from heed.kube.client.client import ApiError
from heed.kube.leader.election import LeaseLost
from heed.kube.manager import _connected, _sweep, _try, _turn
from tests.integration.waiting import SOON, until
from tests.unit.apiserver import ApiServer
from tests.unit.fleets import World, fleet_on
from tests.unit.test_terms import Broker, Led, Replica


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "RETRY_DELAY_S", 0.001)


async def test_a_lost_lease_is_said_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    leader: Any = Led(LeaseLost("two holds the lease"), None)
    term: Any = Replica.__new__(Replica)
    term.run = None

    await _turn(leader, term)
    await _turn(leader, term)

    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("WARNING", "no longer the leader")
    assert record.reason == "two holds the lease"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "ours"), [(RuntimeError("a mistake"), True), (BusUnavailable("no broker"), False)]
)
async def test_a_term_that_breaks_is_said_and_followed_by_another_one(
    caplog: pytest.LogCaptureFixture, error: Exception, ours: bool
) -> None:
    leader: Any = Led(error)
    term: Any = Replica.__new__(Replica)
    term.run = None

    await _turn(leader, term)

    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("ERROR", "cannot work as the leader yet")
    assert (record.error, record.retry_in) == (str(error), 0.001)  # type: ignore[attr-defined]
    assert bool(record.exc_info) is ours


@pytest.mark.parametrize("error", [InvalidSettings("no port"), StreamConflict("it is another one")])
async def test_what_no_other_try_can_mend_ends_the_operator(error: Exception) -> None:
    leader: Any = Led(error)
    term: Any = Replica.__new__(Replica)
    term.run = None

    with pytest.raises(type(error), match=str(error)):
        await _turn(leader, term)


async def test_without_a_broker_nobody_competes() -> None:
    broker: Any = Broker(BusUnavailable("no"), BusUnavailable("no"), None)

    await asyncio.wait_for(_connected(broker), SOON)

    assert broker.asked == 3


# --- sweeps ---------------------------------------------------------------------------------------------------


async def test_rules_are_read_again_soon_and_all_is_swept_now_and_then(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "WATCH_START_S", 0.01)
    monkeypatch.setattr(manager, "SWEEP_INTERVAL_S", 0.01)
    async with fleet_on(server) as world:
        await swept(world)


async def swept(world: World) -> None:
    sweeping = asyncio.create_task(_sweep(world.fleet, "demo"))
    await until(lambda: world.server.count("GET", "/namespaces/demo/agents") >= 2)
    sweeping.cancel()
    await asyncio.wait({sweeping})

    listed = [asked.partition("?")[0].rpartition("/")[2] for _, asked in world.server.asked]
    rules = ["agentpolicies", "eventgrants", "eventtypes"]
    assert listed[:10] == [*rules, *rules, "agents", *rules]


@pytest.mark.parametrize(("error", "ours"), [(RuntimeError("a mistake"), True), (ApiError(500, "no"), False)])
async def test_a_sweep_that_fails_is_said_and_is_not_the_last_one(
    caplog: pytest.LogCaptureFixture, error: Exception, ours: bool
) -> None:
    async def fails() -> None:
        raise error

    await _try(fails)

    (record,) = caplog.records
    assert (record.getMessage(), record.error) == ("cannot resync", str(error))  # type: ignore[attr-defined]
    assert bool(record.exc_info) is ours
