"""An informer against an API server that is played: what it does when a watch ends, expires or fails."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from heed.kube.client import informer as informers
from heed.kube.client.client import ApiError, ApiResponse, KubeApi
from heed.kube.client.informer import Informer
from heed.util.aio import stop
from heed.util.backoff import Backoff
from tests.patience import PATIENCE

Object = dict[str, Any]
PATH = "/api/v1/configmaps"


def thing(name: str, version: int, namespace: str = "demo") -> Object:
    """An object."""
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
        }
    }


class PlayedApi:
    """Lists what `lists` says, page by page; its watches send what a test puts into `events`."""

    def __init__(self) -> None:
        self.lists: list[list[list[Object]] | ApiError] = []
        self.events: asyncio.Queue[Object | Exception | None] = asyncio.Queue()
        self.watched: list[str] = []

    async def get(self, path: str, query: Mapping[str, str]) -> ApiResponse:
        assert path == PATH
        pages = self.lists[0]
        if isinstance(pages, ApiError):
            self.lists.pop(0)
            raise pages
        page = int(query.get("continue", "0"))
        last = page + 1 == len(pages)
        if last:
            self.lists.pop(0)
        metadata = {"resourceVersion": "100"} | ({} if last else {"continue": str(page + 1)})
        return ApiResponse({"items": pages[page] or None, "metadata": metadata}, 0)

    async def watch(self, path: str, version: str, query: Mapping[str, str]) -> AsyncIterator[Object]:
        self.watched.append(version)
        while (event := await self.events.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> PlayedApi:
    """Nothing to list yet. No pauses."""
    monkeypatch.setattr(informers, "RELIST_BACKOFF", Backoff(first_s=0.0, last_s=0.0))
    monkeypatch.setattr(informers, "WATCH_PAUSE_S", 0.0)
    return PlayedApi()


class Seen:
    """What an observer is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bool]] = []

    def __call__(self, body: Mapping[str, Any], deleted: bool) -> None:
        if body["metadata"]["name"] == "cursed":
            raise ValueError("cannot be read")
        self.told.append((body["metadata"]["name"], deleted))

    async def until(self, *told: tuple[str, bool]) -> None:
        """Wait until this was told, in this order, and nothing else."""
        async with asyncio.timeout(PATIENCE):
            while len(self.told) < len(told):  # noqa: ASYNC110, what is told is of the test's own
                await asyncio.sleep(0.001)
        assert self.told == list(told)


@asynccontextmanager
async def following(api: PlayedApi, seen: Seen) -> AsyncIterator[Informer]:
    """An informer at work."""
    made = Informer(cast(KubeApi, api), PATH, seen)
    task = asyncio.create_task(made.run())
    yield made
    await stop(task)


async def test_all_pages_are_listed_and_then_followed(api: PlayedApi) -> None:
    api.lists, seen = [[[thing("a", 1)], [thing("b", 2)]]], Seen()
    async with following(api, seen) as informer:
        await seen.until(("a", False), ("b", False))
        assert informer.synced.is_set() and informer.missing() is None
        api.events.put_nowait({"type": "ADDED", "object": thing("c", 101)})
        api.events.put_nowait({"type": "MODIFIED", "object": thing("a", 102)})
        api.events.put_nowait({"type": "DELETED", "object": thing("b", 103)})
        await seen.until(("a", False), ("b", False), ("c", False), ("a", False), ("b", True))
        assert set(informer.objects) == {("demo", "a"), ("demo", "c")}
    assert api.watched == ["100"]


async def test_a_watch_that_ends_goes_on_where_it_was(api: PlayedApi) -> None:
    api.lists, seen = [[[]]], Seen()
    async with following(api, seen):
        api.events.put_nowait({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "150"}}})
        api.events.put_nowait(None)
        api.events.put_nowait({"type": "ADDED", "object": thing("a", 151)})
        await seen.until(("a", False))
    assert api.watched == ["100", "150"]


@pytest.mark.parametrize("error", [ApiError(410, "too old"), ApiError(0, "no answer")])
async def test_after_an_error_what_changed_and_what_is_gone_is_found(
    api: PlayedApi, error: Exception
) -> None:
    first, second = [[thing("a", 1), thing("b", 2), thing("c", 3)]], [[thing("a", 1), thing("c", 4)]]
    api.lists, seen = [first, second], Seen()
    async with following(api, seen) as informer:
        await seen.until(("a", False), ("b", False), ("c", False))
        api.events.put_nowait(error)
        await seen.until(("a", False), ("b", False), ("c", False), ("b", True), ("c", False))
        assert set(informer.objects) == {("demo", "a"), ("demo", "c")}


async def test_what_cannot_be_listed_is_said_and_listed_later(api: PlayedApi) -> None:
    seen = Seen()
    refused = ApiError(403, "not you")
    api.lists = [refused, [[thing("a", 1)]]]
    informer = Informer(cast(KubeApi, api), PATH, seen)
    assert informer.missing() == f"{PATH} is not listed yet"
    informer._error = refused
    assert informer.missing() == f"cannot list {PATH}: 403: not you"
    task = asyncio.create_task(informer.run())
    await seen.until(("a", False))
    assert informer.missing() is None
    await stop(task)


async def test_an_observer_that_breaks_ends_nothing(api: PlayedApi) -> None:
    api.lists, seen = [[[thing("cursed", 1)]]], Seen()
    async with following(api, seen):
        api.events.put_nowait({"type": "ADDED", "object": thing("a", 102)})
        await seen.until(("a", False))
