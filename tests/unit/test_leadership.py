"""How a replica leads where nobody competes, what the settings say of it, and how work is ended."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress

import pytest

from heed.kube.client.client import KubeApi
from heed.kube.leader import election
from heed.kube.leader.election import (
    Candidacy,
    Election,
    NoElection,
    end_task,
    make_leadership,
    own_identity,
    own_namespace,
    read_candidacy,
)
from heed.settings import Settings
from tests.integration.waiting import SOON, until
from tests.unit.apiserver import ApiServer
from tests.unit.test_election import Work, asked_by_others

AGENTS = "/apis/heed.dev/v1alpha1/namespaces/team/agents?limit=1"


# --- without an election ------------------------------------------------------------------------------------


async def test_without_an_election_the_api_server_is_asked_for_the_probe(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(election, "PROBE_INTERVAL_S", 0.01)
    alone = NoElection(server.connect(KubeApi), "team")
    assert alone.holds()
    assert alone.missing() == "the list of Agents has not been read yet"
    work = Work(alone)

    leading = asyncio.create_task(alone.lead(work))
    await until(lambda: alone.missing() is None)
    assert server.asked[0] == ("GET", AGENTS)
    assert alone.holds()

    leading.cancel()
    with suppress(asyncio.CancelledError):
        await leading
    assert work.over and work.held_at_the_end
    assert await asked_by_others(server) == 0


async def test_without_an_election_what_is_wrong_is_said(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(election, "PROBE_INTERVAL_S", 0.01)
    alone = NoElection(server.connect(KubeApi), None)
    server.refuse = lambda method, path: 403

    leading = asyncio.create_task(alone.lead(Work()))
    await until(lambda: alone.missing() == "cannot read the list of Agents: 403: no 403")

    server.refuse = lambda method, path: None
    await until(lambda: alone.missing() is None)
    leading.cancel()
    await asyncio.wait({leading})
    assert server.asked[0] == ("GET", "/apis/heed.dev/v1alpha1/agents?limit=1")


async def test_without_an_election_what_the_work_raises_is_raised(server: ApiServer) -> None:
    async def breaks() -> None:
        raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        await NoElection(server.connect(KubeApi), None).lead(breaks)


# --- the settings -------------------------------------------------------------------------------------------


def test_the_settings_choose_the_way_to_lead() -> None:
    elected = make_leadership(Settings(lease_namespace="system", identity="one"), None)  # type: ignore[arg-type]

    assert isinstance(elected, Election)
    assert elected.missing() == "the lease system/heed-operator has not been read yet"
    assert isinstance(make_leadership(Settings(lease=None), None), NoElection)  # type: ignore[arg-type]
    assert read_candidacy(
        Settings(lease="other", lease_namespace="system", namespace="team", identity="one")
    ) == (Candidacy("system", "other", "one"))


def test_outside_a_cluster_there_is_no_namespace_and_a_process_is_a_replica() -> None:
    assert own_namespace() is None
    host, _, process = own_identity().rpartition("-")
    assert (host, process) == (socket.gethostname(), str(os.getpid()))


# --- ending what does not want to ---------------------------------------------------------------------------


async def test_what_ignores_the_first_call_to_end_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(election, "WORK_END_TIMEOUT_S", 0.01)
    told = 0

    async def stubborn() -> None:
        nonlocal told
        while told < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told += 1
        raise RuntimeError("said to nobody")

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await asyncio.wait_for(end_task(task), SOON)

    assert task.done()
    assert told == 3


async def test_work_that_takes_its_time_to_end_is_told_once() -> None:
    told = 0

    async def slow() -> None:
        nonlocal told
        try:
            await asyncio.Event().wait()
        finally:
            told += 1
            await asyncio.sleep(0.02)

    task = asyncio.create_task(slow())
    await asyncio.sleep(0)
    await end_task(task)

    assert (task.cancelled(), told) == (True, 1)
