"""Calls: requests of an Agent's tasks, which Heed's own code makes for the items of their queue."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from heed import names
from heed.bus.client.connection import Connection
from heed.core.tasks.kinds import CALL_KINDS, LLM
from heed.worker.http.answers import EXTRA
from heed.worker.http.calls import HttpCaller, SecretSource
from heed.worker.lease import Lease, LeaseOver
from heed.worker.work_items import WorkTaker, failed_end

if TYPE_CHECKING:
    from heed.worker.llm.call_runner import ModelCaller

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
        self._secrets, self._http = secrets, HttpCaller(secrets)
        self._models: ModelCaller | None = None

    def _type_of(self, end: Mapping[str, Any]) -> str:
        return names.TASK_TURN if "turn" in end else names.TASK_DONE

    def _model_caller(self) -> "ModelCaller":
        """What asks models, with packages that a worker of code alone does not have. Raises ImportError."""
        if self._models is None:
            from heed.worker.llm.call_runner import ModelCaller

            self._models = ModelCaller(self._connection, self._namespace, self._name, self._secrets)
        return self._models

    async def _run(self, attempt: str, item: Mapping[str, Any], lease: Lease) -> dict[str, Any]:
        if item.get("kind") not in CALL_KINDS:
            kind = item.get("kind")
            return failed_end(
                "UnsupportedKind", f"this worker makes no calls of kind {kind}; use a newer one"
            )
        try:
            runner = self._model_caller() if item["kind"] == LLM else self._http
            end = await runner.run(item, lease)
        except LeaseOver:
            raise
        except ImportError as error:
            return failed_end("UnsupportedKind", f"llm tasks need the package {error.name}; install {EXTRA}")
        except Exception:  # a bug; what was raised may quote the request
            log.error("call broke", extra={"attempt": attempt})
            return failed_end("Error", "the call broke in the worker; please report this")
        failed = end.get("failure") or end
        extra = {"agent": self._name, "attempt": attempt, "reason": failed.get("reason")}
        log.info("call ended", extra=extra)
        return end
