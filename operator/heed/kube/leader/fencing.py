"""Fencing: before each write of the active replica, its own clock is asked whether it still holds the Lease.

Ledger writes are fenced by the API server itself: a replica that was replaced loses them. Creating a Job and publishing
an event are not: their names make a second time harmless, as long as the first one can still be found. A process that
was stopped for long and goes on in the middle of an effect may come after the Job was deleted, or after the broker has
forgotten the message's id. So it looks at its own clock first.
"""

from collections.abc import Callable, Mapping
from typing import Any, Self

from kubernetes.aio import client

from heed.api.status import OutboxMessage
from heed.bus.client.connection import Connection
from heed.bus.jetstream import JetStreamBus, PubAck
from heed.core.events import Event
from heed.errors import BusUnavailable
from heed.kube.client.client import Answered, ApiError, ApiResponse, KubeApi, api_client, unobserved

FENCED_MESSAGE = "this replica is not the active one any more"


class FencedKubeApi(KubeApi):
    """Reads always; writes only while `may_write`."""

    def __init__(
        self,
        client_: client.ApiClient,
        observe: Answered = unobserved,
        *,
        may_write: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(client_, observe)
        self._may_write = may_write

    @classmethod
    async def connect(
        cls,
        kubeconfig: str | None = None,
        context: str | None = None,
        *,
        observe: Answered = unobserved,
        may_write: Callable[[], bool] = lambda: False,
    ) -> Self:
        """Connect as `api_client` does. Raises InvalidSettings."""
        return cls(await api_client(kubeconfig, context), observe, may_write=may_write)

    async def create(self, path: str, body: Mapping[str, Any]) -> ApiResponse:
        """See KubeApi. Raises ApiError."""
        self._check()
        return await super().create(path, body)

    async def merge(self, path: str, patch: Mapping[str, Any]) -> ApiResponse:
        """See KubeApi. Raises ApiError."""
        self._check()
        return await super().merge(path, patch)

    async def apply(self, path: str, body: Mapping[str, Any]) -> ApiResponse:
        """See KubeApi. Raises ApiError."""
        self._check()
        return await super().apply(path, body)

    async def delete(self, path: str, uid: str | None = None) -> ApiResponse:
        """See KubeApi. Raises ApiError."""
        self._check()
        return await super().delete(path, uid)

    def _check(self) -> None:
        if not self._may_write():
            raise ApiError(0, FENCED_MESSAGE)


class FencedBus(JetStreamBus):
    """Reads always; publishes only while `may_publish`."""

    def __init__(self, connection: Connection, may_publish: Callable[[], bool]) -> None:
        super().__init__(connection)
        self._may_publish = may_publish

    async def send(self, subject: str, event: Event, *, deduplicate: bool = True) -> PubAck:
        """See JetStreamBus. Raises BusUnavailable, MalformedEvent."""
        self._check()
        return await super().send(subject, event, deduplicate=deduplicate)

    async def publish_owed(self, id: str, owed: OutboxMessage, *, look_first: bool) -> None:
        """See JetStreamBus. Raises BusUnavailable, MalformedEvent."""
        self._check()
        await super().publish_owed(id, owed, look_first=look_first)

    def _check(self) -> None:
        if not self._may_publish():
            raise BusUnavailable(FENCED_MESSAGE)
