"""The Lease as the lock object of the official client's election.

Every request has a bound, every write is fenced by resourceVersion, and no error is raised.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import Any, Final

from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.baselock import BaseLock

from heed.kube.client.client import ApiError, ApiResponse, KubeApi
from heed.kube.client.reachability import Reachability
from heed.util.clock import timestamp

log = logging.getLogger("heed.election")
LEASE_DURATION_S: Final = 15  # seconds without a renewal after which another one may take the Lease
RENEW_DEADLINE_S: Final = 10  # seconds without a renewal after which the active one gives up
LEASE_REQUEST_TIMEOUT_S: Final = 5.0
RELEASE_RETRY_DELAY_S: Final = 0.1
COORDINATION_API: Final = "/apis/coordination.k8s.io/v1"


class LeaseLock(BaseLock):
    """One candidacy for a Lease, from standby to its loss."""

    def __init__(self, api: KubeApi, namespace: str, name: str, identity: str, contact: Reachability) -> None:
        super().__init__(name, namespace, identity)
        self._api, self._contact = api, contact
        self._path = leases_path(namespace, name)
        self._spec: Mapping[str, Any] = {}
        self._version = ""
        self._renewed_at: float | None = None
        self._rival: str | None = None
        self._rivalled = asyncio.Event()

    def holds(self) -> bool:
        """Whether the Lease was renewed within the deadline, and no other holder was seen."""
        return self._rival is None and self._left() > 0

    def why_lost(self) -> str:
        """Why the Lease was lost."""
        if self._rival is not None:
            return f"{self._rival} holds the lease"
        cause = self._contact.error or "this process did not get to it"
        return f"the lease was not renewed for {RENEW_DEADLINE_S} s: {cause}"

    async def wait_until_lost(self) -> None:
        """Wait until the Lease is lost."""
        while self.holds():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._left()):
                    await self._rivalled.wait()

    async def release(self) -> None:
        """Release a held Lease, so that another replica need not wait for its expiry. Retries for a short while."""
        with suppress(ApiError):
            while (
                self.holds() and self._read(await bound_request(self._api.get(self._path))) == self.identity
            ):
                spec = {"holderIdentity": None, "leaseDurationSeconds": 1, "renewTime": timestamp()}
                if await self._write(self._api.merge(self._path, self._fenced(spec))):
                    self._renewed_at = None
                    log.info("lease released", extra={"identity": self.identity})
                    return
                await asyncio.sleep(RELEASE_RETRY_DELAY_S)

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        """BaseLock: whether the Lease could be read, and its record or the error."""
        try:
            answer = await bound_request(self._api.get(self._path))
        except ApiError as error:
            if error.status != 404:
                self._contact.note_failure(error)
            return False, _as_the_client_says(error)
        holder = self._read(answer)
        if holder and holder != self.identity and self._renewed_at is not None:
            self._rival = holder
            self._rivalled.set()
        self._contact.note_success()
        return True, _record(self._spec)

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        """BaseLock: create the Lease, held by this replica. False where that failed."""
        spec = lease_spec({}, self.identity, timestamp())
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name},
            "spec": spec,
        }
        return await self._write(self._api.create(leases_path(namespace), body))

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        """BaseLock: take or renew the Lease as it was read last. False where that failed."""
        spec = lease_spec(self._spec, self.identity, timestamp())
        return await self._write(self._api.merge(self._path, self._fenced(spec)))

    def _left(self) -> float:
        """Seconds that the Lease is held without another renewal."""
        return 0.0 if self._renewed_at is None else self._renewed_at + RENEW_DEADLINE_S - time.monotonic()

    def _read(self, answer: ApiResponse) -> str | None:
        self._spec = answer.body.get("spec") or {}
        self._version = answer.body["metadata"]["resourceVersion"]
        holder: str | None = self._spec.get("holderIdentity")
        return holder

    def _fenced(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        return {"metadata": {"resourceVersion": self._version}, "spec": spec}

    async def _write(self, request: Awaitable[ApiResponse]) -> bool:
        began = time.monotonic()  # when it is answered says nothing of when the others saw it
        try:
            answer = await bound_request(request)
        except ApiError as error:
            if error.status == 409:
                self._contact.note_success()  # another one was quicker
            else:
                self._contact.note_failure(error)
            return False
        self._read(answer)
        self._renewed_at = began
        self._contact.note_success()
        return True


async def bound_request(request: Awaitable[ApiResponse]) -> ApiResponse:
    """Bound a request so that another attempt fits before the renew deadline. Raises ApiError."""
    try:
        async with asyncio.timeout(LEASE_REQUEST_TIMEOUT_S):
            return await request
    except TimeoutError:
        raise ApiError(0, f"no answer within {LEASE_REQUEST_TIMEOUT_S:g} s") from None


def lease_spec(spec: Mapping[str, Any], identity: str, now: str) -> dict[str, Any]:
    """The spec of a Lease that `identity` takes or renews, with the fields that client-go writes."""
    held = spec.get("holderIdentity") == identity
    return {
        "holderIdentity": identity,
        "leaseDurationSeconds": LEASE_DURATION_S,
        "acquireTime": (spec.get("acquireTime") if held else None) or now,
        "renewTime": now,
        "leaseTransitions": (spec.get("leaseTransitions") or 0) + (0 if held else 1),
    }


def _record(spec: Mapping[str, Any]) -> LeaderElectionRecord:
    """The client's record of a Lease, which it only compares; one without a holder is free."""
    fields = ("holderIdentity", "leaseDurationSeconds", "acquireTime", "renewTime")
    return LeaderElectionRecord(*(str(spec[name]) if spec.get(name) else None for name in fields))


def _as_the_client_says(error: ApiError) -> ApiException:
    """An error as the client expects it: it looks for the code in the text, and creates the Lease on 404."""
    return ApiException(error.status, error.message, body=f'{{"code": {error.status}}}')


def leases_path(namespace: str, name: str = "") -> str:
    """The path of a namespace's Leases, or of one."""
    return f"{COORDINATION_API}/namespaces/{namespace}/leases" + (f"/{name}" if name else "")
