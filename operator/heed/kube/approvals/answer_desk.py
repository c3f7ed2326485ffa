"""The answer desk: takes ApprovalAnswers to the Agents that wait for them, and writes on each what became of it.

An answer that counts becomes the end of its task, published under an id that derives from the object's uid: doing that
twice changes nothing. What the Agent's decision makes of it is the truth, and read from its commits; after a restart,
from its ledger.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from heed import names
from heed.api.approval_answer import ApprovalAnswer, parse_answer
from heed.api.status import TakenAnswer
from heed.core.approval.answer import answer_id, check_answer
from heed.core.approval.ends import answer_event, read_answer, taken_answer
from heed.core.approval.request import KIND, PendingApproval, find_approval
from heed.core.decision.decide import Decision
from heed.core.effects import AgentRef, Effect
from heed.core.events import Event
from heed.core.ledger.ledger import Ledger
from heed.engine.observer import Observer
from heed.engine.ports import EventBus
from heed.errors import HeedError, InvalidManifest
from heed.kube.approvals.answer_index import (
    AnswerIndex,
    Body,
    Key,
    accepted_condition,
    is_judged,
    key_of,
)
from heed.kube.approvals.identity_policy import IdentityPolicy
from heed.kube.approvals.past_ends import find_end
from heed.kube.approvals.verdict import UNKNOWN_TASK, AgentView, answer_of, judge_by_end, judge_late
from heed.kube.client.client import ApiError, KubeApi, agent_path, objects_path
from heed.kube.client.informer import Informer
from heed.kube.status.accepted import Judgement, accepted_patch
from heed.util.backoff import Backoff
from heed.util.clock import now, timestamp

log = logging.getLogger("heed.approvals")
RETRY_BACKOFF: Final = Backoff(first_s=0.5, last_s=15.0)
DELETION_INTERVAL_S: Final = 60.0
UNKNOWN_AGENT_GRACE: Final = timedelta(minutes=1)
MAX_TURNS: Final = 100  # answers that are judged before it is looked at whose turn it is next
MAX_OTHERS: Final = 5  # of those that no task waits for, at once
MAX_TAKEN: Final = 10_000  # answers of which it is remembered beyond the ledgers that they were taken
FindLedger = Callable[
    [str, str], tuple[AgentRef, Ledger] | None
]  # by namespace and name, of an Agent that runs


class AnswerDesk(Observer):
    """The ApprovalAnswers of a namespace, or of all. As an Observer of the Agents' loops it sees which ones count."""

    def __init__(
        self,
        api: KubeApi,
        bus: EventBus,
        find: FindLedger,
        *,
        namespace: str | None = None,
    ) -> None:
        self._api, self._bus, self._find = api, bus, find
        self._identity = IdentityPolicy(api, None)
        self._informer = Informer(api, objects_path(names.APPROVAL_ANSWERS, namespace), self.observe)
        self._index = AnswerIndex()
        self._vouched = 0  # the last arrival that the identity policy was read after
        self._published: set[str] = set()  # uids
        self._taken: OrderedDict[tuple[str, str], TakenAnswer] = (
            OrderedDict()
        )  # by uid of the Agent, and task
        self._failed: dict[str, str] = {}  # by the id of its event, why an answer was dead-lettered
        self._due: dict[Key, int] = {}  # to be judged, with the failures so far
        self._woken = asyncio.Event()

    async def run(self, policy: str | None, retention: timedelta) -> None:
        """Follow the answers until cancelled. The admission policy of that name has to vouch for who answers.

        Answers are deleted so long after it is known what became of them.
        """
        self.trust(policy)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._warn())
            group.create_task(self._informer.run())
            group.create_task(self.judge_as_due())
            group.create_task(self._delete_as_due(retention))

    def trust(self, policy: str | None) -> None:
        """Believe what the admission policy of that name vouches for; None: no answer at all."""
        self._identity, self._vouched = IdentityPolicy(self._api, policy), 0

    async def _warn(self) -> None:
        """Say once that no answer will be believed, where that is so, as soon as it is known."""
        failures = 0
        while not await self._is_read():
            failures += 1
            await asyncio.sleep(RETRY_BACKOFF.delay(failures))
        if (problem := self._identity.problem("9999-12-31T23:59:59Z")) is not None:
            log.warning("approvals cannot be answered", extra={"error": problem})

    async def _is_read(self) -> bool:
        try:
            await self._identity.read()
        except ApiError:
            return False
        return True

    # ── what is seen ────────────────────────────────────────────────────────────────────────────────────────────────

    def observe(self, body: Body, deleted: bool) -> None:
        """Note an answer as it is, or was when it was deleted."""
        if self._index.observe(body, deleted):
            self._schedule(key_of(body))
        else:
            self._published.discard(body["metadata"]["uid"])

    def resumed(self, agent: AgentRef, ledger: Ledger, owed: Sequence[Effect]) -> None:
        """Take all answers to it once more: what was published may be lost with the loop."""
        for key in self._index.list_open(agent.namespace, agent.name):
            self._published.discard(self._index.open[key]["metadata"]["uid"])
            self._schedule(key)

    def committed(self, agent: AgentRef, decisions: Sequence[Decision], ledger: Ledger) -> None:
        """Note which answers were taken."""
        for decision in decisions:
            self._note(agent, decision)
        if decisions:
            for key in self._index.list_open(agent.namespace, agent.name):
                self._schedule(key)

    def _note(self, agent: AgentRef, decision: Decision) -> None:
        event = decision.received.event
        if not isinstance(event, Event) or event.type != names.TASK_COMPLETED or read_answer(event) is None:
            return
        if decision.letter is not None and decision.letter.code == "InvalidAnswer":
            self._failed[event.id] = decision.letter.message
            return
        recent = next((item for item in decision.ledger.recent_tasks if item.id == event.subject), None)
        if recent is not None and recent.answer is not None:
            self._taken[agent.uid, recent.id] = recent.answer
            if len(self._taken) > MAX_TAKEN:
                self._taken.popitem(last=False)

    def is_taking(self, agent: AgentRef, task: str) -> bool:
        """Whether an answer to an approval that may count is still to be taken, and none was passed on."""
        found = self._find(agent.namespace, agent.name)
        approval = None if found is None else find_approval(found[1], task)
        if approval is None:
            return False
        bodies = [self._index.open[key] for key in self._index.list_open(agent.namespace, agent.name)]
        waiting = [body for body in bodies if body["spec"]["task"] == task]
        return any(self._may_count(approval, body) for body in waiting)

    def _may_count(self, approval: PendingApproval, body: Body) -> bool:
        at = datetime.fromisoformat(body["metadata"]["creationTimestamp"])
        in_time = approval.until is None or at <= datetime.fromisoformat(approval.until)
        return in_time and body["metadata"]["uid"] not in self._published

    # ── what is done about it ───────────────────────────────────────────────────────────────────────────────────────

    def _schedule(self, key: Key) -> None:
        self._due.setdefault(key, 0)
        self._woken.set()

    async def judge_as_due(self) -> None:
        """Judge what is seen, and again what failed, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            retried = dict[Key, int]()
            for key in self._list_next():
                failures = self._due.pop(key)
                try:
                    await self.take(key)
                except Exception as error:  # a bug, too: an answer must not stay as it is for ever
                    extra = {"answer": "/".join(key), "error": str(error)}
                    known = isinstance(error, HeedError)
                    log.warning("cannot take an answer", extra=extra, exc_info=not known)
                    retried[key] = failures + 1
            if self._due:
                self._woken.set()
                await asyncio.sleep(0)
            if retried:
                asyncio.get_running_loop().call_later(
                    RETRY_BACKOFF.delay(min(retried.values())), self._schedule_again, retried
                )

    def _list_next(self) -> list[Key]:
        """What is judged next: answers that a task waits for, whose time may be over soon, and a few of the others."""
        waited = dict.fromkeys(key for key in self._due if self._is_waited_for(key))
        others = [key for key in self._due if key not in waited]
        return [*self._index.take_turns(waited, MAX_TURNS), *self._index.take_turns(others, MAX_OTHERS)]

    def _is_waited_for(self, key: Key) -> bool:
        body = self._index.open.get(key)
        view = None if body is None else self._find(key[0], body["spec"]["agent"])
        record = None if body is None or view is None else view[1].pending_tasks.get(body["spec"]["task"])
        return record is not None and record.kind == KIND and record.phase == "Started"

    def _schedule_again(self, retried: Mapping[Key, int]) -> None:
        self._due = {**retried, **self._due}
        self._woken.set()

    async def take(self, key: Key) -> None:
        """Judge an answer, or publish it. Raises ApiError, BusUnavailable."""
        if (body := self._index.open.get(key)) is None:
            return
        judgement = await self._judgement(key, body)
        if judgement is not None:
            await self._write(key, body, judgement)

    async def _judgement(self, key: Key, body: Body) -> Judgement | None:
        """The judgement on an answer; None where it is not known yet, as the Agent has still to decide."""
        try:
            found = parse_answer(body)
        except InvalidManifest as error:
            return Judgement(False, "Invalid", str(error))
        if (view := self._find(key[0], found.spec.agent)) is None:
            return None
        agent, ledger = view
        if (failure := self._failed.pop(answer_id(found.metadata.uid), None)) is not None:
            return Judgement(False, "Invalid", failure)
        approval = find_approval(ledger, found.spec.task)
        if approval is None:
            return await self._judge_late(agent, ledger, found)
        return await self._judge_waited_for(agent, approval, found)

    async def _judge_late(self, agent: AgentRef, ledger: Ledger, found: ApprovalAnswer) -> Judgement | None:
        """The judgement on an answer whose task waits for none. What the ledger has forgotten the stream says.

        None where the stored ledger knows the task and this one not yet: who answers may have seen it there.
        """
        task, metadata = found.spec.task, found.metadata
        view = AgentView(ledger, self._taken_of(agent, metadata.namespace, found))
        judgement = judge_late(task, metadata.name, view)
        if judgement.reason != UNKNOWN_TASK or task in ledger.pending_tasks:
            return judgement
        if await self._stores(agent, task):
            return None
        end = await find_end(self._bus, agent, task, metadata.creation_timestamp)
        return judgement if end is None else judge_by_end(end, metadata.name)

    async def _stores(self, agent: AgentRef, task: str) -> bool:
        """Whether the Agent's status has a task, pending or ended lately. Raises ApiError.

        The answer to a commit may be under way still, or lost; its loop will hear of it.
        """
        try:
            body = (await self._api.get(agent_path(agent.namespace, agent.name))).body
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        status = body.get("status") or {}
        there = {
            *(status.get("pendingTasks") or ()),
            *(item["id"] for item in status.get("recentTasks") or ()),
        }
        return body["metadata"]["uid"] == agent.uid and task in there

    def _taken_of(self, agent: AgentRef, namespace: str, found: ApprovalAnswer) -> dict[str, TakenAnswer]:
        """The answer that ended the task, as far as it is remembered here, or written on another object."""
        agent_name, task = found.spec.agent, found.spec.task
        if (taken := self._taken.get((agent.uid, task))) is not None:
            return {task: taken}
        body = self._index.find_accepted(namespace, agent_name, task)
        return {} if body is None else {task: taken_answer(answer_of(parse_answer(body)))}

    async def _judge_waited_for(
        self, agent: AgentRef, approval: PendingApproval, found: ApprovalAnswer
    ) -> Judgement | None:
        """The judgement on an answer that its task waits for; None where it counts, and is published."""
        metadata, answer = found.metadata, answer_of(found)
        if metadata.uid in self._published:
            return None
        if metadata.generation != 1:
            return Judgement(False, "Edited", "it was changed after it was given; give another one")
        if (problem := await self._identity_problem(found)) is not None:
            return Judgement(False, "IdentityUnproven", f"who answers is not known for certain: {problem}")
        if (refusal := check_answer(approval, answer)) is not None:
            return Judgement(False, refusal.reason, refusal.message)
        event = answer_event(agent, approval, answer, metadata.uid, timestamp())
        if event is None:
            return Judgement(
                False, "InvalidFields", "no event can carry it; leave out what is no text or number"
            )
        await self._bus.publish(names.inbox_subject(agent.namespace, agent.name, event.type), event)
        self._published.add(metadata.uid)
        extra = {"agent": str(agent), "task": approval.task_id, "answer": metadata.name, "user": answer.user}
        log.info("answer passed on", extra=extra)
        return None

    async def _identity_problem(self, found: ApprovalAnswer) -> str | None:
        """Why it is not known for certain who answers. One look at the policy serves all that came before it."""
        metadata = found.metadata
        if self._vouched < self._index.arrival((metadata.namespace, metadata.name)):
            arrivals = self._index.arrivals
            await self._identity.read()
            self._vouched = arrivals
        return self._identity.problem(metadata.creation_timestamp)

    async def _write(self, key: Key, body: Body, judgement: Judgement) -> None:
        status = accepted_patch(body, judgement, timestamp())
        path = f"{objects_path(names.APPROVAL_ANSWERS, key[0])}/{key[1]}/status"
        if status is not None:
            metadata = {
                "uid": body["metadata"]["uid"],
                "resourceVersion": body["metadata"]["resourceVersion"],
            }
            try:
                await self._api.merge(path, {"metadata": metadata, "status": status})
            except ApiError as error:
                if error.status not in (404, 409):  # else the watch shows what it is now
                    raise
                return
        self._index.close(key)
        extra = {"answer": "/".join(key), "reason": judgement.reason}
        log.info("answer judged", extra=extra)

    async def sweep(self, exists: Callable[[str, str], bool]) -> None:
        """Refuse answers to Agents that do not exist. Raises ApiError."""
        for key, body in list(self._index.open.items()):
            made = now() - datetime.fromisoformat(body["metadata"]["creationTimestamp"])
            if made >= UNKNOWN_AGENT_GRACE and not exists(key[0], body["spec"]["agent"]):
                message = f"there is no Agent {body['spec']['agent']} in namespace {key[0]}"
                await self._write(key, body, Judgement(False, "UnknownAgent", message))

    async def delete_old(self, retention: timedelta) -> None:
        """Delete answers that were judged so long ago. Raises ApiError."""
        for key, body in list(self._index.known.items()):
            judged_at = accepted_condition(body).get("lastTransitionTime")
            if is_judged(body) and now() - datetime.fromisoformat(str(judged_at)) >= retention:
                await self._delete(key, body["metadata"]["uid"])

    async def _delete_as_due(self, retention: timedelta) -> None:
        """Look for old answers, more often than every minute only where they are kept for less."""
        while True:
            await asyncio.sleep(min(DELETION_INTERVAL_S, max(1.0, retention.total_seconds())))
            try:
                await self.delete_old(retention)
            except ApiError as error:
                log.warning("cannot delete old answers", extra={"error": str(error)})

    async def _delete(self, key: Key, uid: str) -> None:
        try:
            await self._api.delete(f"{objects_path(names.APPROVAL_ANSWERS, key[0])}/{key[1]}", uid)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
