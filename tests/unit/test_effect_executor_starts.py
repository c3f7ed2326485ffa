"""Starts of tasks: how many at once, what is refused, and when one is given up."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from heed import names
from heed.core.effects import StartTask
from heed.engine.effect_executor import MAX_CONCURRENT_STARTS
from heed.errors import TaskRefused, TaskUnavailable
from tests.builders.agents import job, program
from tests.builders.decisions import after, only_task
from tests.builders.events import received
from tests.builders.policies import allowed_by, policy
from tests.integration.waiting import until
from tests.unit.inmemory import AGENT, INBOX, Bench, pending, start, turns, with_tasks

# ── starts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_no_more_starts_at_once_than_so_many(bench: Bench) -> None:
    bench.runner.open.clear()
    bench.executor().perform([start(f"t-{number}") for number in range(MAX_CONCURRENT_STARTS + 3)])
    await turns()

    assert bench.runner.at_once == MAX_CONCURRENT_STARTS
    bench.runner.open.set()
    await turns()
    assert len(bench.runner.started) == MAX_CONCURRENT_STARTS + 3
    assert {work.agent for work, _ in bench.runner.started} == {AGENT}


async def test_a_start_that_is_refused_ends_the_task_and_is_made(bench: Bench) -> None:
    bench.runner.trouble.append(TaskRefused("Invalid", "no such image"))
    executor = bench.executor()
    executor.perform([effect := start()])
    await turns()

    ((subject, event),) = bench.bus.published
    assert subject == INBOX + names.TASK_FAILED
    assert event.id == names.digest("refused", "t-1")
    assert event.data == {"task": "work", "reason": "Invalid", "message": "no such image", "attempt": 1}
    assert abs(datetime.now(UTC) - datetime.fromisoformat(str(event.time))) < timedelta(hours=1)
    assert [(end.completed, end.reason) for _, end in bench.watcher.ends] == [(False, "Invalid")]
    assert executor.take_settled() == [effect]


async def test_what_no_cluster_takes_is_refused_and_removed(bench: Bench) -> None:
    ledger = after(
        program({"start": [{"task": "work"}]}, tasks={"work": job("${event.data}")}), received(1, data=7)
    )
    task_id = only_task(ledger)

    bench.executor().perform([StartTask(task_id, ledger.pending_tasks[task_id])])
    await turns()

    assert bench.runner.happened == [("cancel", task_id)]
    ((type_, subject, data),) = bench.ends()
    assert (type_, subject, data["reason"]) == (names.TASK_FAILED, task_id, "InvalidJob")


@pytest.mark.parametrize(
    ("spec", "refused"),
    [
        ({"tasks": {"kinds": []}}, "task of kind job"),
        ({"tasks": {"images": ["other/*"]}}, "image example/work:1"),
        ({"emissions": [{"type": "com.other.>"}]}, "emission of com.example.said by a task"),
        ({"tasks": {"kinds": ["job"], "images": ["example/*"]}, "emissions": [{"type": "com.>"}]}, None),
    ],
)
async def test_what_a_policy_of_now_does_not_allow_is_refused_and_removed(
    bench: Bench, spec: dict[str, Any], refused: str | None
) -> None:
    record = start().record
    owed = {**json.loads(record.owed or ""), "publish": ["com.example.said"]}

    bench.executor(allowed_by(policy(**spec))).perform(
        [StartTask("t-1", replace(record, owed=json.dumps(owed)))]
    )
    await turns()

    assert bench.runner.happened == [("start" if refused is None else "cancel", "t-1")]
    if refused is None:
        assert bench.bus.published == []
    else:
        ((_, subject, data),) = bench.ends()
        assert (subject, data["reason"]) == ("t-1", "PolicyViolation")
        assert data["message"].startswith(f"AgentPolicy demo/strict allows no {refused}; ")


async def test_a_start_is_given_up_where_the_ledger_does_not_owe_it(bench: Bench) -> None:
    executor = bench.executor()
    bench.runner.trouble.extend(TaskUnavailable("no") for _ in range(4))
    executor.perform([start("owed"), start("started"), start("cancelled"), start("ended")])
    await turns()

    executor.update_ledger(
        with_tasks(owed=pending(), started=pending("Started"), cancelled=pending("Cancelling"))
    )
    await until(lambda: bool(bench.runner.started) and executor.has_room(1))

    assert [work.id for work, _ in bench.runner.started] == ["owed"]
    assert [effect.id for _, effect in bench.watcher.effects] == ["owed"]


async def test_one_that_still_waits_for_its_turn_is_not_begun_once_it_is_given_up(bench: Bench) -> None:
    bench.runner.open.clear()
    executor = bench.executor()
    executor.perform([start(f"t-{number}") for number in range(MAX_CONCURRENT_STARTS + 1)])
    await turns()

    executor.update_ledger(
        with_tasks(**{f"t-{number}": pending() for number in range(MAX_CONCURRENT_STARTS)})
    )
    bench.runner.open.set()
    await turns()

    assert len(bench.runner.started) == MAX_CONCURRENT_STARTS
    assert len(executor.take_settled()) == MAX_CONCURRENT_STARTS
