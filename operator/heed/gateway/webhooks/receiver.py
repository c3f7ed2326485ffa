"""Receives deliveries: verified, mapped to an event, published; answered when JetStream has acknowledged it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web

from heed import names
from heed.api.event_source import EventSourceSpec
from heed.api.secret_refs import SecretKeyRef
from heed.core.events import Event
from heed.core.webhooks.delivery import (
    ChallengeReply,
    Delivery,
    UnmappedDelivery,
    answer_question,
    map_delivery,
)
from heed.core.webhooks.program import WebhookProgram
from heed.core.webhooks.verification import (
    VerificationFailure,
    is_secret,
    verify_signature,
    verify_token,
)
from heed.errors import MalformedEvent
from heed.gateway.browsers import refuse_foreign_page
from heed.gateway.part import GatewayContext
from heed.gateway.publisher import encode_event
from heed.gateway.rate_limiter import RateLimiter
from heed.gateway.refusals import RequestRefused, busy
from heed.gateway.secrets import Secrets, SecretUnavailable
from heed.gateway.webhooks.registry import WebhookRegistry
from heed.gateway.webhooks.requests import read_delivery, read_headers, read_query
from heed.kube.metrics.instruments import LabelledCounter
from heed.util.clock import unix_time
from heed.util.cpu_turns import turns

MAX_LIMITERS: Final = 10_000  # of EventSources with a limit; the oldest ones start full again beyond that
Verify = Callable[[Sequence[bytes]], VerificationFailure | None]
_ANSWERS: Final = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class DeliveryReceiver:
    """Answers requests to webhooks. `missing` says why EventSources are not known yet, or None.

    `doubt` is told of each EventSource none of whose Secrets can be used.
    """

    def __init__(
        self,
        context: GatewayContext,
        registry: WebhookRegistry,
        secrets: Secrets,
        missing: Callable[[], str | None],
        doubt: Callable[[tuple[str, str]], None],
    ) -> None:
        self._context, self._registry, self._secrets, self._missing = context, registry, secrets, missing
        self._doubt = doubt
        self._limiters: dict[tuple[str, str], tuple[EventSourceSpec, RateLimiter]] = {}
        self.outcomes = LabelledCounter("namespace", "event_source", "outcome")

    async def deliver(self, request: web.Request) -> web.Response:
        """Answer a POST. Raises RequestRefused."""
        program = self._find(request)
        try:
            response = await self._deliver(program, request)
        except RequestRefused as refused:
            self._count(program, refused.code)
            raise
        self._count(program, {202: "Published", 204: "Filtered"}.get(response.status, "Answered"))
        return response

    async def ask(self, request: web.Request) -> web.Response:
        """Answer a GET, which is a question or nothing. Raises RequestRefused."""
        program = self._find(request)
        challenge = program.spec.challenge
        if challenge is None or challenge.method != "GET":
            message = "deliveries come by POST"
            raise RequestRefused(405, "MethodNotAllowed", message, headers={"Allow": "POST"})
        if challenge.token is not None:
            given = read_query(request).get(challenge.token.parameter, "")
            wanted = await self._read_secrets(program, (challenge.token.secret_ref,))
            if not is_secret(given, wanted):
                self._count(program, "TokenMismatch")
                raise RequestRefused(
                    403, "TokenMismatch", f"{challenge.token.parameter} is not the right token"
                )
        try:
            reply = answer_question(program, Delivery(read_headers(request), read_query(request)))
        except UnmappedDelivery as error:
            raise RequestRefused(error.status, error.code, error.message) from None
        if reply is None:
            raise RequestRefused(400, "NoChallenge", "this is no question that is answered here")
        self._count(program, "Answered")
        return _answered(reply)

    def _find(self, request: web.Request) -> WebhookProgram:
        if (reason := self._missing()) is not None:
            raise busy(503, "Starting", f"webhooks are not known yet: {reason}")
        namespace, path = request.match_info["namespace"], request.match_info["path"]
        program = self._registry.find(namespace, path)
        if program is None:
            raise RequestRefused(404, "NotFound", "there is no webhook at this address")
        return program

    async def _deliver(self, program: WebhookProgram, request: web.Request) -> web.Response:
        if (
            self._context.api is None
        ):  # not the host that is asked for: a tunnel brings deliveries under its own
            refuse_foreign_page(request)
        most = min(program.spec.limits.body_bytes, self._context.connection.max_payload)
        async with self._context.bodies.read(request, most, sender_known=False) as body:
            await self._verify(program, request, body)
            self._admit(program)
            await turns().take()
            try:
                outcome = map_delivery(program, read_delivery(request, body))
            except UnmappedDelivery as error:
                raise RequestRefused(error.status, error.code, error.message) from None
            if isinstance(outcome, ChallengeReply):
                return _answered(outcome)
            if outcome is None:
                return web.Response(status=204)
            await self._publish(program, outcome)
            return web.Response(status=202)

    async def _verify(self, program: WebhookProgram, request: web.Request, body: bytes) -> None:
        """Raise RequestRefused unless the sender is who the EventSource says."""
        spec, headers = program.spec.verify, read_headers(request)
        if spec.hmac is not None:
            hmac = spec.hmac

            def verify(secrets: Sequence[bytes]) -> VerificationFailure | None:
                return verify_signature(hmac, headers, body, secrets, unix_time())

            await self._believe(program, (hmac.secret_ref, *hmac.other_secret_refs), verify, "HMAC")
        elif spec.token is not None:
            token = spec.token

            def verify_it(secrets: Sequence[bytes]) -> VerificationFailure | None:
                return verify_token(token, headers, secrets)

            await self._believe(program, (token.secret_ref, *token.other_secret_refs), verify_it, "Bearer")

    async def _believe(
        self, program: WebhookProgram, refs: Sequence[SecretKeyRef], verify: Verify, scheme: str
    ) -> None:
        failure = verify(await self._read_secrets(program, refs))
        if failure is not None and failure.code.endswith("Mismatch"):
            # The Secret may have changed since it was read.
            if await self._secrets.refresh(program.namespace, refs):
                failure = verify(await self._read_secrets(program, refs))
        if failure is not None:
            raise RequestRefused(
                401, failure.code, failure.message, headers={"WWW-Authenticate": f'{scheme} realm="heed"'}
            )

    async def _read_secrets(self, program: WebhookProgram, refs: Sequence[SecretKeyRef]) -> list[bytes]:
        """The values there are; of several, some may be gone already, or not there yet. Raises RequestRefused."""
        found = await asyncio.gather(
            *(self._secrets.read(program.namespace, ref) for ref in refs), return_exceptions=True
        )
        values: list[bytes] = []
        for item in found:
            if isinstance(item, bytes):
                values.append(item)
            elif not isinstance(item, SecretUnavailable):
                raise item
        if not values:
            # Which Secret, and why, is for its owner: in the status.
            self._doubt((program.namespace, program.name))
            raise busy(503, "SecretUnavailable", "the secret of this webhook cannot be read now", 30)
        return values

    def _admit(self, program: WebhookProgram) -> None:
        """Raise RequestRefused where more come than may."""
        limits = program.spec.limits
        if limits.per_second is None:
            return
        key = program.namespace, program.name
        spec, limiter = self._limiters.get(key, (None, None))
        if limiter is None or spec is not program.spec:
            while len(self._limiters) >= MAX_LIMITERS:
                del self._limiters[next(iter(self._limiters))]
            limiter = RateLimiter(limits.per_second, limits.burst or limits.per_second)
            self._limiters[key] = program.spec, limiter
        limiter.take("this webhook")

    async def _publish(self, program: WebhookProgram, event: Event) -> None:
        subject = names.event_subject(program.namespace, event.type)
        try:
            encoded = encode_event(subject, event)
        except MalformedEvent as error:
            raise RequestRefused(400, "BadEvent", str(error)) from None
        await self._context.publisher.publish([encoded])

    def _count(self, program: WebhookProgram, outcome: str) -> None:
        self.outcomes.add(program.namespace, program.name, outcome)


def _answered(reply: ChallengeReply) -> web.Response:
    """The sender's own text, as nothing that a browser would run."""
    return web.Response(text=reply.text, content_type=reply.content_type, charset="utf-8", headers=_ANSWERS)
