"""Leader election over a Lease: the official client's, with strict deadlines.

`LeaderElection` says who may take the Lease, and when. What it leaves open is closed here:

- it waits up to 300 s for an answer, and looks at the renew deadline only between two answers: every request has a
  bound, and the deadline is kept by a watch beside it, from the beginning of the last renewal that came through;
- an error that is not an `ApiException` ends it and leaves the work running: the lock never raises;
- it goes on until the deadline where somebody else holds the Lease: here that is the end at once;
- it neither waits for the work to end nor gives the Lease back: `lead` does both, in this order.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from kubernetes.aio.leaderelection import leaderelection
from kubernetes.aio.leaderelection.electionconfig import Config

from heed.errors import HeedError
from heed.kube.client.client import ApiError, KubeApi, agents_path
from heed.kube.client.reachability import Reachability
from heed.kube.leader.lease_lock import LEASE_DURATION_S, RENEW_DEADLINE_S, LeaseLock, bound_request
from heed.settings import Settings
from heed.util.aio import stop

log = logging.getLogger("heed.election")
RETRY_PERIOD_S: Final = 2  # seconds between two looks at the Lease
WORK_END_TIMEOUT_S: Final = 10.0  # seconds until the work is told again to end
PROBE_INTERVAL_S: Final = 5.0
NO_LEASE: Final = ("", "none")
REMEDIES: Final = {
    403: "grant the operator get, create and patch on leases there, as the chart does",
    404: "create the namespace, or name another one in HEED_LEASE_NAMESPACE",
}
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
Work = Callable[[], Coroutine[Any, Any, None]]


class LeaseLost(HeedError):
    """This replica lost the Lease, and its work has ended."""


class Leadership(Protocol):
    """How a replica becomes the active one."""

    def holds(self) -> bool:
        """Whether this replica is the leader and no other can be, as far as its own clock tells."""

    def missing(self) -> str | None:
        """What keeps this replica from being active or standby, or None."""

    async def lead(self, work: Work) -> None:
        """Wait to be elected, then run `work` until the leadership is lost; it has ended on return.

        Raises LeaseLost, and what `work` raises. Cancel to stop: the work is ended, then the place given up.
        """


@dataclass(frozen=True, slots=True)
class Candidacy:
    """The Lease a replica competes for, and its identity, which must be unique."""

    namespace: str
    lease: str
    identity: str


def read_candidacy(settings: Settings) -> Candidacy | None:
    """The candidacy by settings, with defaults from the pod; None: no election."""
    if settings.lease is None or settings.lease in NO_LEASE:
        return None
    namespace = settings.lease_namespace or own_namespace() or settings.namespace or "default"
    return Candidacy(namespace, settings.lease, settings.identity or own_identity())


def make_leadership(settings: Settings, api: KubeApi) -> Leadership:
    """The configured leader election. `api` should be a connection of its own, which other requests cannot delay."""
    standing = read_candidacy(settings)
    return NoElection(api, settings.namespace) if standing is None else Election(api, standing)


def own_namespace() -> str | None:
    """The namespace of the pod that this process runs in; None outside a cluster."""
    with suppress(OSError):
        return _POD_NAMESPACE.read_text().strip() or None
    return None


def own_identity() -> str:
    """The pod's name, so that a restarted container finds its own Lease; elsewhere the process's."""
    host = socket.gethostname()
    return host if own_namespace() else f"{host}-{os.getpid()}"


class Election:
    """A candidate for a Lease, term after term."""

    def __init__(self, api: KubeApi, candidacy: Candidacy) -> None:
        self._api, self._candidacy = api, candidacy
        self._contact = Reachability(f"the lease {candidacy.namespace}/{candidacy.lease}", REMEDIES)
        self._lock: LeaseLock | None = None
        # It says every two seconds what is wrong; `Reachability` does so once a minute.
        logging.getLogger(leaderelection.__name__).setLevel(logging.CRITICAL)

    def holds(self) -> bool:
        """Whether this replica holds the Lease, by its own clock."""
        return self._lock is not None and self._lock.holds()

    def missing(self) -> str | None:
        """What keeps this replica from competing for the Lease, or None; another holder is no obstacle."""
        return self._contact.missing()

    async def lead(self, work: Work) -> None:
        """See Leadership."""
        standing = self._candidacy
        lock = LeaseLock(self._api, standing.namespace, standing.lease, standing.identity, self._contact)
        election = leaderelection.LeaderElection(_config(lock))
        extra = {"lease": f"{standing.namespace}/{standing.lease}", "identity": standing.identity}
        log.info("standing by", extra=extra)
        await election.acquire()
        self._lock = lock
        log.info("elected", extra=extra)
        try:
            await _while_held(lock, election, work)
        finally:
            self._lock = None


async def _while_held(lock: LeaseLock, election: leaderelection.LeaderElection, work: Work) -> None:
    working = asyncio.create_task(work())
    renewing = asyncio.create_task(election.renew_loop())
    lapsing = asyncio.create_task(lock.wait_until_lost())
    try:
        await asyncio.wait({working, lapsing}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not lock.holds():
            await stop(renewing)  # it would take the Lease again as soon as it could, without work being done
        broke = working.done()
        await end_task(working)
        await stop(renewing)
        await stop(lapsing)
        await lock.release()
    if broke:
        working.result()
        return
    raise LeaseLost(lock.why_lost())


async def end_task(task: "asyncio.Task[Any]") -> None:
    """Cancel a task and wait for its end, cancelling again after WORK_END_TIMEOUT_S."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=WORK_END_TIMEOUT_S)
    if not task.cancelled():
        task.exception()  # looked at, so that asyncio does not complain


def _config(lock: LeaseLock) -> Config:
    async def nothing() -> None:
        """`lead` takes the two halves of the client's `run` itself."""

    return Config(lock, LEASE_DURATION_S, RENEW_DEADLINE_S, RETRY_PERIOD_S, nothing, None)  # type: ignore[arg-type]


class NoElection:
    """No election: this process is always active. The API server is asked for the probe only."""

    def __init__(self, api: KubeApi, namespace: str | None) -> None:
        self._api, self._path = api, agents_path(namespace)
        self._contact = Reachability("the list of Agents")

    def holds(self) -> bool:
        """Always."""
        return True

    def missing(self) -> str | None:
        """See Leadership."""
        return self._contact.missing()

    async def lead(self, work: Work) -> None:
        """See Leadership."""
        asking = asyncio.create_task(self._keep_asking())
        try:
            await work()
        finally:
            await stop(asking)

    async def _keep_asking(self) -> None:
        while True:
            try:
                await bound_request(self._api.get(self._path, {"limit": "1"}))
            except ApiError as error:
                self._contact.note_failure(error)
            else:
                self._contact.note_success()
            await asyncio.sleep(PROBE_INTERVAL_S)
