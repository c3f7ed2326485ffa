"""The informer against a real API server."""

import asyncio
from collections.abc import Callable

import pytest

from heed.kube.client.client import KubeApi
from heed.kube.client.informer import Informer
from heed.util.aio import stop
from tests.cluster.watchless import Watchless
from tests.patience import PATIENCE

pytestmark = pytest.mark.cluster
LARGE = "x" * 300_000  # more than one read of a connection returns


async def until(holds: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110, what is waited for happens in another process
            await asyncio.sleep(0.02)


async def test_objects_are_known_from_the_list_and_from_the_watch(watchless: Watchless) -> None:
    api: KubeApi = watchless.api
    path = f"/api/v1/namespaces/{watchless.namespace}/configmaps"

    async def make(name: str, labels: dict[str, str]) -> None:
        await api.create(path, {"metadata": {"name": name, "labels": labels}, "data": {"large": LARGE}})

    await make("listed", {"mine": "yes"})
    informer = Informer(api, path, query={"labelSelector": "mine=yes"})
    following = asyncio.create_task(informer.run())
    try:
        await until(informer.synced.is_set)
        assert [name for _, name in informer.objects] == ["listed"]
        await make("other", {})
        await make("watched", {"mine": "yes"})
        await until(lambda: (watchless.namespace, "watched") in informer.objects)
        assert informer.objects[(watchless.namespace, "watched")]["data"]["large"] == LARGE
        await api.merge(f"{path}/watched", {"data": {"small": "1"}})
        await until(lambda: "small" in informer.objects[(watchless.namespace, "watched")]["data"])
        await api.merge(f"{path}/listed", {"metadata": {"labels": {"mine": "no"}}})
        await api.delete(f"{path}/watched")
        await until(lambda: not informer.objects)
    finally:
        await stop(following)
