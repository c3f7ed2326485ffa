"""Makes links: for senders with a bearer token whom RBAC lets make them."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Protocol

from aiohttp import web
from pydantic import Field, ValidationError

from heed import names
from heed.api.fields import Duration, Model, parse_duration
from heed.api.validation import explain_error
from heed.core.approval.answer import Answer, check_approver
from heed.core.approval.request import PendingApproval, find_approval
from heed.core.codec.strict_json import parse_json
from heed.errors import MalformedEvent
from heed.gateway.approvals.api_patience import ask_soon
from heed.gateway.approvals.links import MAX_LABEL_CHARS, ApprovalLink, LinkSigner, is_label
from heed.gateway.approvals.standing import ApprovalBoard, AskingAgent
from heed.gateway.inbound.senders import Authenticator, ClusterSender, Sender
from heed.gateway.part import GatewayContext
from heed.gateway.refusals import RequestRefused, busy
from heed.kube.client.client import ApiError, KubeApi
from heed.kube.metrics.instruments import LabelledCounter
from heed.util.clock import unix_time

log = logging.getLogger("heed.gateway")
APPROVALS_PATH: Final = "/v1/approvals"
ACCESS_REVIEWS_PATH: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
SUBRESOURCE: Final = "links"  # of approvalanswers; it is there for RBAC only
MAX_BODY_BYTES: Final = 4 * 1024
MAX_VALID_S: Final = 30 * 86400
MAX_TASK_CHARS: Final = 80
SHOWN_TASKS: Final = 5
_PRIVATE: Final = {"Cache-Control": "no-store"}


class LinkRequest(Model):
    """What a link is to be."""

    whom: Annotated[str, Field(alias="for", max_length=MAX_LABEL_CHARS)] = ""
    valid: Duration = "24h"
    session: Annotated[str | None, Field(max_length=1024)] = None


class LinkRights(Protocol):
    """Knows who may make links."""

    async def check(self, sender: Sender, namespace: str) -> None:
        """Raise RequestRefused, 403, for a sender that may make none in a namespace."""


class EveryonesRights:
    """In `heed dev`: every process of this machine may."""

    async def check(self, sender: Sender, namespace: str) -> None:
        """See LinkRights."""


class ClusterRights:
    """In a cluster: who may create approvalanswers/links there, by the API server."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def check(self, sender: Sender, namespace: str) -> None:
        """See LinkRights."""
        if not isinstance(sender, ClusterSender):
            raise RequestRefused(403, "NotAllowed", "links are for service accounts; show a token of one")
        attributes = {
            "namespace": namespace,
            "verb": "create",
            "group": names.GROUP,
            "resource": names.APPROVAL_ANSWERS,
            "subresource": SUBRESOURCE,
        }
        who = {"user": sender.publisher.user, "groups": sorted(sender.publisher.groups)}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"resourceAttributes": attributes, **who},
        }
        try:
            status = (await ask_soon(self._api.create(ACCESS_REVIEWS_PATH, review))).body.get("status") or {}
        except ApiError as error:
            log.warning("cannot review access", extra={"error": str(error)})
            raise busy(
                503, "AuthorizationUnavailable", "the API server cannot be asked who may do so"
            ) from None
        if status.get("allowed") is not True or status.get("denied") is True:
            right = f"create {names.APPROVAL_ANSWERS}/{SUBRESOURCE} in namespace {namespace}"
            raise RequestRefused(
                403, "NotAllowed", f"{sender.name} may not {right}; ask who owns it for that right"
            )


@dataclass(frozen=True, slots=True)
class LinkAuthority:
    """Who asks for links, and whether they may."""

    authenticator: Authenticator
    rights: LinkRights


class LinkMint:
    """Answers requests for links. `made` counts them."""

    def __init__(
        self, context: GatewayContext, signer: LinkSigner, board: ApprovalBoard, authority: LinkAuthority
    ) -> None:
        self._context, self._signer, self._board, self._authority = context, signer, board, authority
        self.made = LabelledCounter("namespace")

    async def make(self, request: web.Request) -> web.Response:
        """Answer a POST with a link. Raises RequestRefused."""
        namespace, agent, task = (request.match_info[name] for name in ("namespace", "agent", "task"))
        served = self._context.settings.namespace
        if not names.is_name(namespace) or served not in (None, namespace):
            raise RequestRefused(
                404, "NoSuchNamespace", "there is no such namespace, or it is not served here"
            )
        sender = await self._authority.authenticator.authenticate(request)
        self._context.limiter.take(sender.name)
        wanted = await self._read(request)
        await self._authority.rights.check(sender, namespace)
        found = await self._board.find(namespace, agent) if names.is_name(agent) else None
        if found is None:
            raise RequestRefused(404, "NoSuchAgent", f"there is no such Agent in namespace {namespace}")
        approval = choose(found, task, wanted.session)
        await self._check_approver(approval)
        link = ApprovalLink(
            namespace, agent, found.ref.uid, approval.task_id,
            int(unix_time()) + parse_duration(wanted.valid), wanted.whom,
        )  # fmt: skip
        self.made.add(namespace)
        extra = {"agent": str(found.ref), "task": link.task, "for": link.label, "sender": sender.name}
        log.info("approval link made", extra=extra)
        return web.json_response(self._describe(request, link, approval), status=201, headers=_PRIVATE)

    def _describe(
        self, request: web.Request, link: ApprovalLink, approval: PendingApproval
    ) -> Mapping[str, Any]:
        base = (self._context.settings.gateway.url or str(request.url.origin())).rstrip("/")
        return {
            "url": f"{base}{APPROVALS_PATH}/{self._signer.sign(link)}",
            "expiresAt": datetime.fromtimestamp(link.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "for": link.label,
            "namespace": link.namespace,
            "agent": link.agent,
            "task": link.task,
            "title": approval.request.title,
        }

    async def _read(self, request: web.Request) -> LinkRequest:
        async with self._context.bodies.read(request, MAX_BODY_BYTES) as body:
            try:
                wanted = LinkRequest.model_validate(
                    parse_json(body or b"{}", "NoJson", "the body is no JSON")
                )
            except MalformedEvent as error:
                raise RequestRefused(400, "BadRequest", str(error)) from None
            except ValidationError as error:
                problems = "; ".join(str(explain_error(item, LinkRequest)) for item in error.errors()[:3])
                raise RequestRefused(400, "BadRequest", problems) from None
        if not is_label(wanted.whom):
            raise RequestRefused(
                400, "BadRequest", "for: may hold printable characters of one line without [ and ]"
            )
        if not 0 < parse_duration(wanted.valid) <= MAX_VALID_S:
            raise RequestRefused(400, "BadRequest", f"valid: has to be from 1s to {MAX_VALID_S // 86400}d")
        return wanted

    async def _check_approver(self, approval: PendingApproval) -> None:
        """Raise RequestRefused, 409, where no answer by a link could count, since the gateway is no approver."""
        who = await self._board.identity(approval)
        answer = Answer("", "", who.user, approval.record.started_at, who.groups)
        if (refusal := check_approver(approval, answer)) is not None:
            remedy = f"name the gateway in approvers.users: {who.user}"
            raise RequestRefused(409, "NotAnApprover", f"{refusal.message}; {remedy}")


def choose(agent: AskingAgent, text: str, session: str | None) -> PendingApproval:
    """The approval with that id, or the only one whose id begins so, and of that session. Raises RequestRefused."""
    ledger = agent.ledger
    found = [find_approval(ledger, id_) for id_ in ledger.pending_tasks if id_.startswith(text)]
    waiting = [item for item in found if item is not None and session in (None, item.record.session)]
    exact = [item for item in waiting if item.task_id == text]
    if len(exact or waiting) == 1:
        return (exact or waiting)[0]
    if waiting:
        ids = sorted(item.task_id for item in waiting)[:SHOWN_TASKS]
        message = f"{len(waiting)} approvals begin so; say more of the id, or the session"
        raise RequestRefused(409, "Ambiguous", message, members={"tasks": ids})
    ended = next((item for item in ledger.recent_tasks if item.id == text), None)
    if ended is None:
        raise RequestRefused(
            404, "NoSuchApproval", f"no approval {text[:MAX_TASK_CHARS]} of {agent.ref} waits"
        )
    how = ended.reason or "nobody had answered in time, and onTimeout chose"
    if ended.answer is not None:
        how = f"{ended.answer.user} answered {ended.answer.choice}"
    raise RequestRefused(409, "TaskEnded", f"{text} ended at {ended.ended_at}: {how}")
