"""Manifests are judged in a process of their own: whatever ends that process is a verdict, and harms nobody else."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from heed.core.compiler.admission import AdmissionRequest, ClusterContext, judge
from heed.kube.webhook import review_pool
from heed.kube.webhook.review_pool import CheckUnavailable, ReviewPool
from tests.integration.waiting import SOON, until

COMMON = {"apiVersion": "heed.dev/v1alpha1", "metadata": {"name": "it", "namespace": "demo"}}
AGENT: dict[str, Any] = {
    **COMMON,
    "kind": "Agent",
    "spec": {"subscribe": [{"type": ">"}], "handlers": [{"name": "h", "type": ">", "when": "true"}]},
}
WRONG = {
    **AGENT,
    "spec": {"subscribe": [{"type": ">"}], "handlers": [{"name": "h", "type": ">", "when": "nothing"}]},
}
POLICY: dict[str, Any] = {**COMMON, "kind": "AgentPolicy", "spec": {"agentSelector": {}, "emissions": []}}
MANY = ClusterContext(policies=[POLICY] * 50_000)  # takes seconds to read


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a process may take long to start."""
    monkeypatch.setattr(review_pool, "REVIEW_HUNG_TIMEOUT_S", SOON)


@asynccontextmanager
async def checking(**options: Any) -> AsyncIterator[ReviewPool]:
    """Checks, and no process left behind."""
    checks = ReviewPool(**options)
    try:
        yield checks
    finally:
        pid = checks.pid
        await checks.close()
        assert pid is None or not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def refusal(checks: ReviewPool, manifest: dict[str, Any], around: ClusterContext | None = None) -> str:
    """Why a manifest is refused; nothing where it is not."""
    verdict = await checks.judge(AdmissionRequest(manifest["kind"], manifest), around or ClusterContext())
    return "\n".join(map(str, verdict.problems))


async def test_verdicts_come_back_from_one_process() -> None:
    async with checking() as checks:
        assert checks.pid is None

        assert await refusal(checks, AGENT) == ""
        pid = checks.pid
        assert 'unknown variable or function "nothing"' in await refusal(checks, WRONG)
        assert await refusal(checks, AGENT) == ""

        assert checks.pid == pid


async def test_a_verdict_brings_its_warnings() -> None:
    foreign = {**AGENT, "spec": {**AGENT["spec"], "subscribe": [{"type": ">", "namespace": "shop"}]}}
    async with checking() as checks:
        verdict = await checks.judge(AdmissionRequest("Agent", AGENT), ClusterContext())
        assert (verdict.problems, verdict.warnings) == ((), ())

        told = await checks.judge(AdmissionRequest("Agent", foreign), ClusterContext())
        assert told == judge(AdmissionRequest("Agent", foreign), ClusterContext())
        assert told.warnings[0].startswith("it waits until it is granted: spec.subscribe[0].namespace")


async def test_what_takes_too_long_is_refused_and_others_are_not() -> None:
    async with checking(cpu=0.3) as checks:
        assert "takes more than 0.3 s of CPU time" in await refusal(checks, AGENT, MANY)

        assert await refusal(checks, AGENT) == ""


async def test_what_takes_too_much_memory_is_refused_and_others_are_not() -> None:
    async with checking(memory=48 * 1024**2, cpu=60) as checks:
        assert "memory" in await refusal(checks, AGENT, MANY)

        assert await refusal(checks, AGENT) == ""


async def test_a_process_that_somebody_killed_is_not_the_manifests_fault() -> None:
    async with checking() as checks:
        await refusal(checks, AGENT)
        assert checks.pid is not None
        os.kill(checks.pid, signal.SIGSTOP)
        asking = asyncio.create_task(refusal(checks, WRONG))
        await asyncio.sleep(0)
        os.kill(checks.pid, signal.SIGKILL)

        assert "nothing" in await asking


async def test_what_ends_two_processes_is_refused() -> None:
    async with checking() as checks:
        asking = asyncio.create_task(refusal(checks, AGENT, MANY))
        for _ in range(2):
            await until(lambda: checks.pid is not None)
            pid = checks.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda pid=pid: asking.done() or checks.pid != pid)

        assert "ended two processes (SIGKILL)" in await asking
        assert await refusal(checks, AGENT) == ""


async def test_an_answer_that_nobody_waits_for_is_nobody_elses() -> None:
    async with checking() as checks:
        await refusal(checks, AGENT)
        asking = asyncio.create_task(refusal(checks, WRONG))
        for _ in range(3):
            await asyncio.sleep(0)
        asking.cancel()

        assert await refusal(checks, AGENT) == ""
        assert asking.cancelled() or asking.done()


async def test_a_mistake_of_ours_refuses_nothing() -> None:
    async with checking() as checks:
        with pytest.raises(CheckUnavailable, match="KeyError"):
            await refusal(checks, AGENT, ClusterContext(policies=[{"spec": {}}]))

        assert await refusal(checks, AGENT) == ""


async def test_many_at_once_wait_for_each_other() -> None:
    async with checking() as checks:
        answers = await asyncio.gather(*(refusal(checks, item) for item in [AGENT, WRONG] * 8))

        assert [bool(answer) for answer in answers] == [False, True] * 8


async def test_without_work_there_is_no_process() -> None:
    async with checking(idle=0.01) as checks:
        await refusal(checks, AGENT)
        await until(lambda: checks.pid is None)

        assert await refusal(checks, AGENT) == ""


async def test_after_the_end_nothing_is_judged() -> None:
    async with checking() as checks:
        await checks.close()

        with pytest.raises(CheckUnavailable, match="no more"):
            await refusal(checks, AGENT)
