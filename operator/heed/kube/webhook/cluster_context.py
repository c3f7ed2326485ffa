"""Reads the objects of the cluster that a review depends on, on demand and within bounds."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

from heed import names
from heed.api.policy import MAX_POLICY_ITEMS
from heed.core.compiler.admission import AdmissionRequest, ClusterContext
from heed.kube.client.client import ApiError, KubeApi, objects_path

MAX_CONTEXT_AGENTS: Final = 300  # that a policy or a grant may concern
MAX_CONTEXT_BYTES: Final = 8 * 1024**2  # of them, with their ledgers, which may be large
CONTEXT_PAGE_BYTES: Final = 2 * 1024**2
CONTEXT_PAGE_SIZE: Final = 100
FIRST_PAGE_SIZE: Final = 8  # while their size is unknown
Body = dict[str, Any]


class ClusterContextReader:
    """Reads the context for each request; nothing is cached."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._turn = asyncio.Lock()

    async def read_context(self, request: AdmissionRequest, namespace: str) -> ClusterContext:
        """The context for a request on an object of a namespace. Raises ApiError."""
        match request.kind:
            case names.KIND:
                others = [item for item in _heard(request.new) if item != namespace]
                policies, grants = await asyncio.gather(
                    self._all(names.AGENT_POLICY, namespace), self._all(names.EVENT_GRANT, *others)
                )
                return ClusterContext(policies=policies, grants=grants)
            case names.AGENT_POLICY:
                policies = await self._all(names.AGENT_POLICY, namespace)
                agents, complete = await self._agents([namespace])
                return ClusterContext(policies=policies, agents=agents, complete=complete)
            case names.EVENT_GRANT if request.old is not None:
                grants = await self._all(names.EVENT_GRANT, namespace)
                agents, complete = await self._agents(_granted(request.old))
                return ClusterContext(grants=grants, agents=agents, complete=complete)
            case names.EVENT_SOURCE | names.SUBSCRIPTION:
                return ClusterContext(policies=await self._all(names.AGENT_POLICY, namespace))
            case names.EVENT_TYPE:
                return ClusterContext(types=await self._all(names.EVENT_TYPE, namespace))
        return ClusterContext()

    async def _all(self, kind: str, *namespaces: str) -> list[Body]:
        """All objects of some namespaces; none where the kind is not installed. Raises ApiError."""
        found = list[Body]()
        for namespace in namespaces:
            try:
                async for page in self._api.pages(objects_path(names.PLURALS[kind], namespace)):
                    found += (_slim(item, kind) for item in page)
            except ApiError as error:
                if error.status != 404:
                    raise
        return found

    async def _agents(self, namespaces: Iterable[str]) -> tuple[list[Body], bool]:
        """Agents of some namespaces, within bounds, for one request at a time; and whether those are all."""
        found, size = list[Body](), 0
        async with self._turn:
            for namespace in namespaces:
                query: dict[str, str] = {}
                while True:
                    if len(found) >= MAX_CONTEXT_AGENTS or size >= MAX_CONTEXT_BYTES:
                        return found, False
                    query["limit"] = str(_page(len(found), size))
                    answer = await self._api.get(objects_path(names.PLURAL, namespace), query)
                    found += (_slim(item, names.KIND) for item in answer.body["items"] or [])
                    size += answer.size
                    if not (more := answer.body["metadata"].get("continue")):
                        break
                    query["continue"] = more
        return found, True


def _page(count: int, size: int) -> int:
    """The size of the next page of Agents, where `count` had `size` bytes."""
    return (
        max(1, min(CONTEXT_PAGE_SIZE, MAX_CONTEXT_AGENTS - count, CONTEXT_PAGE_BYTES * count // size))
        if count
        else FIRST_PAGE_SIZE
    )


def _heard(agent: Mapping[str, Any]) -> list[str]:
    """The namespaces that an Agent's subscriptions name."""
    return _namespaces((agent.get("spec") or {}).get("subscribe"))


def _granted(grant: Mapping[str, Any]) -> list[str]:
    """The namespaces that a grant names."""
    return _namespaces((grant.get("spec") or {}).get("from"))


def _namespaces(items: Any) -> list[str]:
    """The namespaces in a manifest's list, which is not validated yet."""
    listed = items if isinstance(items, list) else []
    found = {item.get("namespace") for item in listed[:MAX_POLICY_ITEMS] if isinstance(item, dict)}
    return sorted(item for item in found if isinstance(item, str) and names.is_name(item))


def _slim(item: Body, kind: str) -> Body:
    """An object without the parts that reviews do not use."""
    metadata = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": metadata, "spec": item.get("spec")}
