"""Which Agents are compiled again, when, and what is said after that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from heed.kube.controller import recompile
from heed.kube.controller.policy_cache import PolicyCache
from heed.kube.controller.recompile import Recompiler, without_ledger
from tests.integration.waiting import until
from tests.unit.test_policy_cache import ALL, Object, Objects, quiet, seen_agent

Name = tuple[str, str]


class Desk:
    """A review of Agents that are compiled when a test says so."""

    def __init__(self) -> None:
        self.api = Objects()
        self.rules = PolicyCache(self.api)
        self.review = Recompiler(self.rules, self._again)
        self.asked: list[Name] = []
        self.open = asyncio.Event()
        self.open.set()
        self.working: list[asyncio.Task[None]] = []

    def see(self, name: str, namespace: str = "demo") -> None:
        """An Agent that runs."""
        body = seen_agent(namespace, name)
        self.review.note_agent((namespace, name), body)
        self.review.compile_inputs((namespace, name), body)

    def show(self, body: Object) -> None:
        assert self.rules.observe(body)
        self.review.schedule()

    async def done(self) -> None:
        """Until everything has been looked at."""
        await until(lambda: self.review._reviewing is None or self.review._reviewing.done())

    def _again(self, name: Name, body: Mapping[str, Any]) -> asyncio.Task[None]:
        self.asked.append(name)
        task = asyncio.create_task(self._compile(name, body))
        self.working.append(task)
        return task

    async def _compile(self, name: Name, body: Mapping[str, Any]) -> None:
        await self.open.wait()
        self.review.compile_inputs(name, body)


@pytest.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(recompile, "DEBOUNCE_S", 0.02)
    monkeypatch.setattr(recompile, "RETRY_DELAY_S", 0.001)
    desk = Desk()
    yield desk
    desk.open.set()
    await desk.review.close()
    await desk.rules.close()
    await asyncio.gather(*desk.working)


async def test_only_agents_with_another_basis_are_compiled_anew_and_once_for_a_burst(desk: Desk) -> None:
    # Given
    for namespace in ("demo", "other"):
        desk.see("it", namespace)
        desk.see("that", namespace)

    # When
    for number in range(10):
        desk.show(desk.api.add("AgentPolicy", f"p-{number}", **ALL, emissions=[{"type": ">"}]))
    desk.show(desk.api.add("AgentPolicy", "nobody", "other", agentSelector={"matchLabels": {"no": "body"}}))
    await desk.done()

    # Then
    assert desk.asked == [("demo", "it"), ("demo", "that")]


async def test_a_rule_is_said_to_be_in_force_when_all_agents_were_compiled_anew(desk: Desk) -> None:
    # Given an Agent that takes a while
    desk.see("it")
    desk.open.clear()

    # When
    policy = desk.api.add("AgentPolicy", "strict", **ALL, emissions=[])
    desk.show(policy)
    await desk.done()
    await quiet(desk.rules)
    assert desk.asked == [("demo", "it")]
    assert desk.api.accepted(policy) is None

    # Then
    desk.open.set()
    await until(lambda: desk.api.accepted(policy) is not None)


async def test_an_agent_that_takes_too_long_is_not_waited_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recompile, "RECOMPILE_TIMEOUT_S", 0.01)
    desk.see("it")
    desk.open.clear()

    policy = desk.api.add("AgentPolicy", "strict", **ALL, emissions=[])
    desk.show(policy)

    await until(lambda: desk.api.accepted(policy) is not None)


async def test_what_concerns_nobody_is_said_at_once(desk: Desk) -> None:
    grant = desk.api.add("EventGrant", "broken", types=["a..b"])
    desk.show(grant)

    await until(lambda: desk.api.accepted(grant) is not None)


async def test_a_mistake_of_ours_loses_no_change(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given
    desk.see("it")
    changes, basis = desk.rules.take_changes, desk.rules.compile_inputs

    def breaks(*_: object) -> None:
        raise RuntimeError("a mistake")

    # When rules can not be compared, and then an Agent can not
    monkeypatch.setattr(desk.rules, "take_changes", breaks)
    desk.show(desk.api.add("AgentPolicy", "strict", **ALL, emissions=[]))
    await until(lambda: "cannot review rules" in caplog.text)
    monkeypatch.setattr(desk.rules, "compile_inputs", breaks)
    monkeypatch.setattr(desk.rules, "take_changes", changes)
    await until(lambda: bool(desk.asked))
    monkeypatch.setattr(desk.rules, "compile_inputs", basis)
    await desk.done()

    # Then it was compiled, which is where such a mistake is said and tried again
    assert desk.asked == [("demo", "it")]
    desk.open.clear()
    (task,) = desk.working
    await asyncio.wait({task})
    desk.working = [] if task.exception() else desk.working


def test_of_an_agent_the_ledger_is_not_remembered() -> None:
    body = seen_agent()
    body["metadata"]["managedFields"] = [{}]
    body["status"] = {"sessions": {"a": {}}, "conditions": [], "lastValidSpec": "{}", "cursor": {}}

    kept = without_ledger(body)

    assert kept["status"] == {"conditions": [], "lastValidSpec": "{}"}
    assert "managedFields" not in kept["metadata"]
    assert kept["spec"] == body["spec"]
