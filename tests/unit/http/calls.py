"""Calls as tests make them: a work item, and what becomes of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from heed.api.http_task import HttpSpec
from heed.api.secret_refs import SecretKeyRef
from heed.core.policy.egress import Egress
from heed.util.clock import loop_time
from heed.worker.http.calls import HttpCaller
from heed.worker.http.client import HttpClient
from heed.worker.http.failures import CallFailed
from heed.worker.lease import Lease

LOCAL = Egress(networks=("127.0.0.0/8",))
TOKEN = "canary-1234567890"


class KnownSecrets:
    """Secrets by the names of their keys."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = {"token": TOKEN} if values is None else values

    async def read(self, refs: Sequence[SecretKeyRef]) -> Mapping[SecretKeyRef, str]:
        """Their values."""
        for ref in refs:
            if ref.key not in self._values:
                raise CallFailed("SecretMissing", f"Secret {ref.name} has no key {ref.key}", retryable=True)
        return {ref: self._values[ref.key] for ref in refs}


def work_item(
    spec: Mapping[str, Any], egress: Egress = LOCAL, timeout: float | None = None
) -> dict[str, Any]:
    """A work item as the operator queues it."""
    return {
        "attempt": "pay-1.2",
        "spec": HttpSpec.model_validate(spec).template,
        "egress": egress.dump(),
        "timeout": timeout,
        "call": {
            "source": "/namespaces/demo/agents/shop",
            "taskId": "pay-1",
            "startedAt": "2026-01-01T12:00:00Z",
            "correlationid": "c-1",
        },
    }


async def make_call(
    spec: Mapping[str, Any],
    *,
    egress: Egress = LOCAL,
    again: bool = False,
    age: float = 0.0,
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The end of a call whose item was asked for `age` seconds ago."""
    caller = HttpCaller(KnownSecrets(), HttpClient(environment or {}))
    return await caller.run(work_item(spec, egress, timeout), Lease(loop_time() - age, again=again))


def failed(
    reason: str, message: str, *, retryable: bool = False, retry_after: float | None = None
) -> dict[str, Any]:
    """The end of a call that failed."""
    end: dict[str, Any] = {"completed": False, "reason": reason, "message": message}
    if not retryable:
        end["retryable"] = False
    elif retry_after is not None:
        end["retryAfter"] = retry_after
    return end
