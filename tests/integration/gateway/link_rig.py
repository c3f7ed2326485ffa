"""A gateway with approval links over an API server in this process: one approval waits, and answers are recorded."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch
from urllib.parse import urlsplit

import aiohttp

from heed import names
from heed.api.status import RecentTask
from heed.bus.client.connection import Connection
from heed.core.approval.answer import Answer
from heed.core.ledger.ledger import Ledger, dump_ledger
from heed.gateway.approvals import answering
from heed.gateway.approvals.part import approval_parts
from heed.gateway.inbound.part import ClusterInbound
from heed.gateway.inbound.token_review import TOKEN_REVIEWS_PATH
from heed.gateway.objects import open_source
from heed.gateway.part import GatewayContext, GatewayPart
from heed.gateway.policies import GatewayPolicies
from heed.kube.client.client import KubeApi
from tests.builders.agents import AGENT, NAMESPACE, UID
from tests.builders.approvals import awaiting, buyer, stored_answer
from tests.builders.decisions import decide_each, only_task
from tests.builders.events import at
from tests.integration.gateway.serving import RunningGateway, serving
from tests.unit.apiserver import ApiServer, Refusal, api_server
from tests.unit.gateway.test_token_review import jwt

GATEWAY_USER = "system:serviceaccount:heed-system:heed-gateway"
GATEWAY_GROUPS = ["system:serviceaccounts", "system:serviceaccounts:heed-system", "system:authenticated"]
NOTIFIER = f"system:serviceaccount:{NAMESPACE}:notifier"
AGENT_PATH = f"/apis/{names.API_VERSION}/namespaces/{NAMESPACE}/agents/{AGENT}"
ANSWERS_PATH = f"/apis/{names.API_VERSION}/namespaces/{NAMESPACE}/approvalanswers"
FORM = "application/x-www-form-urlencoded"
TOKEN = jwt(exp=4_000_000_000)
_PROOF = re.compile(r'name="proof" value="([^"]+)"')


class Links:
    """The gateway and its API server, as a test asks them. `verdict` is what RBAC says of the sender."""

    def __init__(self, gateway: RunningGateway, api: ApiServer, ledger: Ledger) -> None:
        self.gateway, self.api, self.ledger = gateway, api, ledger
        self.task = only_task(ledger)
        self.verdict, self.reviews = {"allowed": True}, list[Mapping[str, Any]]()
        api.refuse = self._review

    @property
    def origin(self) -> str:
        """The gateway's, for browsers."""
        host, port = self.gateway.address
        return f"http://{host}:{port}"

    @property
    def answers(self) -> list[dict[str, Any]]:
        """What was recorded."""
        return self.api.of(names.APPROVAL_ANSWERS)

    async def mint(
        self, task: str = "", token: str | None = TOKEN, **body: Any
    ) -> tuple[int, dict[str, Any]]:
        """Ask for a link: status and document."""
        path = f"/v1/approvals/{NAMESPACE}/{AGENT}/{task or self.task}/links"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.gateway.http.post(path, json=body, headers=headers) as response:
            return response.status, await response.json(content_type=None)

    async def link(self, **body: Any) -> str:
        """A new link; its path."""
        status, made = await self.mint(**body)
        assert status == 201, made
        return str(urlsplit(made["url"]).path)

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        """A page: status and HTML."""
        async with self.gateway.http.get(path, headers=headers) as response:
            return response.status, await response.text()

    async def proof(self, path: str) -> str:
        """What the page's form proves its origin with."""
        found = _PROOF.search((await self.get(path))[1])
        assert found is not None
        return found[1]

    async def post(
        self,
        path: str,
        entries: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **more: str,
    ) -> tuple[int, str, aiohttp.ClientResponse]:
        """Send the form, as a browser does from the page; status, HTML and response, of no page that it leads to."""
        filled = {**(entries or {}), **more}
        if "proof" not in filled:
            filled["proof"] = await self.proof(path)
        sent = {"Origin": self.origin, "Sec-Fetch-Site": "same-origin", **(headers or {})}
        async with self.gateway.http.post(path, data=filled, headers=sent, allow_redirects=False) as response:
            return response.status, await response.text(), response

    def judge(
        self, accepted: bool, message: str = "it is the answer that ended the task", reason: str = ""
    ) -> None:
        """The operator says what became of the one answer."""
        (answer,) = self.answers
        condition = {
            "type": "Accepted", "status": str(accepted), "message": message,
            "reason": reason or ("Accepted" if accepted else "Refused"),
        }  # fmt: skip
        self.api.edit(f"{ANSWERS_PATH}/{answer['metadata']['name']}", status={"conditions": [condition]})

    def show(self, ledger: Ledger) -> None:
        """The Agent's status is another one."""
        body = self.api.at(AGENT_PATH)
        self.api.remove(AGENT_PATH)
        self.api.add(AGENT_PATH, **{**body, "status": dump_ledger(ledger)})

    def _review(self, method: str, path: str) -> Refusal | None:
        if path == TOKEN_REVIEWS_PATH:
            user = {"username": NOTIFIER, "groups": ["g"]}
            return 201, {"status": {"authenticated": True, "audiences": ["heed"], "user": user}}
        if path.endswith("/selfsubjectreviews"):
            return 201, {"status": {"userInfo": {"username": GATEWAY_USER, "groups": GATEWAY_GROUPS}}}
        if path.endswith("/subjectaccessreviews"):
            self.reviews.append(self.api.bodies[-1]["spec"])
            return 201, {"status": self.verdict}
        return None


def link_parts(context: GatewayContext) -> Sequence[GatewayPart]:
    """Links alone: the API server in this process has no watches."""
    policies = GatewayPolicies(partial(open_source, context, names.AGENT_POLICY))
    return approval_parts(context, ClusterInbound(context, policies).authenticator)


@asynccontextmanager
async def link_rig(
    connection: Connection,
    folder: Path,
    patience_s: float = 0,
    key: bytes = b"k" * 32,
    sender_rate: int = 200,
    sender_burst: int = 1000,
    **approval: Any,
) -> AsyncIterator[Links]:
    """Such a gateway, whose one approval has these members; it waits so long for what becomes of an answer."""
    (folder / "key").write_bytes(key)
    ledger = awaiting(buyer(**approval))
    async with AsyncExitStack() as closing:
        closing.enter_context(patch.object(answering, "PATIENCE_S", patience_s))
        api = await closing.enter_async_context(api_server())
        api.add(AGENT_PATH, status=dump_ledger(ledger), metadata={"uid": UID})
        opening = serving(
            connection,
            link_parts,
            api=api.connect(KubeApi),
            link_keys=str(folder),
            sender_rate=sender_rate,
            sender_burst=sender_burst,
        )
        gateway = await closing.enter_async_context(opening)
        yield Links(gateway, api, ledger)


def ended(ledger: Ledger, task: str, reason: str | None) -> Ledger:
    """A ledger in which an approval has ended without an answer; no reason: it chose by itself."""
    record = ledger.pending_tasks[task]
    outcome: Literal["Completed", "Failed"] = "Completed" if reason is None else "Failed"
    recent = RecentTask(task, record.task, record.session, outcome, record.started_at, at(60), reason)
    return replace(ledger, pending_tasks={}, recent_tasks=(recent,))


def with_session(ledger: Ledger, task: str, other: str, session: str) -> Ledger:
    """A ledger in which another approval waits, too."""
    record = ledger.pending_tasks[task]
    return replace(ledger, pending_tasks={**ledger.pending_tasks, other: replace(record, session=session)})


def answered(links: Links, given: Answer) -> Ledger:
    """The ledger once an answer has ended the approval."""
    (decision,) = decide_each(buyer(), [stored_answer(2, links.ledger, given)], links.ledger)
    return decision.ledger
