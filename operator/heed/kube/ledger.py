"""The ledger's home in the cluster: the Agent's status subresource, fenced by resourceVersion."""

from typing import Any, NoReturn

from heed.core import ledger as ledgers
from heed.core.effects import AgentRef
from heed.core.ledger import Ledger
from heed.engine.ports import Stored
from heed.errors import LedgerConflict, LedgerGone, LedgerUnavailable
from heed.kube.api import Answer, Api, ApiError, agent_path


class StatusLedger:
    """The ledger of one Agent. A write carries only what changed, and the resourceVersion it is based on."""

    def __init__(self, api: Api, agent: AgentRef) -> None:
        self._api, self._agent = api, agent

    async def load(self) -> Stored:
        """Read the Agent. Raises LedgerGone also where another Agent now bears the name."""
        try:
            answer = await self._api.get(agent_path(self._agent.namespace, self._agent.name))
        except ApiError as error:
            _refuse(error)
        self._check_same(answer)
        return _stored(answer, ledgers.load(answer.body.get("status") or {}))

    async def commit(self, base: Stored, ledger: Ledger) -> Stored:
        """One merge patch of the status. What others wrote since `base` makes it a LedgerConflict."""
        patch: dict[str, Any] = {
            "metadata": {"resourceVersion": base.version, "uid": self._agent.uid},
            "status": ledgers.patch(base.ledger, ledger),
        }
        try:
            answer = await self._api.merge(
                agent_path(self._agent.namespace, self._agent.name, "status"), patch
            )
        except ApiError as error:
            _refuse(error)
        return _stored(answer, ledger)

    def _check_same(self, answer: Answer) -> None:
        uid = answer.body["metadata"]["uid"]
        if uid != self._agent.uid:
            raise LedgerGone(f"agent {self._agent} is another one now: uid {uid}")


def _stored(answer: Answer, ledger: Ledger) -> Stored:
    return Stored(ledger, answer.body["metadata"]["resourceVersion"], answer.size)


def _refuse(error: ApiError) -> NoReturn:
    if error.status == 404:
        raise LedgerGone(error.message) from None
    if error.status == 409:
        raise LedgerConflict(error.message) from None
    raise LedgerUnavailable(str(error)) from None
