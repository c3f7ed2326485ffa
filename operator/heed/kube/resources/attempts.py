"""The attempts of resource tasks that a ledger holds: what each waits for, and which one an object is of."""

from collections.abc import Container, Mapping
from typing import Any

from heed import names
from heed.api.status import PendingTask
from heed.core.cel.expression import ExpressionError
from heed.core.effects import AgentRef
from heed.core.tasks.resource import REASON_EXPRESSION, ResourceTarget, failed_end
from heed.engine.ports import TaskOwner
from heed.kube.resources import manifest
from heed.util.clock import timestamp

Body = Mapping[str, Any]


class ResourceAttempts:
    """Those of one Agent, whose loop is the `owner` of the tasks. Targets are parsed once."""

    def __init__(self, agent: AgentRef, owner: TaskOwner) -> None:
        self._agent, self._owner = agent, owner
        self._targets: dict[str, ResourceTarget] = {}

    def pending(self) -> dict[str, PendingTask]:
        """The attempts that the ledger holds."""
        pending = self._owner.pending_tasks or {}
        return {
            names.attempt_id(task_id, record.attempt): record
            for task_id, record in pending.items()
            if record.kind == "resource"
        }

    def target(self, attempt_id: str) -> ResourceTarget | None:
        """What a task waits for. One whose record cannot be read has failed, and has none."""
        if (found := self._targets.get(attempt_id)) is not None:
            return found
        record = self.pending().get(attempt_id)
        if record is None:
            return None
        try:
            path = f"spec.tasks.{record.task}.resource"
            target = self._targets[attempt_id] = ResourceTarget(record.target or "", path)
        except ExpressionError as error:
            end_id = names.digest("target", attempt_id)
            self._owner.report(failed_end(attempt_id, end_id, timestamp(), REASON_EXPRESSION, str(error)))
            return None
        return target

    def attempt_of(self, body: Body) -> str | None:
        """The attempt that an object is of, by its label or, where that is gone, by its name."""
        if (found := manifest.attempt_of(body, self._agent)) is not None:
            return found
        return next((item for item in self.pending() if manifest.is_of(body, self._agent, item)), None)

    def forget_others(self, pending: Container[str]) -> None:
        """Only these are pending."""
        self._targets = {
            attempt_id: target for attempt_id, target in self._targets.items() if attempt_id in pending
        }
