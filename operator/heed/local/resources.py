"""Resource tasks without a cluster: they fail, and say where they can be tried."""

from collections.abc import Sequence

from heed.core.effects import TaskWork
from heed.core.tasks.resource import ObjectKind
from heed.errors import TaskRefused


class NoCluster:
    """The TaskRunner of resource tasks under `heed dev`, where there is no API server."""

    async def start(self, work: TaskWork, *, look_first: bool = False) -> None:
        """Raises TaskRefused."""
        kind = ObjectKind.of(work.spec.get("template") or {}).kind
        message = (
            f"spec.tasks.{work.task}.resource: `heed dev` has no cluster to create a {kind} in; play its controller "
            "with `heed simulate --script FILE` (docs/resources.md), or run the Agent in a cluster"
        )
        raise TaskRefused("UnsupportedKind", message)

    async def cancel(self, attempt_id: str) -> None:
        """There is nothing to stop."""

    async def resume(self, attempt_ids: Sequence[str]) -> None:
        """Nothing was started."""
