"""The people who answer the bureau: rightly, wrongly, twice at once, in another's name, late, never.

What an approval's input calls `play` says what they do about it. They know from the Agent's status what waits, and
answer as the service accounts that they are, whether an operator runs or not.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import yaml

from heed import names
from heed.kube.approvals.identity_policy import SETTLING
from tests.cluster.controlplane.api import Api, ApiError
from tests.cluster.controlplane.run import ControlPlane
from tests.faults.bureau import APPROVERS, NAME, NAMESPACE, STRANGER, user
from tests.patience import PATIENCE

LONGEST_WAIT = 2.0  # seconds until somebody answers
LATE_S = 3.0  # after the timeout, at most
TURN = 0.2
RESOURCES = f"/apis/{names.API_VERSION}/namespaces/{NAMESPACE}"
ANSWERS, AGENT = f"{RESOURCES}/{names.APPROVAL_ANSWERS}", f"{RESOURCES}/{names.PLURAL}/{NAME}"
WHO_YOU_ARE = "spec.user has to be who you are"  # of the chart's policy
RBAC = "rbac.authorization.k8s.io"
GROUPS = ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated"]

Record = dict[str, Any]


def employ(plane: ControlPlane) -> dict[str, Api]:
    """The people: service accounts that may make ApprovalAnswers, and no more."""
    for name in (*APPROVERS, STRANGER):
        plane.kubectl("create", "serviceaccount", name, "-n", NAMESPACE)
    common = {"apiVersion": f"{RBAC}/v1", "metadata": {"name": "approver", "namespace": NAMESPACE}}
    rules = [{"apiGroups": [names.GROUP], "resources": [names.APPROVAL_ANSWERS], "verbs": ["create"]}]
    binding = {
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "approver"},
        "subjects": [{"kind": "Group", "name": GROUPS[1], "apiGroup": RBAC}],
    }
    rights = [common | {"kind": "Role", "rules": rules}, common | {"kind": "RoleBinding"} | binding]
    plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(rights))
    return {name: plane.as_service_account(NAMESPACE, name) for name in (*APPROVERS, STRANGER)}


class Approvers:
    """They begin when the policy that vouches for them has settled: an answer from before would never be believed."""

    def __init__(self, admin: Api, people: dict[str, Api], seed: int) -> None:
        self.given = 0
        self.forgeries: list[str] = []
        """Answers in the name of somebody else that the API server let in."""
        self.refused = 0
        """Those that it refused."""
        self._admin, self._people = admin, people
        self._dice = random.Random(f"approvers {seed}")
        self._begin = time.monotonic() + SETTLING.total_seconds() + 1
        self._seen: set[str] = set()

    async def run(self) -> None:
        """Answer what waits, until cancelled; while the API server is away, nobody does."""
        await asyncio.sleep(self._begin - time.monotonic())
        async with asyncio.TaskGroup() as group:
            while True:
                with suppress(ApiError, OSError):
                    for task_id, record in (await asyncio.to_thread(self._list_waiting)).items():
                        if task_id not in self._seen:
                            self._seen.add(task_id)
                            group.create_task(self._play(task_id, record))
                await asyncio.sleep(TURN)

    def _list_waiting(self) -> dict[str, Record]:
        tasks = (self._admin.get(AGENT).get("status") or {}).get("pendingTasks") or {}
        return {key: item for key, item in tasks.items() if item["phase"] == "Started"}

    async def _play(self, task_id: str, record: Record) -> None:
        """What people do about one approval."""
        first, other = self._dice.sample(APPROVERS, 2)
        amount = {"amount": record["input"]["value"]}
        await asyncio.sleep(self._dice.uniform(0, LONGEST_WAIT))
        match record["input"]["play"]:
            case "answer":
                await self._give(task_id, first, "approve", amount)
            case "race":
                await asyncio.gather(
                    self._give(task_id, first, "approve", amount),
                    self._give(task_id, other, "reject", amount),
                )
            case "wrong":
                await self._give(task_id, STRANGER, "approve", amount)
                await self._give(task_id, first, "perhaps", amount)
                await self._give(task_id, other, "approve", {"amount": "much"})
                await asyncio.sleep(self._dice.uniform(0, LONGEST_WAIT))
                await self._give(task_id, first, "reject", amount)
            case "forged":
                await self._forge(task_id, first, amount)
                await self._give(task_id, other, "approve", amount)
            case "late":
                until = datetime.fromisoformat(record.get("due") or record["deadline"]).astimezone(UTC)
                late = until.timestamp() + self._dice.uniform(1, LATE_S)
                await asyncio.sleep(max(0.0, late - time.time()))
                await self._give(task_id, first, "approve", amount)

    async def _give(self, task_id: str, name: str, choice: str, fields: dict[str, Any]) -> None:
        """An answer, under a name of its own: it is given once, however often it takes to reach the API server."""
        assert await self._post(name, _answer(task_id, name, choice, fields)), f"{name} was taken for another"
        self.given += 1

    async def _forge(self, task_id: str, name: str, fields: dict[str, Any]) -> None:
        """The stranger answers in somebody's name, which the API server has to refuse."""
        body = _answer(task_id, name, "approve", fields)
        body["metadata"]["name"] += "-forged"
        if await self._post(STRANGER, body):
            self.forgeries.append(f"the API server took {body['metadata']['name']} for an answer of {name}")
        else:
            self.refused += 1

    async def _post(self, name: str, body: dict[str, Any]) -> bool:
        """Whether the API server lets an answer in. An API server that has just started knows nobody's rights yet."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await asyncio.to_thread(self._people[name].post, ANSWERS, body)
                    return True
                except ApiError as error:
                    if error.status == 409:
                        return True
                    if error.status == 403 and WHO_YOU_ARE in error.message:
                        return False
                    if error.status != 403 and error.status < 429:
                        raise
                except OSError:
                    pass
                await asyncio.sleep(TURN)


def _answer(task_id: str, name: str, choice: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.APPROVAL_ANSWER,
        "metadata": {"name": f"{task_id}-{name}-{choice}"},
        "spec": {
            "agent": NAME,
            "task": task_id,
            "choice": choice,
            "user": user(name),
            "groups": GROUPS,
            "fields": fields,
            "comment": f"{name} says {choice}",
        },
    }
