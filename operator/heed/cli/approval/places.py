"""Where approvals wait and are answered: a cluster, or the `heed dev` of this folder."""

import asyncio
import getpass
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from heed import names
from heed.cli.approval.waiting import Found, WaitingApproval
from heed.cli.output import CliError
from heed.core.approval.answer import Answer, answer_id, check_answer
from heed.core.approval.ends import answer_event
from heed.core.effects import AgentRef
from heed.util.clock import timestamp

if TYPE_CHECKING:
    from nats.js.kv import KeyValue

    from heed.bus.client.connection import Connection
    from heed.kube.client.client import KubeApi

POLL_INTERVAL_S: Final = 0.2
Outcome = Literal["accepted", "refused", "recorded"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What somebody answers, before it is known who that is."""

    choice: str
    fields: Mapping[str, Any]
    comment: str


@dataclass(frozen=True, slots=True)
class AnswerReport:
    """What became of an answer. `recorded`: it is there, and is still to be taken."""

    outcome: Outcome
    reason: str
    message: str
    user: str
    name: str | None = None  # of the ApprovalAnswer


class ApprovalPlace(Protocol):
    """A place where approvals wait."""

    async def find(self, namespace: str | None) -> Found:
        """What the Agents of a namespace, or of all, have. Raises HeedError."""

    async def answer(self, waiting: WaitingApproval, reply: Reply, patience: float) -> AnswerReport:
        """Answer, and wait at most `patience` seconds for what becomes of it. Raises HeedError."""


# ── a cluster ───────────────────────────────────────────────────────────────────────────────────────────────────────


class ClusterApprovals:
    """The approvals of a cluster. The API server says who answers."""

    def __init__(self, api: "KubeApi") -> None:
        self._api = api

    async def find(self, namespace: str | None) -> Found:
        """See ApprovalPlace."""
        from heed.kube.client.client import agents_path

        bodies = await self._api.list(agents_path(namespace))
        return Found.in_statuses([(_agent(body), body.get("status") or {}) for body in bodies])

    async def answer(self, waiting: WaitingApproval, reply: Reply, patience: float) -> AnswerReport:
        """See ApprovalPlace."""
        from heed.kube.client.client import objects_path

        user, groups = await self._who()
        approval, agent = waiting.approval, waiting.agent
        given = Answer(
            "", reply.choice, user, approval.record.started_at, groups, reply.fields, reply.comment
        )
        if (refusal := check_answer(approval, given)) is not None:  # by the rules of the operator, and sooner
            return AnswerReport("refused", refusal.reason, refusal.message, user)
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.APPROVAL_ANSWER,
            "metadata": {
                "generateName": f"{approval.task_id}-",
                "ownerReferences": [
                    {
                        "apiVersion": names.API_VERSION,
                        "kind": names.KIND,
                        "name": agent.name,
                        "uid": agent.uid,
                    }
                ],
            },
            "spec": {
                "agent": agent.name,
                "task": approval.task_id,
                "choice": reply.choice,
                "fields": dict(reply.fields),
                "comment": reply.comment,
                "user": user,
                "groups": list(groups),
            },
        }
        collection = objects_path(names.APPROVAL_ANSWERS, agent.namespace)
        made = (await self._api.create(collection, body)).body
        return await self._wait(f"{collection}/{made['metadata']['name']}", made, user, patience)

    async def _who(self) -> tuple[str, tuple[str, ...]]:
        """The user and the groups that the API server takes us for. Raises ApiError."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        made = await self._api.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
        who = made.body["status"]["userInfo"]
        return str(who["username"]), tuple(who.get("groups") or ())

    async def _wait(self, path: str, body: dict[str, Any], user: str, patience: float) -> AnswerReport:
        name, until = str(body["metadata"]["name"]), time.monotonic() + patience
        while (found := _accepted(body)) is None:
            if time.monotonic() >= until:
                message = "the operator has not taken it yet, and will when it is back"
                return AnswerReport("recorded", "Pending", message, user, name)
            await asyncio.sleep(POLL_INTERVAL_S)
            body = (await self._api.get(path)).body
        outcome: Outcome = "accepted" if found["status"] == "True" else "refused"
        return AnswerReport(outcome, str(found["reason"]), str(found.get("message", "")), user, name)


def _agent(body: Mapping[str, Any]) -> AgentRef:
    metadata = body["metadata"]
    return AgentRef(metadata["namespace"], metadata["name"], metadata["uid"])


def _accepted(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    conditions = (body.get("status") or {}).get("conditions") or []
    return next((item for item in conditions if item.get("type") == "Accepted"), None)


# ── heed dev ────────────────────────────────────────────────────────────────────────────────────────────────────────


class LocalApprovals:
    """The approvals of a `heed dev`, on its broker: everyone who reaches that may answer, under any name."""

    def __init__(
        self,
        connection: "Connection",
        ledgers: "KeyValue",
        agents: Sequence[tuple[str, str]],
        user: str | None,
        groups: Sequence[str],
    ) -> None:
        self._connection, self._ledgers, self._agents = connection, ledgers, agents
        self._user, self._groups = user or f"local:{_os_user()}", tuple(groups)

    async def find(self, namespace: str | None) -> Found:
        """See ApprovalPlace."""
        found = [await self._read(*key) for key in self._agents if namespace in (None, key[0])]
        return Found.in_statuses([item for item in found if item is not None])

    async def answer(self, waiting: WaitingApproval, reply: Reply, patience: float) -> AnswerReport:
        """See ApprovalPlace."""
        from heed.bus.jetstream import JetStreamBus

        agent, approval, at = waiting.agent, waiting.approval, timestamp()
        uid = names.digest("local", agent.uid, approval.task_id, self._user, at)
        given = Answer(
            f"local-{uid[:16]}", reply.choice, self._user, at, self._groups, reply.fields, reply.comment
        )
        if (refusal := check_answer(approval, given)) is not None:
            remedy = "; with heed dev, answer as one of them: --as USER, --as-group GROUP"
            more = remedy if refusal.reason == "NotAnApprover" else ""
            return AnswerReport("refused", refusal.reason, refusal.message + more, self._user)
        event = answer_event(agent, approval, given, uid, at)
        if event is None:
            raise CliError("no event can carry the answer; leave out what is no text or number")
        assert event.id == answer_id(uid)
        await JetStreamBus(self._connection).publish(
            names.inbox_subject(agent.namespace, agent.name, event.type), event
        )
        return await self._wait(agent, approval.task_id, given, patience)

    async def _wait(self, agent: AgentRef, task_id: str, given: Answer, patience: float) -> AnswerReport:
        until = time.monotonic() + patience
        while time.monotonic() < until:
            found = await self.find(agent.namespace)
            if not any(item.approval.task_id == task_id for item in found.waiting):
                return _compare(found, task_id, given)
            await asyncio.sleep(POLL_INTERVAL_S)
        return AnswerReport("recorded", "Pending", "its Agent has not decided it yet", given.user, given.name)

    async def _read(self, namespace: str, name: str) -> tuple[AgentRef, Mapping[str, Any]] | None:
        from nats.js.errors import KeyNotFoundError, NotFoundError

        try:
            entry = await self._ledgers.get(f"{namespace}.{name}")
        except (KeyNotFoundError, NotFoundError):
            return None
        record = json.loads(entry.value or b"{}")
        return AgentRef(namespace, name, str(record.get("uid"))), record.get("status") or {}


def _compare(found: Found, task_id: str, given: Answer) -> AnswerReport:
    """What became of an answer to a task that waits no more."""
    _, recent = found.ended.get(task_id, (None, None))
    taken = recent.answer if recent is not None else None
    if taken is not None and taken.name == given.name:
        return AnswerReport(
            "accepted", "Accepted", "it is the answer that ended the task", given.user, given.name
        )
    if taken is not None:
        message = f"{taken.user} answered {taken.choice} at {taken.at}, and was first"
        return AnswerReport("refused", "AlreadyAnswered", message, given.user, given.name)
    return AnswerReport("refused", "TaskEnded", "the task has ended without it", given.user, given.name)


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "nobody"
