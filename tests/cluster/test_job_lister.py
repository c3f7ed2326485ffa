"""Lists of Jobs: one for all Agents that want theirs, since an API server reads all Jobs for each."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from heed.core.effects import AgentRef
from heed.kube.client.client import ApiError, KubeApi, jobs_path
from heed.kube.jobs import lister
from heed.kube.jobs.lister import JobLister
from heed.kube.jobs.manifest import owner_uid
from tests.builders.agents import ref
from tests.cluster.stories import RESEARCHER
from tests.cluster.watchless import AGENT, Watchless

pytestmark = pytest.mark.cluster


async def five_agents(watchless: Watchless) -> list[dict[str, Any]]:
    """Agents with a Job each."""
    bodies = []
    for number in range(5):
        manifest = copy.deepcopy(RESEARCHER)
        manifest["metadata"]["name"] = f"{AGENT}-{number}"
        bodies.append(await watchless.create(manifest))
    await watchless.ask("q-1")
    await watchless.until(lambda: all_started(watchless, 5), "five Jobs")
    return bodies


def requests_of(api: KubeApi, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests that are made from now on."""
    requests, act = list[str](), api._request

    async def noting(method: str, path: str, **options: Any) -> Any:
        requests.append(f"{method} {path}")
        return await act(method, path, **options)

    monkeypatch.setattr(api, "_request", noting)
    return requests


async def test_a_sweep_lists_jobs_once_however_many_agents_there_are(
    watchless: Watchless, monkeypatch: pytest.MonkeyPatch
) -> None:
    await five_agents(watchless)
    requests = requests_of(watchless.fleet._api, monkeypatch)

    await watchless.fleet.sweep(watchless.namespace)

    assert [item for item in requests if "/jobs" in item] == [f"GET {jobs_path(watchless.namespace)}"]


@pytest.mark.parametrize("named", [100, 2])
async def test_agents_that_begin_at_once_share_a_list(
    watchless: Watchless, monkeypatch: pytest.MonkeyPatch, named: int
) -> None:
    # Given
    monkeypatch.setattr(lister, "MAX_NAMED_AGENTS", named)
    agents = [ref(body) for body in await five_agents(watchless)]
    lists, seen = JobLister(watchless.api), {agent: list[Any]() for agent in agents}
    requests = requests_of(watchless.api, monkeypatch)

    # When they ask at the same time, and again after that
    await asyncio.gather(*(lists.list_jobs(agent, seen[agent].append) for agent in agents))
    assert len(requests) == 1
    await lists.list_jobs(agents[0], seen[agents[0]].append)

    # Then each saw what is its own
    assert len(requests) == 2
    assert [len(found) for found in seen.values()] == [2, 1, 1, 1, 1]
    assert all(owner_uid(job) == agent.uid for agent, found in seen.items() for job in found)


async def test_a_shared_list_that_fails_fails_for_all(
    watchless: Watchless, monkeypatch: pytest.MonkeyPatch
) -> None:
    agents = [AgentRef(watchless.namespace, f"agent-{number}", f"uid-{number}") for number in range(3)]
    lists = JobLister(watchless.api)

    async def refusing(*_: Any, **__: Any) -> Any:
        raise ApiError(403, "no")

    monkeypatch.setattr(watchless.api, "_request", refusing)
    shows = (lists.list_jobs(agent, print) for agent in agents)
    found = await asyncio.gather(*shows, return_exceptions=True)
    monkeypatch.undo()

    assert [type(error) for error in found] == [ApiError] * 3
    await lists.list_jobs(agents[0], print)


async def all_started(watchless: Watchless, count: int) -> bool:
    ledgers = [item.loop.ledger for item in watchless.fleet._running.values()]
    started = [
        t for ledger in ledgers if ledger for t in ledger.pending_tasks.values() if t.phase == "Started"
    ]
    return len(started) == count
