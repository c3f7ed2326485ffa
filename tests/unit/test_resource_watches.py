"""The watches of resource tasks: one for each kind in use, shared by all Agents, and who is told what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

import pytest

from heed import names
from heed.core.effects import AgentRef
from heed.core.tasks.resource import ObjectKind
from heed.kube.client import informer
from heed.kube.client.client import ApiError, ApiResponse, KubeApi
from heed.kube.resources.kinds import ServedKind
from heed.kube.resources.watches import ResourceUser, ResourceWatches
from heed.util.backoff import Backoff
from tests.integration.waiting import until

ONE, TWO = AgentRef("demo", "one", "uid-1"), AgentRef("demo", "two", "uid-2")
WIDGETS = ServedKind(ObjectKind("example.com", "v1", "Widget"), "widgets")
GADGETS = ServedKind(ObjectKind("example.com", "v1", "Gadget"), "gadgets")


def thing(name: str, owner: AgentRef = ONE, namespace: str = "demo") -> dict[str, Any]:
    """An object of an Agent."""
    owners = [{"kind": names.KIND, "name": owner.name, "uid": owner.uid, "controller": True}]
    metadata = {"name": name, "namespace": namespace, "uid": f"uid-of-{name}", "resourceVersion": "1"}
    return {"metadata": {**metadata, "ownerReferences": owners}}


class Collections:
    """An API server that lists what it is given, and whose watches never show anything."""

    def __init__(self) -> None:
        self.objects: dict[str, list[dict[str, Any]]] = {}
        self.refused: ApiError | None = None
        self.listed: list[str] = []

    async def get(self, path: str, query: Mapping[str, str]) -> ApiResponse:
        assert query["labelSelector"] == names.LABEL_RESOURCE_OF
        self.listed.append(path)
        if self.refused is not None:
            raise self.refused
        return ApiResponse({"items": self.objects.get(path, []), "metadata": {"resourceVersion": "1"}}, 0)

    async def pages(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Sequence[dict[str, Any]]]:
        yield (await self.get(path, query)).body["items"]

    async def watch(self, path: str, version: str, query: Any = None) -> AsyncIterator[dict[str, Any]]:
        await asyncio.Event().wait()
        yield {}


class Reader:
    """A user of watches, and what it was told."""

    def __init__(self, agent: AgentRef) -> None:
        self.seen: list[tuple[str, bool]] = []
        self.missed: list[ServedKind] = []
        self.user = ResourceUser(
            agent,
            lambda served, body, deleted: self.seen.append((body["metadata"]["name"], deleted)),
            self.missed.append,
        )


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Collections:
    monkeypatch.setattr(informer, "RELIST_BACKOFF", Backoff(0.001, 0.01))
    return Collections()


def watches_on(api: Collections, namespace: str | None = None) -> ResourceWatches:
    return ResourceWatches(cast(KubeApi, api), namespace)


@pytest.mark.parametrize(
    ("namespace", "path"),
    [
        (None, "/apis/example.com/v1/widgets"),
        ("demo", "/apis/example.com/v1/namespaces/demo/widgets"),
    ],
)
async def test_all_agents_share_the_watch_of_a_kind(
    api: Collections, namespace: str | None, path: str
) -> None:
    watches, one, two = watches_on(api, namespace), Reader(ONE), Reader(TWO)
    api.objects[path] = [thing("a"), thing("b", TWO), thing("c", ONE, "elsewhere"), thing("d")]

    watches.hold(WIDGETS, one.user)
    await watches.wait_until_listed(WIDGETS)
    watches.hold(WIDGETS, two.user)
    watches.hold(WIDGETS, two.user)

    assert (one.seen, two.seen) == ([("a", False), ("d", False)], [("b", False)])
    assert api.listed == [path]
    assert watches.lists(WIDGETS, "demo", "a")
    assert not watches.lists(WIDGETS, "demo", "z")
    assert not watches.lists(GADGETS, "demo", "a")
    watches.close()


async def test_a_watch_ends_with_its_last_user(api: Collections) -> None:
    watches, one, two = watches_on(api), Reader(ONE), Reader(TWO)
    watches.hold(WIDGETS, one.user)
    watches.hold(GADGETS, one.user)
    watches.hold(GADGETS, two.user)
    watches.hold(WIDGETS, Reader(AgentRef("demo", "three", "uid-3")).user)

    watches.release(one.user, kept=[WIDGETS])
    assert watches.kinds == [WIDGETS, GADGETS]
    watches.release(two.user)
    assert watches.kinds == [WIDGETS]
    watches.release(Reader(ONE).user)  # of an earlier loop of the same Agent
    watches.release(one.user)
    assert watches.kinds == [WIDGETS]
    watches.close()
    assert watches.kinds == []


async def test_a_resync_tells_of_every_object_and_returns_what_was_listed_whole(
    api: Collections, caplog: pytest.LogCaptureFixture
) -> None:
    watches, one = watches_on(api), Reader(ONE)
    watches.hold(WIDGETS, one.user)
    await watches.wait_until_listed(WIDGETS)
    api.objects["/apis/example.com/v1/widgets"] = [thing("a"), thing("b", TWO)]

    assert await watches.relist() == {WIDGETS: {("demo", "a"), ("demo", "b")}}
    assert one.seen == [("a", False)]

    api.refused = ApiError(403, "no")
    assert await watches.relist() == {}
    assert "cannot list objects" in caplog.text
    watches.close()


@pytest.mark.parametrize(("status", "told"), [(404, True), (403, False), (500, False)])
async def test_users_hear_of_a_kind_that_is_not_found(api: Collections, status: int, told: bool) -> None:
    watches, one = watches_on(api), Reader(ONE)
    api.refused = ApiError(status, "no")

    watches.hold(WIDGETS, one.user)
    await until(lambda: len(api.listed) > 2)

    assert (one.missed[:1] == [WIDGETS]) is told
    watches.close()


async def test_a_watch_that_breaks_is_logged_and_begun_again_by_the_resync(
    api: Collections, caplog: pytest.LogCaptureFixture
) -> None:
    watches, one = watches_on(api), Reader(ONE)
    api.objects["/apis/example.com/v1/widgets"] = [{}]

    watches.hold(WIDGETS, one.user)

    await until(lambda: "a watch has ended" in caplog.text)
    api.objects["/apis/example.com/v1/widgets"] = [thing("a")]
    await watches.relist()
    await watches.wait_until_listed(WIDGETS)

    assert one.seen == [("a", False), ("a", False)]
    assert watches.lists(WIDGETS, "demo", "a")
    watches.close()
