"""The approval links of a gateway: made for who may make them, and answered by who has them."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web
from prometheus_client.metrics_core import Metric

from heed.gateway.approvals.answering import LinkPages
from heed.gateway.approvals.cluster_board import ClusterBoard
from heed.gateway.approvals.link_keys import (
    FolderKeys,
    LinkKeyring,
    ReadKeys,
    SecretKeys,
    load_soon,
    make_keys,
)
from heed.gateway.approvals.links import LinkSigner
from heed.gateway.approvals.local_board import LocalBoard
from heed.gateway.approvals.minting import (
    APPROVALS_PATH,
    ClusterRights,
    EveryonesRights,
    LinkAuthority,
    LinkMint,
)
from heed.gateway.approvals.standing import ApprovalBoard
from heed.gateway.inbound.senders import Authenticator
from heed.gateway.part import GatewayContext, GatewayPart
from heed.gateway.refusals import RequestRefused
from heed.kube.client.client import KubeApi
from heed.kube.leader.election import own_namespace
from heed.kube.metrics.families import tally
from heed.local.ledger_store import ConnectedBucket
from heed.util.aio import stop

LINKS_PATH: Final = f"{APPROVALS_PATH}/{{namespace}}/{{agent}}/{{task}}/links"


def approval_parts(context: GatewayContext, authenticator: Authenticator) -> Sequence[GatewayPart]:
    """Links, where there are keys for them, and in `heed dev`; else what says that there are none."""
    if context.api is None:
        keys = make_keys()
        board = LocalBoard(ConnectedBucket(context.connection), context.bus)
        return (
            ApprovalsPart(
                context, LinkSigner(lambda: keys), board, LinkAuthority(authenticator, EveryonesRights())
            ),
        )
    if (read := _configured_keys(context, context.api)) is None:
        return (NoApprovals(),)
    keyring = LinkKeyring(read)
    authority = LinkAuthority(authenticator, ClusterRights(context.api))
    return (ApprovalsPart(context, LinkSigner(keyring), ClusterBoard(context.api), authority, keyring),)


def _configured_keys(context: GatewayContext, api: KubeApi) -> ReadKeys | None:
    """Where the keys are, by the settings."""
    settings = context.settings
    if settings.gateway.link_keys is not None:
        return FolderKeys(Path(settings.gateway.link_keys))
    if settings.gateway.link_secret is None:
        return None
    namespace = settings.lease_namespace or own_namespace() or settings.namespace or "default"
    return SecretKeys(api, namespace, settings.gateway.link_secret)


class ApprovalsPart(GatewayPart):
    """Makes and serves links."""

    def __init__(
        self,
        context: GatewayContext,
        signer: LinkSigner,
        board: ApprovalBoard,
        authority: LinkAuthority,
        keyring: LinkKeyring | None = None,
    ) -> None:
        self._keyring = keyring
        self._mint = LinkMint(context, signer, board, authority)
        self._pages = LinkPages(signer, board, context.bodies, context.settings.gateway.url)
        context.metrics.add(self._collect)

    def routes(self) -> Iterable[web.RouteDef]:
        """Links are made at an approval, and answered at their own address."""
        yield web.post(LINKS_PATH, self._mint.make)
        yield web.get(f"{APPROVALS_PATH}/{{token}}", self._pages.show)
        yield web.post(f"{APPROVALS_PATH}/{{token}}", self._pages.answer)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the keys. While there are none, links answer 503, and the gateway goes on taking events."""
        if self._keyring is None:
            yield
            return
        await load_soon(self._keyring)
        keeping = asyncio.create_task(self._keyring.keep(), name="keys of approval links")
        try:
            yield
        finally:
            await stop(keeping)

    def _collect(self) -> Iterator[Metric]:
        yield tally("heed_gateway_approval_links_total", "Approval links that were made", self._mint.made)
        help = "Answers by approval links, and what became of them"
        yield tally("heed_gateway_approval_answers_total", help, self._pages.outcomes)


class NoApprovals(GatewayPart):
    """Says that this gateway has no links, to who asks for one."""

    def routes(self) -> Iterable[web.RouteDef]:
        """Where links would be made."""
        yield web.post(LINKS_PATH, self.refuse)

    async def refuse(self, request: web.Request) -> web.Response:
        """Answer any request."""
        remedy = "set gateway.approvalLinks.enabled=true in the chart's values, or HEED_GATEWAY_LINK_SECRET"
        raise RequestRefused(404, "NoApprovalLinks", f"this gateway makes no approval links; {remedy}")
