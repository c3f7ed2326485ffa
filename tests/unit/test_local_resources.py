"""Resource tasks under `heed dev`: a script plays the controllers of their objects; without one a task says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import yaml

from heed import names
from heed.api.status import PendingTask
from heed.api.task import ResourceSpec
from heed.core.effects import TaskEnd
from heed.core.events import Event
from heed.core.simulation.task_stubs import answer_from, parse_script
from heed.core.tasks.resource import dump_target
from heed.errors import BusUnavailable, TaskRefused
from heed.local.resources import PlayedResources, no_answers
from tests.builders.tasks import pending_task, task_work
from tests.integration.waiting import until

SPEC: dict[str, Any] = {
    "template": {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "spec": {"size": 5}},
    "succeeded": 'object.status.phase == "Succeeded"',
    "failed": 'object.status.phase == "Failed"',
    "result": "{'size': object.spec.size, 'answer': object.status.answer}",
    "progress": "object.status.percent",
}
WORK = task_work({"template": SPEC["template"]}, kind="resource", document={"input": "the moon"})
AGENT = WORK.agent
OBJECTS = """
- task: work
  objects:
    - status: {percent: 40}
    - status: {percent: 80}
    - status: {phase: Succeeded, answer: "${input}"}
"""


class Loop:
    """The loop of an Agent, whose ledger holds one started task."""

    def __init__(self) -> None:
        record = replace(pending_task(), kind="resource", target=dump_target(ResourceSpec(**SPEC)))
        self.pending_tasks: Mapping[str, PendingTask] | None = {WORK.id: record}
        self.ends: list[TaskEnd] = []

    def waits(self, attempt_id: str) -> bool:
        return attempt_id in (self.pending_tasks or {})

    def report(self, end: TaskEnd) -> bool:
        self.ends.append(end)
        return True


class Played:
    """A runner, what it published, and the loop that runs, if any."""

    def __init__(self, script: str | None) -> None:
        self.loop: Loop | None = Loop()
        self.said: list[tuple[str, Event]] = []
        self.away = False
        self.stubs = 0
        answers = (
            no_answers if script is None else answer_from(parse_script(yaml.safe_load(script), ["work"]))
        )
        self.runner = PlayedResources(AGENT, lambda: self.loop, answers, self._publish, 0.0)

    async def _publish(self, subject: str, event: Event) -> None:
        if self.away:
            raise BusUnavailable("no broker")
        self.said.append((subject, event))

    @property
    def ends(self) -> Sequence[TaskEnd]:
        return [] if self.loop is None else self.loop.ends

    async def ended(self) -> TaskEnd:
        await until(lambda: len(self.ends) == 1)
        return self.ends[0]


async def test_without_a_script_a_resource_task_fails_with_what_helps() -> None:
    played = Played(None)

    await played.runner.resume([])
    with pytest.raises(TaskRefused) as refused:
        await played.runner.start(WORK)
    await played.runner.cancel(WORK.attempt_id)

    assert refused.value.reason == "UnsupportedKind"
    assert refused.value.message == (
        "spec.tasks.work.resource: `heed dev` has no cluster to create a Workflow in, and no script says what becomes "
        "of it; play its controller with `--script FILE` (docs/resources.md), or run the Agent in a cluster"
    )


async def test_an_object_becomes_what_the_script_says_and_cel_says_what_that_means() -> None:
    played = Played(OBJECTS)

    await played.runner.start(WORK)

    end = await played.ended()
    assert (end.task_id, end.attempt, end.completed) == (WORK.id, WORK.attempt, True)
    assert end.result == {"size": 5, "answer": WORK.document["input"]}
    subject = names.task_subject(AGENT.namespace, AGENT.name, WORK.attempt_id, names.TASK_PROGRESS)
    assert [(where, event.data) for where, event in played.said] == [(subject, 40), (subject, 80)]


async def test_a_broker_that_is_away_costs_progress_and_no_end() -> None:
    played = Played(OBJECTS)
    played.away = True

    await played.runner.start(WORK)

    assert (await played.ended()).completed
    assert played.said == []


@pytest.mark.parametrize(
    ("stub", "end"),
    [
        ("{task: work, result: {a: 1}}", (True, {"a": 1}, None, None)),
        ("{task: work}", (True, None, None, None)),
        ("{task: work, reason: Broken, message: it broke}", (False, None, "Broken", "it broke")),
        ("{task: work, objects: [{status: {phase: Failed}}]}", (False, None, "Failed", None)),
    ],
)
async def test_a_stub_may_end_a_task_at_once(stub: str, end: tuple[Any, ...]) -> None:
    played = Played(f"[{stub}]")

    await played.runner.start(WORK)

    found = await played.ended()
    assert (found.completed, found.result, found.reason, found.message) == end


async def test_a_task_that_is_started_again_is_played_once() -> None:
    played = Played("[{task: work, times: 1}]")

    await played.runner.start(WORK)
    await played.runner.start(WORK, look_first=True)
    await played.ended()
    await played.runner.start(WORK, look_first=True)

    assert len(played.ends) == 1


async def test_an_end_that_nobody_heard_is_told_to_the_next_loop() -> None:
    played = Played("[{task: work}]")
    first, played.loop = played.loop, None
    await played.runner.start(WORK)
    await until(lambda: WORK.attempt_id in played.runner._ends)

    played.loop = first
    await played.runner.resume([WORK.attempt_id])

    assert (await played.ended()).completed
    await played.runner.resume([])
    assert played.runner._ends == {}


async def test_what_is_played_and_says_nothing_more_goes_on_over_loops_until_it_is_cancelled() -> None:
    played = Played("[{task: work, objects: [{status: {percent: 40}}]}]")
    await played.runner.start(WORK)
    await until(lambda: len(played.said) == 1)

    await played.runner.resume([WORK.attempt_id])
    assert played.ends == []

    await played.runner.cancel(WORK.attempt_id)
    await played.runner.resume([WORK.attempt_id])
    assert (await played.ended()).reason == "ResourceLost"


async def test_what_an_earlier_process_played_is_lost() -> None:
    played = Played(OBJECTS)

    await played.runner.resume([WORK.attempt_id])

    end = await played.ended()
    assert (end.reason, end.attempt) == ("ResourceLost", 1)
    assert "heed dev` was started again" in str(end.message)


async def test_an_expression_of_the_script_that_fails_is_told_as_what_it_is() -> None:
    played = Played("[{task: work, objects: [{status: '${input.nothing.here}'}]}]")

    with pytest.raises(TaskRefused) as refused:
        await played.runner.start(WORK)

    assert refused.value.reason == "InvalidScript"
    assert refused.value.message.startswith("[0].objects")


async def test_only_ends_that_somebody_waits_for_are_kept() -> None:
    played = Played("[{task: work}]")
    await played.runner.start(WORK)
    await played.ended()
    assert isinstance(played.loop, Loop)
    played.loop.pending_tasks = {}

    await played.runner.start(replace(WORK, id="work-2"))
    await until(lambda: len(played.ends) == 2)

    assert list(played.runner._ends) == ["work-2"]


async def test_once_closed_it_says_nothing_any_more() -> None:
    played = Played(OBJECTS)
    await played.runner.start(WORK)
    (play,) = played.runner._plays.values()

    played.runner.close()
    await until(play.done)

    assert play.cancelled() and played.ends == [] and played.said == []
