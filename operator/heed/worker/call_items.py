"""Calls: requests of an Agent's tasks, which Heed's own code makes for the items of their queue."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from heed import names
from heed.bus.client.connection import Connection
from heed.core.tasks.kinds import HTTP
from heed.worker.http.calls import HttpCaller, SecretSource
from heed.worker.work_items import WorkTaker, failed_end

log = logging.getLogger("heed.worker")

CALLS: Final = 2000  # at once: about 65 MiB more than an idle worker, and one core for 600 calls a second


class CallWorker(WorkTaker):
    """Makes the calls of an Agent, at most `concurrency` at once."""

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        agent: str,
        secrets: SecretSource,
        concurrency: int = CALLS,
    ) -> None:
        consumer = names.work_consumer(namespace, names.call_pool(agent))
        super().__init__(connection, namespace, agent, consumer, concurrency)
        self._http = HttpCaller(secrets)

    async def _run(self, attempt: str, item: Mapping[str, Any], *, again: bool) -> dict[str, Any]:
        if item.get("kind") != HTTP:
            kind = item.get("kind")
            return failed_end(
                "UnsupportedKind", f"this worker makes no calls of kind {kind}; use a newer one"
            )
        try:
            end = await self._http.run(item, again=again)
        except Exception:  # a bug; what was raised may quote the request
            log.error("call broke", extra={"attempt": attempt})
            return failed_end("Error", "the call broke in the worker; please report this")
        extra = {"agent": self._name, "attempt": attempt, "reason": end.get("reason")}
        log.info("call ended", extra=extra)
        return end
