"""One call of an `http` task, from its work item to its end: sent, judged, and reconciled where its answer was lost."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from pydantic import ValidationError

from heed.api.fields import parse_duration
from heed.api.http_task import HttpSpec, HttpTimeouts, expects
from heed.api.secret_refs import SecretKeyRef
from heed.core.codec.canonical_json import dump_compact
from heed.core.policy.egress import Egress
from heed.core.subscriptions.answers import read_retry_after
from heed.util.backoff import Backoff
from heed.util.clock import now
from heed.worker.http.answers import mask_secrets, read_result
from heed.worker.http.client import CallLimits, HttpClient, ServiceAnswer
from heed.worker.http.failures import (
    HTTP_ANSWER_LOST,
    HTTP_STATUS,
    INVALID_REQUEST,
    PASSING_STATUSES,
    CallFailed,
)
from heed.worker.http.requests import (
    CallIdentity,
    HttpRequest,
    Secrets,
    build_reconcile_request,
    build_request,
)
from heed.worker.lease import Lease

RECONCILE_TRIES: Final = 3
RECONCILE_BACKOFF: Final = Backoff(first_s=1.0, last_s=5.0)
MAX_REPEATS: Final = 3  # of a call that the service says it has not seen


class SecretSource(Protocol):
    """Where a worker gets the values of Secrets."""

    async def read(self, refs: Sequence[SecretKeyRef]) -> Secrets:
        """The values of these keys. Raises CallFailed: SecretMissing."""


@dataclass(frozen=True, slots=True)
class HttpCall:
    """A call as a work item holds it. `timeout` is what is left of the task's own, in seconds."""

    spec: HttpSpec
    identity: CallIdentity
    egress: Egress
    timeout: float | None = None

    @classmethod
    def parse(cls, item: Mapping[str, Any]) -> "HttpCall":
        """From a work item. Raises CallFailed: InvalidRequest, where templates made no request."""
        try:
            spec = HttpSpec.model_validate(_as_texts(item["spec"]))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise CallFailed(INVALID_REQUEST, f"{place}: {first['msg']}") from None
        known = item["call"]
        identity = CallIdentity(
            known["source"],
            known["taskId"],
            str(item["attempt"]),
            known.get("startedAt"),
            known.get("correlationid"),
        )
        return cls(spec, identity, Egress.parse(item["egress"]), item.get("timeout"))

    @property
    def limits(self) -> CallLimits:
        """The limits of its request."""
        return _limits(self.spec.timeouts, self.spec, self.timeout)


class HttpCaller:
    """Makes calls: many at once, each over connections of its own."""

    def __init__(self, secrets: SecretSource, client: HttpClient | None = None) -> None:
        self._secrets, self._client = secrets, client or HttpClient()

    async def run(self, item: Mapping[str, Any], lease: Lease) -> dict[str, Any]:
        """The end of the task of a work item. Raises LeaseOver."""
        try:
            call = HttpCall.parse(item)
            secrets = await self._secrets.read(call.spec.secrets)
            return {"completed": True, "result": await self._call(call, secrets, lease)}
        except CallFailed as failure:
            return failure.dump()

    async def _call(self, call: HttpCall, secrets: Secrets, lease: Lease) -> Any:
        """The result of a call. Raises CallFailed, LeaseOver."""
        request = build_request(call.spec, secrets, call.identity)
        failure: CallFailed | None = None
        if lease.again and not call.spec.is_repeatable:
            message = (
                f"{request.shown}: a worker that had taken the call ended before it said what came of it"
            )
            failure = CallFailed(HTTP_ANSWER_LOST, message, lost=True)
        for _ in range(MAX_REPEATS):
            if failure is None:
                try:
                    return await self._ask(call, request, secrets, lease)
                except CallFailed as error:
                    if not error.lost:
                        raise
                    if call.spec.is_repeatable:
                        raise replace(error, retryable=True) from None
                    failure = error
            found, answer = await self._reconcile(call, secrets, failure)
            if found is not None and answer is not None:
                return read_result(found, answer, call.spec.result)
            failure = None
        message = f"{request.shown}: the service lost the call {MAX_REPEATS} times"
        raise CallFailed(HTTP_ANSWER_LOST, message)

    async def _ask(self, call: HttpCall, request: HttpRequest, secrets: Secrets, lease: Lease) -> Any:
        """Send the request, and judge the answer. Raises CallFailed, LeaseOver."""
        by_proxy = call.spec.proxy == "Environment"
        answer = await self._client.send(request, call.egress, call.limits, by_proxy=by_proxy, lease=lease)
        status = answer.status
        if not expects(call.spec.expect, status):
            retryable = status in PASSING_STATUSES or (status >= 500 and call.spec.is_repeatable)
            wait = read_retry_after(answer.headers.get("retry-after"), now())
            message = f"{request.shown} answered {status}, which is not expected"
            raise CallFailed(HTTP_STATUS, message, retryable=retryable, retry_after=wait)
        return read_result(request, mask_secrets(answer, list(secrets.values())), call.spec.result)

    async def _reconcile(
        self, call: HttpCall, secrets: Secrets, failure: CallFailed
    ) -> tuple[HttpRequest | None, ServiceAnswer | None]:
        """The answer that tells what became of a call; None where it never arrived. Raises CallFailed."""
        asked = call.spec.reconcile
        if asked is None:
            message = f"{failure.message}; it is not repeated, as it may have been served"
            raise replace(failure, message=message)
        request = build_reconcile_request(call.spec, secrets)
        problem = ""
        for number in range(RECONCILE_TRIES):
            await asyncio.sleep(RECONCILE_BACKOFF.delay(number))
            try:
                answer = await self._client.send(
                    request, call.egress, call.limits, by_proxy=call.spec.proxy == "Environment"
                )
            except CallFailed as error:
                problem = error.message
                continue
            if expects(asked.missing, answer.status):
                return None, None
            if expects(asked.expect, answer.status):
                return request, mask_secrets(answer, list(secrets.values()))
            problem = f"{request.shown} answered {answer.status}"
        message = f"{failure.message}; what became of it could not be found out: {problem}"
        raise replace(failure, message=message)


def _as_texts(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A rendered request, in which numbers that stand where text belongs are text: `value: ${input.count}`."""
    found = {**spec}
    if isinstance(found.get("headers"), list):
        found["headers"] = [
            _with_text(item, "value") if isinstance(item, dict) else item for item in found["headers"]
        ]
    for member, name in (("body", "text"), ("cloudEvent", "subject")):
        if isinstance(found.get(member), dict):
            found[member] = _with_text(found[member], name)
    return found


def _with_text(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = given.get(name)
    return {**given, name: dump_compact(value)} if isinstance(value, int | float) else {**given}


def _limits(timeouts: HttpTimeouts, spec: HttpSpec, left: float | None) -> CallLimits:
    total = float(parse_duration(timeouts.total))
    return CallLimits(
        connect=float(parse_duration(timeouts.connect)),
        first_byte=float(parse_duration(timeouts.first_byte)),
        total=total if left is None else min(total, left),
        max_bytes=spec.max_bytes,
        redirects=spec.redirects,
    )
