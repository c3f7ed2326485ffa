"""The writer of `Accepted`: what was said last is written on top of what was seen last, and no more than that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from heed.kube.client.client import ApiError, ApiResponse, KubeApi
from heed.kube.status import condition_writer
from heed.kube.status.accepted import Judgement
from heed.kube.status.accepted_writer import AcceptedWriter
from heed.util.backoff import Backoff
from tests.integration.waiting import until

PATH = "/apis/heed.dev/v1alpha1/namespaces/demo/agentpolicies/strict/status"
YES, NO = Judgement(True, "Accepted", "it is in force"), Judgement(False, "Invalid", "spec: is wrong")


class Objects(KubeApi):
    """Takes merge patches once it is `open`; `trouble` is raised before."""

    def __init__(self) -> None:
        self.patches: list[tuple[str, Any]] = []
        self.trouble: list[ApiError] = []
        self.tries = 0
        self.open = asyncio.Event()
        self.open.set()

    async def merge(self, path: str, patch: Any) -> ApiResponse:
        self.tries += 1
        await self.open.wait()
        if self.trouble:
            raise self.trouble.pop(0)
        self.patches.append((path, patch))
        return ApiResponse({"metadata": {**patch["metadata"], "resourceVersion": "99"}}, 1)

    def said(self) -> list[tuple[str, str]]:
        """On top of which versions, with which reasons."""
        return [
            (patch["metadata"]["resourceVersion"], patch["status"]["conditions"][0]["reason"])
            for _, patch in self.patches
        ]


class Desk:
    """A writer, what it writes to, and the objects that it shows after writes."""

    def __init__(self) -> None:
        self.api, self.wrote = Objects(), list[Any]()
        self.writer = AcceptedWriter(self.api, self.wrote.append)

    def say(self, version: int, judgement: Judgement, uid: str = "uid-1", **status: Any) -> None:
        metadata = {"namespace": "demo", "name": "strict", "uid": uid, "generation": 2}
        body = {"metadata": {**metadata, "resourceVersion": str(version)}, "status": status}
        self.writer.set_judgement("agentpolicies", body, judgement)

    async def quiet(self) -> None:
        await until(lambda: not self.writer._writers)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(condition_writer, "WRITE_BACKOFF", Backoff(0.001, 0.001))
    return Desk()


async def test_a_judgement_is_written_fenced_by_what_was_seen_and_shown(desk: Desk) -> None:
    desk.say(7, NO)
    await desk.quiet()

    ((path, patch),) = desk.api.patches
    assert path == PATH
    assert patch["metadata"] == {"uid": "uid-1", "resourceVersion": "7"}
    assert patch["status"]["observedGeneration"] == 2
    assert [item["metadata"]["resourceVersion"] for item in desk.wrote] == ["99"]


async def test_what_the_object_says_already_is_not_written(desk: Desk) -> None:
    desk.say(7, NO)
    await desk.quiet()
    ((_, patch),) = desk.api.patches

    desk.say(8, NO, **patch["status"])
    await desk.quiet()

    assert desk.api.tries == 1
    assert desk.writer._wanted == {}


async def test_a_judgement_based_on_a_late_sight_is_written_on_top_of_the_latest_one(desk: Desk) -> None:
    desk.api.open.clear()
    desk.say(9, NO)
    await until(lambda: desk.api.tries == 1)

    desk.say(8, YES)  # of a list that was under way
    desk.api.open.set()
    await desk.quiet()

    assert desk.api.said() == [("9", "Invalid"), ("9", "Accepted")]


async def test_a_later_judgement_takes_the_place_of_one_that_waits(desk: Desk) -> None:
    desk.api.open.clear()
    desk.say(7, NO)
    await until(lambda: desk.api.tries == 1)

    for version, judgement in ((8, YES), (9, NO), (10, YES)):
        desk.say(version, judgement)
    desk.api.open.set()
    await desk.quiet()

    assert desk.api.said() == [("7", "Invalid"), ("10", "Accepted")]


async def test_one_that_is_there_by_now_need_not_be_written_any_more(desk: Desk) -> None:
    desk.say(7, NO)
    await desk.quiet()
    ((_, patch),) = desk.api.patches
    desk.api.trouble.append(ApiError(409, "the object has been modified"))
    desk.api.open.clear()
    desk.say(8, NO)
    await until(lambda: desk.api.tries == 2)

    desk.say(9, NO, **patch["status"])
    desk.api.open.set()
    await desk.quiet()

    assert desk.api.tries == 2


@pytest.mark.parametrize("gone", ["seen", "found out"])
async def test_of_an_object_that_is_gone_nothing_is_written(desk: Desk, gone: str) -> None:
    desk.api.trouble.append(ApiError(404 if gone == "found out" else 500, "no"))
    desk.api.open.clear()
    desk.say(7, NO)
    await until(lambda: desk.api.tries == 1)

    if gone == "seen":
        desk.writer.forget("uid-1")
    desk.api.open.set()
    await desk.quiet()

    assert desk.api.tries == 1
    assert desk.writer._wanted == {}


async def test_objects_are_told_apart_by_their_uids(desk: Desk) -> None:
    desk.api.open.clear()
    for uid in ("uid-1", "uid-2"):
        desk.say(7, NO, uid)
    desk.writer.forget("uid-2")
    desk.api.open.set()
    await desk.quiet()

    assert [patch["metadata"]["uid"] for _, patch in desk.api.patches] == ["uid-1"]


async def test_only_so_many_are_written_at_once(desk: Desk) -> None:
    desk.api.open.clear()
    for number in range(20):
        desk.say(7, NO, f"uid-{number}")
    await until(lambda: desk.api.tries >= 8)
    for _ in range(20):
        await asyncio.sleep(0)
    assert desk.api.tries == 8

    desk.api.open.set()
    await desk.quiet()
    assert len(desk.api.patches) == 20


async def test_a_write_that_fails_is_logged_and_made_later_but_a_conflict_is_nothing_to_tell(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.api.trouble += [ApiError(409, "the object has been modified"), ApiError(403, "no")]

    desk.say(7, NO)
    await desk.quiet()

    assert desk.api.said() == [("7", "Invalid")]
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("heed.rules", "WARNING")
    assert record.getMessage() == "cannot write the condition Accepted"
    fields = {"object": PATH.removesuffix("/status"), "reason": "Invalid", "error": "403: no"}
    assert {name: getattr(record, name) for name in fields} == fields
    assert not record.exc_info


async def test_after_the_end_nothing_is_written(desk: Desk) -> None:
    desk.api.open.clear()
    desk.say(7, NO)
    await until(lambda: desk.api.tries == 1)

    await desk.writer.close()
    desk.api.open.set()
    await asyncio.sleep(0)

    assert (desk.api.patches, desk.writer._writers) == ([], {})
