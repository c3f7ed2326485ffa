"""The status of Subscriptions: the condition Ready at once, numbers about once a minute and only where they changed.

Every replica adds what it has delivered itself to what the status says, as a compare-and-swap.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from heed import names
from heed.api.conditions import READY, changed_members, new_condition, set_condition
from heed.gateway.subscriptions.progress import DeliveryCounts, Standing
from heed.kube.client.client import ApiError, KubeApi, objects_path, resource_version
from heed.kube.status.condition_writer import ConditionWriter
from heed.util.clock import timestamp

MAX_CONCURRENT_SUBSCRIPTION_WRITES: Final = 8
Body = Mapping[str, Any]
Key = tuple[str, str]  # namespace and name


@dataclass(frozen=True, slots=True)
class SubscriptionNumbers:
    """What is to be added to the totals, and how many events wait; None: as it was."""

    delivered: int = 0
    dead_lettered: int = 0
    lag: int | None = None


@dataclass(slots=True)
class _KnownStatus:
    """A Subscription as last seen, and what is to be said of it."""

    body: Body
    standing: Standing | None = None
    counts: DeliveryCounts | None = None  # to be added
    lag: int | None = None


def status_patch(
    body: Body, standing: Standing, numbers: SubscriptionNumbers, at: str
) -> dict[str, Any] | None:
    """The status patch at a time (RFC 3339); None where nothing changes."""
    old, generation = body.get("status") or {}, body["metadata"].get("generation", 0)
    status: Any = "True" if standing.ready else "False"
    condition = new_condition(READY, status, standing.reason, standing.message, at=at, generation=generation)
    new: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": set_condition(old.get("conditions") or [], condition),
        "delivered": int(old.get("delivered") or 0) + numbers.delivered,
        "deadLettered": int(old.get("deadLettered") or 0) + numbers.dead_lettered,
        "lag": int(old.get("lag") or 0) if numbers.lag is None else numbers.lag,
    }
    return changed_members({"delivered": 0, "deadLettered": 0, "lag": 0, **old}, new)


class SubscriptionStatusWriter(ConditionWriter[Key, dict[str, Any]]):
    """Writes what dispatchers tell, by Subscription."""

    def __init__(self, api: KubeApi) -> None:
        super().__init__(api, READY, MAX_CONCURRENT_SUBSCRIPTION_WRITES, logging.getLogger("heed.gateway"))
        self._known: dict[Key, _KnownStatus] = {}

    def observe(self, key: Key, body: Body) -> None:
        """A Subscription as the API server shows it."""
        known = self._known.get(key)
        kept = {"metadata": body["metadata"], "status": body.get("status")}
        if known is None or known.body["metadata"]["uid"] != body["metadata"]["uid"]:
            self._known[key] = _KnownStatus(kept)
        elif resource_version(body) > resource_version(known.body):
            known.body = kept
        self.schedule(key)

    def forget(self, key: Key) -> None:
        """A Subscription is gone."""
        self._known.pop(key, None)

    def set_standing(self, key: Key, standing: Standing) -> None:
        """What Ready is to say."""
        if (known := self._known.get(key)) is not None:
            known.standing = standing
            self.schedule(key)

    def add_numbers(self, key: Key, counts: DeliveryCounts, lag: int | None) -> None:
        """What was delivered since it was last told, and how many events wait."""
        if (known := self._known.get(key)) is not None:
            before = known.counts or DeliveryCounts()
            known.counts = DeliveryCounts(
                before.delivered + counts.delivered, before.dead_lettered + counts.dead_lettered
            )
            known.lag = lag
            self.schedule(key)

    async def close(self) -> None:
        """Stop."""
        self._known.clear()
        await super().close()

    def _find_wanted(self, key: Key) -> dict[str, Any] | None:
        known = self._known.get(key)
        if known is None or known.standing is None:
            return None
        counts = known.counts or DeliveryCounts()
        numbers = SubscriptionNumbers(counts.delivered, counts.dead_lettered, known.lag)
        return status_patch(known.body, known.standing, numbers, timestamp())

    async def _write(self, key: Key, wanted: dict[str, Any]) -> bool:
        if (known := self._known.get(key)) is None:
            return True
        written, counted = known.body, known.counts or DeliveryCounts()
        path = f"{objects_path(names.SUBSCRIPTIONS, key[0])}/{key[1]}/status"
        body = await self._merge(path, written, wanted)
        if self._known.get(key) is known:
            # What was counted meanwhile is still to be added.
            now = known.counts or DeliveryCounts()
            known.counts = DeliveryCounts(
                now.delivered - counted.delivered, now.dead_lettered - counted.dead_lettered
            )
            known.body = {"metadata": body["metadata"], "status": body.get("status")}
        return True

    def _gone(self, key: Key) -> None:
        self.forget(key)

    def _log_fields(self, key: Key, wanted: dict[str, Any]) -> dict[str, Any]:
        return {"subscription": "/".join(key)}

    def _failed(self, key: Key, wanted: dict[str, Any], error: Exception, delay: float) -> None:
        """Log a failed write, but not a conflict: the watch shows the new version."""
        if not (isinstance(error, ApiError) and error.status == 409):
            super()._failed(key, wanted, error, delay)
