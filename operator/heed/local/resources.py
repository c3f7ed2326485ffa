"""Resource tasks without a cluster: a script says what becomes of their objects, as in a simulation.

Nothing is created anywhere. What was played is known as long as the process lives, over edits of manifests and script.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from heed import names
from heed.core.effects import AgentRef, TaskEnd, TaskWork
from heed.core.events import Event
from heed.core.simulation.object_stubs import play_objects
from heed.core.simulation.steps import Answers, StubbedEnd
from heed.core.tasks.losses import RESOURCE_LOST
from heed.core.tasks.resource import ObjectKind, failed_end, progress_message
from heed.engine.ports import TaskOwner
from heed.errors import HeedError, InvalidManifest, TaskRefused
from heed.util.clock import timestamp

log = logging.getLogger("heed.local")
PLAY_INTERVAL_S: Final = 1.0  # before each thing that a played object says
PublishEvent = Callable[[str, Event], Awaitable[object]]  # subject and event


def no_answers(work: TaskWork) -> StubbedEnd | None:
    """There is no script."""
    return None


class PlayedResources:
    """The TaskRunner of one Agent's resource tasks under `heed dev`.

    `owner` gives the loop that runs now, if any; `answers` what the script says of a task. It outlives loops.
    """

    def __init__(
        self,
        agent: AgentRef,
        owner: Callable[[], TaskOwner | None],
        answers: Answers,
        publish: PublishEvent,
        interval: float = PLAY_INTERVAL_S,
    ) -> None:
        self._agent, self._owner, self._answers, self._publish = agent, owner, answers, publish
        self._interval = interval
        self._plays: dict[str, asyncio.Task[None]] = {}  # also of what says nothing any more, and goes on
        self._ends: dict[str, TaskEnd] = {}

    async def start(self, work: TaskWork, *, look_first: bool = False) -> None:
        """Begin to play an object. Raises TaskRefused where the script has nothing for it."""
        attempt_id = work.attempt_id
        if attempt_id in self._plays or attempt_id in self._ends:
            return
        try:
            stub = self._answers(work)
        except InvalidManifest as error:
            raise TaskRefused("InvalidScript", str(error)) from None
        if stub is None:
            raise TaskRefused("UnsupportedKind", _explain(work))
        self._plays[attempt_id] = asyncio.create_task(self._play(work, stub), name=f"object of {attempt_id}")

    async def cancel(self, attempt_id: str) -> None:
        """Stop an attempt."""
        self._ends.pop(attempt_id, None)
        if (play := self._plays.pop(attempt_id, None)) is not None:
            play.cancel()

    async def resume(self, attempt_ids: Sequence[str]) -> None:
        """Report the ends that came meanwhile, and the loss of what an earlier process played."""
        self._ends = {key: end for key, end in self._ends.items() if key in attempt_ids}
        for attempt_id in attempt_ids:
            if attempt_id in self._ends:
                self._report(self._ends[attempt_id])
            elif attempt_id not in self._plays:
                end_id = names.digest("lost", attempt_id)
                message = "`heed dev` was started again, and knows nothing of objects that it played before"
                self._report(failed_end(attempt_id, end_id, timestamp(), RESOURCE_LOST, message))

    def close(self) -> None:
        """Play nothing any more."""
        for play in self._plays.values():
            play.cancel()
        self._plays.clear()

    async def _play(self, work: TaskWork, stub: StubbedEnd) -> None:
        for said in self._list_said(work, stub):
            await asyncio.sleep(self._interval)
            if isinstance(said, TaskEnd):
                self._end(work.attempt_id, replace(said, at=timestamp()))
                return
            subject, event = said
            try:
                await self._publish(subject, replace(event, time=timestamp()))
            except HeedError as error:
                extra = {"agent": str(self._agent), "task": work.attempt_id, "error": str(error)}
                log.warning("cannot publish the progress of a played object", extra=extra)

    def _list_said(self, work: TaskWork, stub: StubbedEnd) -> Iterable[TaskEnd | tuple[str, Event]]:
        """What an object says in turn: messages of its progress, and its end."""
        at, attempt_id = timestamp(), work.attempt_id
        if not stub.objects:
            end_id = names.digest("played", attempt_id)
            end = TaskEnd(work.id, end_id, at, stub.reason is None, stub.result, attempt=work.attempt)
            yield replace(end, reason=stub.reason, message=stub.message)
            return
        owner = self._owner()
        record = ((owner.pending_tasks if owner is not None else None) or {}).get(work.id)
        if record is None:
            return
        for said in play_objects(record, work, stub.objects, at):
            yield said if isinstance(said, TaskEnd) else progress_message(self._agent, attempt_id, said, at)

    def _end(self, attempt_id: str, end: TaskEnd) -> None:
        self._plays.pop(attempt_id, None)
        owner = self._owner()
        if owner is not None:  # those that it has in its ledger need not be told of again
            self._ends = {key: item for key, item in self._ends.items() if owner.waits(key)}
        self._ends[attempt_id] = end
        self._report(end)

    def _report(self, end: TaskEnd) -> None:
        if (owner := self._owner()) is not None:
            owner.report(end)


def _explain(work: TaskWork) -> str:
    kind = ObjectKind.of(work.spec.get("template") or {}).kind
    return (
        f"spec.tasks.{work.task}.resource: `heed dev` has no cluster to create a {kind} in, and no script says what "
        "becomes of it; play its controller with `--script FILE` (docs/resources.md), or run the Agent in a cluster"
    )
