"""The ledger in an Agent's status: read, written upon a version, and the conditions that go with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from heed.api.status import Cursor, Totals
from heed.core.effects import AgentRef
from heed.core.ledger.deferred import DeferredEvents
from heed.core.ledger.ledger import Ledger
from heed.errors import LedgerConflict, LedgerGone, LedgerUnavailable
from heed.kube.client.client import KubeApi
from heed.kube.status.ledger_store import MAX_REMEMBERED_MOVES, StatusLedgerStore
from tests.unit.apiserver import ApiServer

AGENT = AgentRef("demo", "researcher", "uid-1")
PATH = "/apis/heed.dev/v1alpha1/namespaces/demo/agents/researcher"
CURSOR = {"stream": "HEED", "sequence": 7}
READY = {"type": "Ready", "status": "True", "reason": "Subscribed"}


def there(server: ApiServer, **status: Any) -> StatusLedgerStore:
    """The home of the Agent's ledger, which has this status."""
    server.add(PATH, metadata={"uid": "uid-1", "generation": 3}, status={"cursor": CURSOR, **status})
    return StatusLedgerStore(server.connect(KubeApi), AGENT)


def on(ledger: Ledger, sequence: int) -> Ledger:
    return replace(ledger, cursor=replace(ledger.cursor, sequence=sequence))


def saturated(ledger: Ledger) -> Ledger:
    return replace(ledger, waiting=DeferredEvents.of({100: "key"}))


def conditions(server: ApiServer) -> list[dict[str, Any]]:
    return list(server.at(PATH)["status"].get("conditions") or [])


async def test_a_ledger_is_read_with_its_version_and_size(server: ApiServer) -> None:
    stored = await there(server).load()

    assert (stored.ledger.cursor.sequence, stored.version) == (7, "1")
    assert stored.size > 100
    assert server.asked == [("GET", PATH)]


async def test_an_agent_without_a_status_has_an_empty_ledger(server: ApiServer) -> None:
    server.add(PATH, metadata={"uid": "uid-1"})

    stored = await StatusLedgerStore(server.connect(KubeApi), AGENT).load()

    assert (stored.ledger.cursor, stored.ledger.totals) == (Ledger().cursor, Totals())


async def test_a_commit_writes_what_changed_upon_the_version(server: ApiServer) -> None:
    home = there(server)
    base = await home.load()

    second = await home.commit(base, on(base.ledger, 8))
    third = await home.commit(second, on(base.ledger, 9))

    assert server.bodies[0]["metadata"] == {"resourceVersion": "1", "uid": "uid-1"}
    assert server.bodies[0]["status"]["cursor"]["sequence"] == 8
    assert "sessions" not in server.bodies[0]["status"], "it stayed as it was"
    assert server.asked[1] == ("PATCH", f"{PATH}/status")
    assert (second.version, third.version, third.ledger.cursor.sequence) == ("2", "3", 9)
    assert third.size >= base.size
    assert (await home.load()).ledger.cursor == Cursor("HEED", 9)


async def test_what_others_wrote_is_a_conflict(server: ApiServer) -> None:
    home = there(server)
    base = await home.load()
    server.edit(PATH, metadata={"labels": {"a": "b"}})

    with pytest.raises(LedgerConflict, match="the object has been modified"):
        await home.commit(base, on(base.ledger, 8))


async def test_another_agent_of_that_name_has_another_ledger(server: ApiServer) -> None:
    home = there(server)
    server.edit(PATH, metadata={"uid": "uid-2"})

    with pytest.raises(LedgerGone) as gone:
        await home.load()

    assert str(gone.value) == f"agent {AGENT} is another one now: uid uid-2"


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (404, LedgerGone, "no 404"),
        (409, LedgerConflict, "no 409"),
        (500, LedgerUnavailable, "500: no 500"),
        (403, LedgerUnavailable, "403: no 403"),
    ],
)
async def test_a_refusal_is_told_by_its_status(
    server: ApiServer, status: int, error: type[Exception], text: str
) -> None:
    home = there(server)
    base = await home.load()
    server.refuse = lambda method, path: status

    for attempt in (home.load(), home.commit(base, on(base.ledger, 8))):
        with pytest.raises(error) as refused:
            await attempt
        assert str(refused.value) == text


# --- conditions that go with it -------------------------------------------------------------------------------


async def test_what_the_ledger_means_for_a_condition_goes_with_it(server: ApiServer) -> None:
    home = there(server, conditions=[READY])
    base = await home.load()

    full = await home.commit(base, saturated(base.ledger))
    assert [(item["type"], item["status"]) for item in conditions(server)] == [
        ("Ready", "True"),
        ("Saturated", "True"),
    ]
    assert conditions(server)[1]["observedGeneration"] == 3

    await home.commit(full, replace(full.ledger, waiting=DeferredEvents()))
    assert [(item["type"], item["status"]) for item in conditions(server)] == [
        ("Ready", "True"),
        ("Saturated", "False"),
    ]


async def test_a_ledger_that_changes_no_condition_leaves_them_alone(server: ApiServer) -> None:
    home = there(server, conditions=[READY])
    base = await home.load()

    await home.commit(base, on(base.ledger, 8))

    assert "conditions" not in server.bodies[0]["status"]


async def test_without_knowing_the_conditions_of_its_version_none_are_written(server: ApiServer) -> None:
    home = there(server)
    base = await home.load()
    other = StatusLedgerStore(server.connect(KubeApi), AGENT)

    await other.commit(base, saturated(base.ledger))

    assert "conditions" not in server.bodies[0]["status"]


# --- a condition that somebody writes on top ------------------------------------------------------------------


def says(server: ApiServer, reason: str) -> tuple[str, dict[str, Any]]:
    """The reconciler writes a condition; upon which version, and the object after it."""
    before = server.at(PATH)["metadata"]["resourceVersion"]
    return before, server.edit(PATH, status={"conditions": [{**READY, "reason": reason}]})


async def test_a_condition_that_was_written_on_top_of_it_is_no_conflict_and_stays(server: ApiServer) -> None:
    home = there(server)
    base = await home.load()

    home.note_condition_write(*says(server, "One"))
    home.note_condition_write(*says(server, "Two"))
    await home.commit(base, saturated(base.ledger))

    assert conditions(server)[0]["reason"] == "Two"
    assert [item["type"] for item in conditions(server)] == ["Ready", "Saturated"]


async def test_a_write_that_changed_nothing_is_no_step(server: ApiServer) -> None:
    home = there(server)
    base = await home.load()

    home.note_condition_write(base.version, server.at(PATH))

    assert (await home.commit(base, on(base.ledger, 8))).version == "2"


async def test_only_so_many_steps_are_remembered(server: ApiServer) -> None:
    home = there(server)
    base = await home.load()
    for number in range(MAX_REMEMBERED_MOVES):
        home.note_condition_write(*says(server, f"R{number}"))
    after = await home.commit(base, on(base.ledger, 8))
    for number in range(MAX_REMEMBERED_MOVES + 1):
        home.note_condition_write(*says(server, f"S{number}"))

    with pytest.raises(LedgerConflict):
        await home.commit(after, on(base.ledger, 9))


async def test_a_step_from_elsewhere_says_nothing_of_the_conditions(server: ApiServer) -> None:
    home = there(server)
    base = await home.load()

    home.note_condition_write(
        "77", {"metadata": {"resourceVersion": "78"}, "status": {"conditions": [{**READY, "reason": "X"}]}}
    )
    await home.commit(base, saturated(base.ledger))

    assert [item["type"] for item in conditions(server)] == ["Saturated"]
