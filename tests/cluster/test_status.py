"""The ledger as a status on a real API server: what a commit says besides, who else writes, what it costs to keep."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from heed.api.status import Counts, Cursor, Session, Totals
from heed.core.ledger.deferred import DeferredEvents
from heed.core.ledger.ledger import Ledger, dump_ledger
from heed.errors import LedgerConflict
from heed.kube.client.client import KubeApi, agent_path, agents_path
from heed.kube.status.ledger_store import StatusLedgerStore
from tests.builders.agents import ref
from tests.cluster.controlplane.run import ControlPlane
from tests.cluster.stories import RESEARCHER
from tests.cluster.watchless import AGENT

pytestmark = pytest.mark.cluster
AT = "2026-11-01T12:00:00.000000Z"
LEDGER = Ledger(cursor=Cursor("HEED", 40, AT), totals=Totals(handled=1))
READY = {
    "type": "Ready",
    "status": "True",
    "reason": "Subscribed",
    "message": "1 pattern",
    "lastTransitionTime": "2026-11-01T12:00:00Z",
    "observedGeneration": 1,
}


class Home:
    """An Agent that nobody runs, with the home of its ledger."""

    def __init__(self, api: KubeApi, namespace: str, body: dict[str, Any]) -> None:
        self.api, self.path = api, agent_path(namespace, AGENT)
        self.store = StatusLedgerStore(api, ref(body))

    async def agent(self) -> dict[str, Any]:
        return (await self.api.get(self.path)).body

    async def conditions(self) -> dict[str, dict[str, Any]]:
        """By type."""
        found = (await self.agent())["status"]["conditions"]
        assert len({item["type"] for item in found}) == len(found)
        return {item["type"]: item for item in found}

    async def write(self, **status: Any) -> dict[str, Any]:
        """As someone else would."""
        return (await self.api.merge(f"{self.path}/status", {"status": status})).body


@pytest.fixture
async def home(control_plane: ControlPlane, namespace: str) -> AsyncIterator[Home]:
    api = await KubeApi.connect(str(control_plane.kubeconfig))
    try:
        yield Home(api, namespace, (await api.create(agents_path(namespace), RESEARCHER)).body)
    finally:
        await api.close()


def waiting(count: int) -> DeferredEvents:
    return DeferredEvents.of({100 + number: f"key-{number}" for number in range(count)})


def sessions(first: int, last: int) -> dict[str, Session]:
    return {
        f"order-{number}": Session(AT, AT, f"c-{number}", {"topic": "tides", "answer": "42"})
        for number in range(first, last)
    }


# --- conditions --------------------------------------------------------------------------------------------------


async def test_saturated_is_written_with_the_ledger_that_it_follows_from(home: Home) -> None:
    # Given an Agent of which the reconciler has said that it is ready
    await home.write(conditions=[READY], observedGeneration=1)
    stored = await home.store.commit(await home.store.load(), LEDGER)
    assert await home.conditions() == {"Ready": READY}

    # When events begin to wait
    stored = await home.store.commit(stored, replace(LEDGER, waiting=waiting(3)))
    conditions = await home.conditions()
    assert conditions["Ready"] == READY
    assert (conditions["Saturated"]["status"], conditions["Saturated"]["reason"]) == (
        "True",
        "WaitingForRoom",
    )
    assert (await home.agent())["status"]["counts"]["waiting"] == 3

    # And a restart reads them, and then decides them all
    stored = await StatusLedgerStore(home.api, ref(await home.agent())).load()
    assert stored.ledger.waiting == waiting(3)
    await home.store.commit(await home.store.load(), LEDGER)

    # Then
    conditions = await home.conditions()
    assert conditions["Ready"] == READY
    assert (conditions["Saturated"]["status"], conditions["Saturated"]["reason"]) == ("False", "Room")
    assert (await home.agent())["status"].get("waiting") in (None, {})


async def test_expired_events_are_said_for_good(home: Home) -> None:
    stored = await home.store.commit(await home.store.load(), LEDGER)

    stored = await home.store.commit(stored, replace(LEDGER, totals=Totals(handled=1, expired=7)))
    said = (await home.conditions())["EventsExpired"]
    stored = await home.store.commit(stored, replace(LEDGER, totals=Totals(handled=2, expired=7)))

    assert (said["status"], said["reason"]) == ("True", "DroppedByStream")
    assert "at most 7 " in said["message"]
    assert "after sequence 40 of 2026-11-01T12:00:00Z" in said["message"]
    assert (await home.conditions())["EventsExpired"] == said


async def test_a_commit_does_not_undo_what_the_reconciler_wrote_meanwhile(home: Home) -> None:
    # Given a ledger as it was read, and a condition that was written since
    stored = await home.store.load()
    false = {**READY, "status": "False", "reason": "BrokerUnavailable"}
    await home.write(conditions=[false])

    # When
    with pytest.raises(LedgerConflict):
        await home.store.commit(stored, replace(LEDGER, waiting=waiting(1)))
    await home.store.commit(await home.store.load(), replace(LEDGER, waiting=waiting(1)))

    # Then
    conditions = await home.conditions()
    assert conditions["Ready"] == false
    assert conditions["Saturated"]["status"] == "True"


async def test_a_commit_goes_on_from_what_the_reconciler_wrote_on_top_of_its_base(home: Home) -> None:
    # Given a ledger as it was read, and two conditions that were written on top of just that
    stored = await home.store.load()
    for status in ("False", "True"):
        before = (await home.agent())["metadata"]["resourceVersion"]
        home.store.note_condition_write(before, await home.write(conditions=[{**READY, "status": status}]))

    # When
    stored = await home.store.commit(stored, replace(LEDGER, waiting=waiting(1)))

    # Then nothing of either is lost, and the next commit is as fenced as ever
    conditions = await home.conditions()
    assert conditions["Ready"] == READY
    assert conditions["Saturated"]["status"] == "True"
    await home.write(conditions=[READY])
    with pytest.raises(LedgerConflict):
        await home.store.commit(stored, LEDGER)


async def test_a_write_on_top_of_somebody_elses_does_not_move_a_ledger(home: Home) -> None:
    stored = await home.store.load()
    between = await home.write(conditions=[READY])
    home.store.note_condition_write(between["metadata"]["resourceVersion"], await home.write(conditions=[]))

    with pytest.raises(LedgerConflict):
        await home.store.commit(stored, LEDGER)


async def test_a_commit_on_a_base_that_another_reading_gave_leaves_the_conditions_alone(home: Home) -> None:
    await home.store.load()
    await home.write(conditions=[READY])
    base = await StatusLedgerStore(home.api, ref(await home.agent())).load()

    await home.store.commit(base, replace(LEDGER, waiting=waiting(1)))

    assert await home.conditions() == {"Ready": READY}


async def test_a_status_of_an_earlier_version_is_read_and_gone_on_with(home: Home) -> None:
    # Given a status without anything that is said of streams, room and expiry
    status = dump_ledger(replace(LEDGER, sessions=sessions(0, 2)))
    status["cursor"] = {"stream": "HEED", "sequence": 40, "time": AT}
    status["totals"] = {name: count for name, count in status["totals"].items() if name != "expired"}
    status["counts"] = {"sessions": 2, "pendingTasks": 0, "outbox": 0}
    del status["waiting"]
    await home.write(**status, conditions=[READY], observedGeneration=1)

    # When
    stored = await home.store.load()
    assert stored.ledger == replace(LEDGER, sessions=sessions(0, 2))
    await home.store.commit(stored, replace(stored.ledger, totals=Totals(handled=2)))

    # Then
    now = (await home.agent())["status"]
    assert now["totals"]["handled"] == 2
    assert now["conditions"] == [READY]
    assert Counts(**{"sessions": now["counts"]["sessions"]}) == Counts(sessions=2)


def test_kubectl_shows_why_and_how_many_wait(control_plane: ControlPlane, home: Home, namespace: str) -> None:
    condition = {**READY, "status": "False", "reason": "EffectsStuck"}
    status = {"conditions": [condition], "counts": {"waiting": 3}}
    control_plane.admin.patch(f"{home.path}/status", {"status": status})

    head, row = control_plane.kubectl("get", "agents", "-n", namespace, "-o", "wide").splitlines()

    places = [found.start() for found in re.finditer(r"\S+( \S+)*", head)]
    ends = [*places[1:], None]
    shown = {head[place:end].strip(): row[place:end].strip() for place, end in zip(places, ends, strict=True)}
    assert (shown["READY"], shown["REASON"], shown["WAITING"]) == ("False", "EffectsStuck", "3")


# --- what the API server keeps besides -----------------------------------------------------------------------------


async def test_the_api_server_keeps_no_list_of_the_keys_that_were_written(home: Home) -> None:
    """Maps without x-kubernetes-map-type: atomic would be listed in managedFields key by key: twice the object."""
    # Given
    stored = await home.store.load()
    stored = await home.store.commit(stored, replace(LEDGER, sessions=sessions(0, 1)))
    few = len(json.dumps((await home.agent())["metadata"]["managedFields"]))

    # When
    stored = await home.store.commit(stored, replace(LEDGER, sessions=sessions(0, 300)))
    assert len(json.dumps((await home.agent())["metadata"]["managedFields"])) == few

    # And single keys are still merged
    changed = {**sessions(2, 300), "order-1": Session(AT, AT, "c-1", {"topic": "moons"})}
    await home.store.commit(stored, replace(LEDGER, sessions=changed))

    # Then
    status = (await home.agent())["status"]
    assert status["sessions"] == dump_ledger(replace(LEDGER, sessions=changed))["sessions"]
    assert status["totals"]["handled"] == 1
    assert status["cursor"] == {"stream": "HEED", "sequence": 40, "time": AT}
