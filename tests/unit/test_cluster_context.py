"""How much of a cluster is read to judge one manifest. The API server is one that only lists Agents."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from heed import names
from heed.core.compiler.admission import AdmissionRequest, ClusterContext
from heed.kube.client.client import ApiError, ApiResponse, KubeApi, objects_path
from heed.kube.webhook.cluster_context import (
    FIRST_PAGE_SIZE,
    MAX_CONTEXT_AGENTS,
    MAX_CONTEXT_BYTES,
    ClusterContextReader,
)
from tests.unit.apiserver import ApiServer


def granted(*namespaces: str) -> AdmissionRequest:
    """A grant that is about to become another one."""
    return AdmissionRequest(
        names.EVENT_GRANT, {}, {"spec": {"from": [{"namespace": name} for name in namespaces]}}
    )


class Lists:
    """Agents of some size, so many in each namespace."""

    def __init__(self, size: int, **count: int) -> None:
        self.size, self.count = size, count
        self.limits: list[int] = []
        self.most = self.under_way = 0

    async def get(self, path: str, query: Mapping[str, str]) -> ApiResponse:
        namespace = path.split("/")[-2]
        begin, limit = int(query.get("continue", 0)), int(query["limit"])
        end = min(begin + limit, self.count[namespace])
        self.limits.append(limit)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        items = [{"metadata": {"name": str(number)}, "status": {"much": 1}} for number in range(begin, end)]
        more = {"continue": str(end)} if end < self.count[namespace] else {}
        return ApiResponse({"items": items, "metadata": more}, len(items) * self.size)

    async def pages(self, path: str) -> Any:
        yield []


async def around(lists: Lists) -> ClusterContext:
    return await ClusterContextReader(lists).read_context(granted(*lists.count), "shop")  # type: ignore[arg-type]


async def test_all_agents_are_looked_at_without_their_ledgers() -> None:
    lists = Lists(10_000, a=30, b=0, c=20)

    found = await around(lists)

    assert [item["metadata"]["name"] for item in found.agents] == [*map(str, range(30)), *map(str, range(20))]
    assert found.complete
    assert not any("status" in item for item in found.agents)


@pytest.mark.parametrize(("a", "complete"), [(MAX_CONTEXT_AGENTS, True), (MAX_CONTEXT_AGENTS + 1, False)])
async def test_so_many_agents_are_looked_at(a: int, complete: bool) -> None:
    found = await around(Lists(1_000, a=a))

    assert (len(found.agents) >= MAX_CONTEXT_AGENTS, found.complete) == (True, complete)


async def test_large_agents_come_in_small_pages_and_end_the_look_early() -> None:
    lists = Lists(1_000_000, a=100, b=1, c=1)

    found = await around(lists)

    assert not found.complete
    assert len(found.agents) * lists.size < MAX_CONTEXT_BYTES + FIRST_PAGE_SIZE * lists.size
    assert lists.limits[0] == FIRST_PAGE_SIZE and max(lists.limits[1:], default=1) <= 2


async def test_requests_that_come_at_once_look_one_after_the_other() -> None:
    lists = Lists(1_000, a=50)
    surroundings = ClusterContextReader(lists)  # type: ignore[arg-type]

    await asyncio.gather(*(surroundings.read_context(granted("a"), "shop") for _ in range(4)))

    assert lists.most == 1


# ── of which kinds, and of whose ────────────────────────────────────────────────────────────────────────────────────


KINDS = [names.KIND, names.AGENT_POLICY, names.EVENT_GRANT, names.EVENT_TYPE]


@pytest.fixture
def everything(server: ApiServer) -> ApiServer:
    """One object of each kind, named like its namespace, in each of three namespaces."""
    for namespace in ("a", "b", "shop"):
        for kind in KINDS:
            path = objects_path(names.PLURALS[kind], namespace)
            server.add(f"{path}/{namespace}", spec={"of": kind}, status={"much": 1})
    return server


async def seen(server: ApiServer, request: AdmissionRequest) -> dict[str, list[tuple[str, str]]]:
    """Of each kind of object that is around: the kind that its spec says, and its namespace."""
    found = await ClusterContextReader(server.connect(KubeApi)).read_context(request, "shop")
    kinds = {"policies": found.policies, "grants": found.grants, "types": found.types, "agents": found.agents}
    assert all(
        set(item) == {"apiVersion", "kind", "metadata", "spec"} for items in kinds.values() for item in items
    )
    return {
        name: [(item["kind"], item["metadata"]["namespace"]) for item in items]
        for name, items in kinds.items()
        if items
    }


@pytest.mark.parametrize(
    ("subscribe", "granting"),
    [
        ([{"namespace": "b"}, {"namespace": "a"}, {"namespace": "b"}, {}], ["a", "b"]),
        ([{"namespace": "shop"}], []),
        ([{"namespace": "Not a name"}, {"namespace": 7}, "a"], []),
        ({"namespace": "a"}, []),
        (None, []),
    ],
)
async def test_an_agent_is_judged_by_its_policies_and_by_grants_of_those_it_hears(
    everything: ApiServer, subscribe: Any, granting: list[str]
) -> None:
    found = await seen(everything, AdmissionRequest(names.KIND, {"spec": {"subscribe": subscribe}}))

    grants = [(names.EVENT_GRANT, namespace) for namespace in granting]
    assert found == {
        "policies": [(names.AGENT_POLICY, "shop")],
        **({"grants": grants} if grants else {}),
    }


@pytest.mark.parametrize("kind", KINDS)
async def test_an_object_without_a_spec_is_no_reason_to_break(everything: ApiServer, kind: str) -> None:
    found = await seen(everything, AdmissionRequest(kind, {}, {}))

    expected = {
        names.KIND: {"policies": [(names.AGENT_POLICY, "shop")]},
        names.AGENT_POLICY: {"policies": [(names.AGENT_POLICY, "shop")], "agents": [(names.KIND, "shop")]},
        names.EVENT_GRANT: {"grants": [(names.EVENT_GRANT, "shop")]},
        names.EVENT_TYPE: {"types": [(names.EVENT_TYPE, "shop")]},
    }
    assert found == expected[kind]


async def test_a_grant_that_changes_matters_to_those_it_named(everything: ApiServer) -> None:
    assert await seen(everything, granted("b", "a")) == {
        "grants": [(names.EVENT_GRANT, "shop")],
        "agents": [(names.KIND, "a"), (names.KIND, "b")],
    }


@pytest.mark.parametrize(
    "request_", [AdmissionRequest(names.EVENT_GRANT, {}), AdmissionRequest("ConfigMap", {}, {})]
)
async def test_nothing_is_read_for_what_nothing_can_break(
    everything: ApiServer, request_: AdmissionRequest
) -> None:
    assert await seen(everything, request_) == {}
    assert everything.asked == []


async def test_a_kind_that_is_not_there_has_no_objects(everything: ApiServer) -> None:
    everything.refuse = lambda method, path: 404 if names.PLURALS[names.AGENT_POLICY] in path else None
    assert await seen(everything, AdmissionRequest(names.KIND, {})) == {}

    everything.refuse = lambda method, path: 403
    with pytest.raises(ApiError):
        await seen(everything, AdmissionRequest(names.KIND, {}))


@pytest.mark.parametrize("kind", names.GATEWAY_KINDS)
async def test_the_policies_of_its_namespace_matter_to_a_gateways_object(
    server: ApiServer, kind: str
) -> None:
    for namespace in ("shop", "else"):
        server.add(f"{objects_path(names.AGENT_POLICIES, namespace)}/strict", spec={"agentSelector": {}})

    reader = ClusterContextReader(server.connect(KubeApi))
    found = await reader.read_context(AdmissionRequest(kind, {}), "shop")

    assert [item["metadata"]["namespace"] for item in found.policies] == ["shop"]
    assert not found.agents
