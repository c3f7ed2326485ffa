"""The page of a link: shown by GET, which changes nothing, and answered by POST, which counts once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from heed.core.approval.answer import Answer, check_answer
from heed.core.approval.request import PendingApproval
from heed.core.codec.strict_json import check_value
from heed.errors import MalformedEvent
from heed.gateway.approvals.cross_site import REMEDY, check_same_site
from heed.gateway.approvals.form_fields import default_entries, form_fields, read_entries
from heed.gateway.approvals.form_page import CHOICE, COMMENT, PROOF, Entries, form_page
from heed.gateway.approvals.frame import HEADERS
from heed.gateway.approvals.links import LinkSigner, OpenedLink
from heed.gateway.approvals.outcome_page import (
    RefusedPage,
    expired_page,
    gone_page,
    outcome_page,
    unknown_page,
)
from heed.gateway.approvals.standing import FOREIGN, FOREIGN_REASON, ApprovalBoard, Standing, look_up
from heed.gateway.bodies import BodyReader
from heed.gateway.rate_limiter import RateLimiter
from heed.gateway.refusals import RequestRefused
from heed.kube.metrics.instruments import LabelledCounter
from heed.util.clock import unix_time
from heed.util.cpu_turns import turns

log = logging.getLogger("heed.gateway")
MAX_FORM_BYTES: Final = 64 * 1024
MAX_CONTROLS: Final = 256
REQUESTS_PER_S: Final = 2  # of one link
REQUESTS_BURST: Final = 30
PATIENCE_S: Final = 4.0  # for what becomes of an answer
POLL_INTERVAL_S: Final = 0.2
FORM_TYPE: Final = "application/x-www-form-urlencoded"
Show = Callable[[web.Request, OpenedLink], Awaitable[web.Response]]


class LinkPages:
    """Answers requests to links. `outcomes` counts the answers, by what became of them."""

    def __init__(self, signer: LinkSigner, board: ApprovalBoard, bodies: BodyReader, url: str | None) -> None:
        self._signer, self._board, self._bodies, self._url = signer, board, bodies, url
        self._limiter = RateLimiter(REQUESTS_PER_S, REQUESTS_BURST)
        self.outcomes = LabelledCounter("outcome")

    async def show(self, request: web.Request) -> web.Response:
        """Answer GET and HEAD."""
        return await self._page(request, self._show)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer POST."""
        return await self._page(request, self._answer)

    async def _page(self, request: web.Request, show: Show) -> web.Response:
        try:
            if (opened := self._signer.verify(request.match_info["token"])) is None:
                return unknown_page()
            if opened.said.is_expired(unix_time()):
                return expired_page(opened.said)
            self._limiter.take(opened.answer_name)
            return await show(request, opened)
        except RequestRefused as refused:
            raise RefusedPage(refused) from None

    async def _show(self, request: web.Request, opened: OpenedLink) -> web.Response:
        standing = await self._look_up(opened)
        if standing is None:
            return gone_page()
        if (over := outcome_page(opened.said, standing, (await self._board.identity()).user)) is not None:
            return over
        assert standing.approval is not None
        entries = Entries(default_entries(form_fields(standing.approval.request.fields)))
        return self._form(200, opened, standing, entries)

    async def _answer(self, request: web.Request, opened: OpenedLink) -> web.Response:
        check_same_site(request, self._url)
        values = await self._read_form(request)
        if not self._signer.is_form_proof(opened.token, values.get(PROOF, "")):
            raise RequestRefused(403, "NoProof", REMEDY)
        standing = await self._look_up(opened)
        if standing is None:
            return gone_page()
        if (
            over := outcome_page(opened.said, standing, (await self._board.identity()).user, status=409)
        ) is not None:
            self.outcomes.add("TooLate")
            return over
        return await self._give(opened, standing, values)

    async def _give(self, opened: OpenedLink, standing: Standing, values: Mapping[str, str]) -> web.Response:
        assert standing.approval is not None
        await turns().take()
        answer, entries = await self._read_answer(opened, standing.approval, values)
        if answer is None:
            self.outcomes.add("Refused")
            return self._form(422, opened, standing, entries)
        made = await self._board.give(standing.agent, standing.approval, answer)
        self.outcomes.add("Given" if made else "TooLate")
        where = {
            "agent": str(standing.agent.ref),
            "task": opened.said.task,
            "answer": answer.name,
            "for": opened.said.label,
        }
        if made:
            log.info("answer given by link", extra=where)
        latest = await self._wait(opened)
        if latest is None:
            return gone_page()
        if made:  # reading the page again sends nothing again
            return web.Response(status=303, headers={**HEADERS, "Location": f"./{opened.token}"})
        return outcome_page(opened.said, latest, answer.user, status=409) or gone_page()

    async def _read_answer(
        self, opened: OpenedLink, approval: PendingApproval, values: Mapping[str, str]
    ) -> tuple[Answer | None, Entries]:
        """The answer in a form, where it would count; else the form again, with what is wrong."""
        fields, problems = read_entries(form_fields(approval.request.fields), values)
        entries = Entries(values, "Some of it cannot be read; see below." if problems else "", problems)
        if CHOICE not in values:
            entries = replace(entries, problem="Choose an answer.")
        if entries.problem:
            return None, entries
        who, at = await self._board.identity(approval), _timestamp()
        comment = note(opened.said.label, values.get(COMMENT, "").replace("\r\n", "\n").strip())
        answer = Answer(opened.answer_name, values[CHOICE], who.user, at, who.groups, fields, comment)
        if (refusal := check_answer(approval, answer)) is None:
            return answer, entries
        why = FOREIGN if refusal.reason == FOREIGN_REASON else refusal.message
        return None, replace(entries, problem=f"This answer would not count: {why}.")

    def _form(self, status: int, opened: OpenedLink, standing: Standing, entries: Entries) -> web.Response:
        assert standing.approval is not None
        proof = self._signer.form_proof(opened.token)
        return form_page(status, opened.said, standing.agent.ref, standing.approval, proof, entries)

    async def _look_up(self, opened: OpenedLink) -> Standing | None:
        """How the approval stands; None where its Agent is gone, or another one has its name."""
        link = opened.said
        agent = await self._board.find(link.namespace, link.agent)
        if agent is None or agent.ref.uid != link.agent_uid:
            return None
        return await look_up(self._board, agent, link.task, opened.answer_name)

    async def _wait(self, opened: OpenedLink) -> Standing | None:
        """How the approval stands once its answer was judged, or after a moment."""
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE_S
        while True:
            standing = await self._look_up(opened)
            judged = standing is None or (standing.given is not None and standing.given.accepted is not None)
            if judged or loop.time() >= until:
                return standing
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _read_form(self, request: web.Request) -> dict[str, str]:
        """The controls of a form. Raises RequestRefused."""
        if request.content_type != FORM_TYPE:
            raise RequestRefused(415, "NoForm", REMEDY)
        async with self._bodies.read(request, MAX_FORM_BYTES) as body:
            try:
                values = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_CONTROLS))
                check_value(values)
            except (ValueError, MalformedEvent):
                raise RequestRefused(400, "BadForm", REMEDY) from None
            return values


def _timestamp() -> str:
    return datetime.fromtimestamp(unix_time(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def note(label: str, comment: str) -> str:
    """The comment of an answer by link: it begins with whom the link was made for, which no comment can change."""
    whom = f"[link for {label}]" if label else "[link]"
    return f"{whom} {comment}" if comment else whom
