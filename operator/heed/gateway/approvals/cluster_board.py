"""The approvals of a cluster: read from Agents' statuses, answered with ApprovalAnswers of the gateway's account."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from heed import names
from heed.api.conditions import find_condition
from heed.core.approval.answer import Answer
from heed.core.approval.request import PendingApproval
from heed.core.approval.status_reader import read_approvals
from heed.core.effects import AgentRef
from heed.gateway.approvals.api_patience import ask_soon
from heed.gateway.approvals.standing import (
    FOREIGN,
    FOREIGN_REASON,
    AskingAgent,
    Identity,
    LinkAnswer,
    answer_body,
)
from heed.gateway.refusals import RequestRefused, busy
from heed.kube.client.client import ApiError, KubeApi, agent_path, objects_path
from heed.kube.status.accepted import ACCEPTED

log = logging.getLogger("heed.gateway")
SELF_REVIEWS_PATH: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
STATUS_NOT_FOUND: Final = 404


class ClusterBoard:
    """An ApprovalBoard over the API server."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._identity: Identity | None = None

    async def identity(self, approval: PendingApproval | None = None) -> Identity:
        """See ApprovalBoard: the user and the groups that the API server takes the gateway for."""
        if self._identity is None:
            review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
            try:
                who = (await ask_soon(self._api.create(SELF_REVIEWS_PATH, review))).body["status"]["userInfo"]
            except ApiError as error:
                raise _unavailable("it cannot be asked who the gateway is", error) from None
            self._identity = Identity(str(who["username"]), tuple(who.get("groups") or ()))
        return self._identity

    async def find(self, namespace: str, name: str) -> AskingAgent | None:
        """See ApprovalBoard."""
        body = await self._get(agent_path(namespace, name))
        if body is None:
            return None
        ref = AgentRef(namespace, name, body["metadata"]["uid"])
        return AskingAgent(ref, read_approvals(body.get("status") or {}))

    async def given(self, agent: AskingAgent, task: str, name: str) -> LinkAnswer | None:
        """See ApprovalBoard."""
        body = await self._get(f"{objects_path(names.APPROVAL_ANSWERS, agent.ref.namespace)}/{name}")
        if body is None:
            return None
        spec = body["spec"]
        if (spec.get("agent"), spec.get("task")) != (agent.ref.name, task):
            raise RequestRefused(409, "ForeignAnswer", f"ApprovalAnswer {name} is not that of this link")
        found = find_condition((body.get("status") or {}).get("conditions") or (), ACCEPTED)
        accepted = None if found is None else found["status"] == "True"
        return LinkAnswer(
            str(spec["choice"]), body["metadata"]["creationTimestamp"], accepted, _why(found or {})
        )

    async def give(self, agent: AskingAgent, approval: PendingApproval, answer: Answer) -> bool:
        """See ApprovalBoard."""
        ref = agent.ref
        owner = {"apiVersion": names.API_VERSION, "kind": names.KIND, "name": ref.name, "uid": ref.uid}
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.APPROVAL_ANSWER,
            "metadata": {"name": answer.name, "ownerReferences": [owner]},
            "spec": answer_body(ref, approval.task_id, answer),
        }
        try:
            await ask_soon(self._api.create(objects_path(names.APPROVAL_ANSWERS, ref.namespace), body))
        except ApiError as error:
            if error.already_exists:
                return False
            self._identity = None  # the groups of an account may change
            raise _unavailable("the answer cannot be recorded now", error) from None
        return True

    async def _get(self, path: str) -> Mapping[str, Any] | None:
        try:
            return (await ask_soon(self._api.get(path))).body
        except ApiError as error:
            if error.status == STATUS_NOT_FOUND:
                return None
            raise _unavailable("it cannot be looked up now", error) from None


def _why(condition: Mapping[str, Any]) -> str:
    """What a person is told of why an answer does not count."""
    if condition.get("reason") == FOREIGN_REASON:
        return FOREIGN
    return str(condition.get("message") or condition.get("reason") or "")


def _unavailable(what: str, error: ApiError) -> RequestRefused:
    """What a person is told; the log says what the API server said."""
    log.warning("cannot serve an approval link", extra={"error": str(error)})
    return busy(503, "ApprovalsUnavailable", f"{what}; try again in a moment")
