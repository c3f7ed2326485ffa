"""The approvals of `heed dev`: read from its ledgers, answered through its broker."""

import json
from typing import Final

import nats.errors
from nats.js.errors import KeyNotFoundError, NotFoundError

from heed import names
from heed.bus.jetstream import JetStreamBus
from heed.core.approval.answer import Answer
from heed.core.approval.ends import answer_event
from heed.core.approval.request import PendingApproval
from heed.core.approval.status_reader import read_approvals
from heed.core.effects import AgentRef
from heed.errors import HeedError
from heed.gateway.approvals.standing import AskingAgent, Identity, LinkAnswer
from heed.gateway.refusals import RequestRefused, busy
from heed.local.ledger_store import Bucket
from heed.util.clock import timestamp

LOCAL_GATEWAY: Final = "local:gateway"


class LocalBoard:
    """An ApprovalBoard over the broker of `heed dev`, on which everything is believed."""

    def __init__(self, bucket: Bucket, bus: JetStreamBus) -> None:
        self._bucket, self._bus = bucket, bus

    async def identity(self, approval: PendingApproval | None = None) -> Identity:
        """See ApprovalBoard: one of the approvers, so that links can be tried with manifests as they are."""
        if approval is None:
            return Identity(LOCAL_GATEWAY)
        users, groups = approval.request.users, approval.request.groups
        return Identity(users[0] if users and not groups else LOCAL_GATEWAY, groups)

    async def find(self, namespace: str, name: str) -> AskingAgent | None:
        """See ApprovalBoard."""
        try:
            entry = await self._bucket.get(f"{namespace}.{name}")
        except (KeyNotFoundError, NotFoundError):
            return None
        except (HeedError, nats.errors.Error, TimeoutError, OSError) as error:
            raise busy(503, "ApprovalsUnavailable", f"it cannot be looked up now: {error}") from None
        record = json.loads(entry.value or b"{}")
        ref = AgentRef(namespace, name, str(record.get("uid")))
        return AskingAgent(ref, read_approvals(record.get("status") or {}))

    async def given(self, agent: AskingAgent, task: str, name: str) -> LinkAnswer | None:
        """See ApprovalBoard: what was given is known once its Agent has decided it, from its ledger."""
        return None

    async def give(self, agent: AskingAgent, approval: PendingApproval, answer: Answer) -> bool:
        """See ApprovalBoard. Given again, it is the same event, which counts once."""
        uid = names.digest("local", agent.ref.uid, answer.name)
        event = answer_event(agent.ref, approval, answer, uid, timestamp())
        if event is None:
            raise RequestRefused(
                422, "InvalidFields", "no event can carry this answer; leave out what is no text"
            )
        try:
            await self._bus.publish(
                names.inbox_subject(agent.ref.namespace, agent.ref.name, event.type), event
            )
        except HeedError as error:
            raise busy(503, "ApprovalsUnavailable", f"the answer cannot be recorded now: {error}") from None
        return True
