"""Calls models over HTTP: with the key, to no address that is refused, and every end of it as an outcome."""

from dataclasses import dataclass
from typing import Final

from yarl import URL

from heed.core.llm.model_answer import EndpointAnswer, Failure, FailureReason, Outcome
from heed.core.llm.model_call import ModelCall
from heed.core.llm.model_endpoint import key_header, request_url
from heed.core.llm.protocols import foresee_overflow, read_answer, write_request
from heed.core.policy.egress import Egress
from heed.errors import POLICY_VIOLATION
from heed.util.clock import now
from heed.worker.http.answers import mask_secrets
from heed.worker.http.client import CallLimits, HttpClient
from heed.worker.http.failures import (
    HTTP_INVALID_RESPONSE,
    HTTP_REFUSED_ADDRESS,
    HTTP_TOO_LARGE,
    INVALID_REQUEST,
    CallFailed,
)
from heed.worker.http.requests import Headers, HttpRequest
from heed.worker.lease import Lease

MAX_ANSWER_BYTES: Final = 16 * 1024**2
DEFAULT_TIMEOUT_S: Final = 600.0
CONNECT_TIMEOUT_S: Final = 10.0
_REASONS: Final = {
    POLICY_VIOLATION: FailureReason.POLICY_VIOLATION,
    HTTP_REFUSED_ADDRESS: FailureReason.POLICY_VIOLATION,
    INVALID_REQUEST: FailureReason.INVALID_REQUEST,
    HTTP_TOO_LARGE: FailureReason.INVALID_ANSWER,
    HTTP_INVALID_RESPONSE: FailureReason.INVALID_ANSWER,
}


@dataclass(frozen=True, slots=True)
class EndpointAccess:
    """What a call of an endpoint needs beside its settings: key, further headers, rules of egress, its time.

    `headers` may hold secrets; all their values are masked in what the endpoint answers.
    """

    key: str | None = None
    headers: Headers = ()
    egress: Egress = Egress()
    timeout_s: float = DEFAULT_TIMEOUT_S
    by_proxy: bool = False
    lease: Lease | None = None

    @property
    def limits(self) -> CallLimits:
        """An answer that is not streamed begins when the model has ended: the first byte has all the time there is."""
        connect = min(CONNECT_TIMEOUT_S, self.timeout_s)
        return CallLimits(connect, self.timeout_s, self.timeout_s, MAX_ANSWER_BYTES, redirects=0)


class ModelClient:
    """Calls models, many at once."""

    def __init__(self, http: HttpClient | None = None) -> None:
        self._http = http or HttpClient()

    async def ask(self, call: ModelCall, access: EndpointAccess) -> Outcome:
        """What came of a call. It is made once: whether it is made again is decided by who counts what it costs.

        Raises LeaseOver.
        """
        if (failure := foresee_overflow(call)) is not None:
            return failure
        try:
            request = _build_request(call, access)
        except ValueError as error:
            return Failure(FailureReason.INVALID_REQUEST, str(error), unpaid=True)
        try:
            answer = await self._http.send(
                request, access.egress, access.limits, by_proxy=access.by_proxy, lease=access.lease
            )
        except CallFailed as failed:
            return _read_failure(failed)
        secrets = [value for _, value in access.headers] + ([] if access.key is None else [access.key])
        masked = mask_secrets(answer, secrets)
        return read_answer(EndpointAnswer(masked.status, masked.headers, masked.body), call, now())


def _build_request(call: ModelCall, access: EndpointAccess) -> HttpRequest:
    """Raises ValueError for a base URL or a body that is none."""
    headers: Headers = (("Content-Type", "application/json"), ("Accept", "application/json"), *access.headers)
    if access.key is not None:
        headers = (*headers, key_header(call.settings.base_url, access.key))
    return HttpRequest("POST", URL(request_url(call.settings)), headers, write_request(call))


def _read_failure(failed: CallFailed) -> Failure:
    """A call without an answer. It may have been paid where the request arrived."""
    reason = _REASONS.get(failed.reason, FailureReason.ENDPOINT_AWAY)
    may_be_paid = failed.lost or failed.reason in (HTTP_TOO_LARGE, HTTP_INVALID_RESPONSE)
    return Failure(reason, failed.message, unpaid=not may_be_paid)
