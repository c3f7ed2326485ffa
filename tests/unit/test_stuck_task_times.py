"""When a Job began to wait, and when it is looked into again."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import pytest

from heed.kube.controller import stuck_tasks
from heed.kube.controller.stuck_tasks import _has_retried, _since
from tests.unit.test_stuck_tasks import AGENT, FOREVER, active_job, world

BEGAN, MADE = "2026-11-01T12:00:10Z", "2026-11-01T12:00:00Z"


@pytest.mark.parametrize(
    ("status", "since"),
    [
        (None, MADE),
        ({}, MADE),
        ({"active": 1, "failed": 0}, MADE),
        ({"startTime": BEGAN, "terminating": 0}, BEGAN),
        ({"startTime": BEGAN, "failed": 1}, None),
        ({"startTime": BEGAN, "succeeded": 1}, None),
        ({"startTime": BEGAN, "terminating": 1}, None),
    ],
)
def test_a_job_waits_since_it_began_and_from_now_on_where_pods_of_it_have_ended(
    status: Any, since: str | None
) -> None:
    job, before = {"metadata": {"creationTimestamp": MADE}, "status": status}, time.time()

    assert _has_retried(job) is (since is None)
    if since is None:
        assert before <= _since(job) <= time.time()
    else:
        assert _since(job) == datetime.fromisoformat(since).timestamp()


async def test_what_is_looked_into_again_is_looked_into_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stuck_tasks, "loop_time", lambda: 1000.0)
    with world(FOREVER) as w:
        w.overdue.note_job(AGENT, active_job())
        (item,) = w.overdue._waiting.values()
        pauses = []

        for _ in range(6):
            await w.overdue._look("demo", [item])
            pauses.append((item.due - 1000.0) / FOREVER)

    assert pauses == [1, 2, 4, 8, 10, 10]
