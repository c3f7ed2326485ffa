"""How `make test` spreads tests over processes: whole files, long ones first, few control planes.

A file stays in one process, for what its tests share; the files of INDEPENDENT fall apart into single tests. A process
that has started a control plane for one file takes the other files that need one, so that few are started.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling
from xdist.workermanage import WorkerController

# Files whose tests share nothing and take long each.
INDEPENDENT = frozenset(
    f"tests/faults/test_{name}.py" for name in ("storm", "outage", "mutants", "scenarios")
)
# What takes longest comes first; what is short fills the gaps at the end. The first two files mostly wait, for
# credentials to expire and Leases to run out.
ORDER = (
    "tests/cluster/test_two_tenants_at_work.py",
    "tests/cluster/test_standby.py",
    "tests/faults/",
    "tests/cluster/",
    "tests/integration/",
    "tests/chart/",
    "tests/unit/",
)
CLUSTER = "tests/cluster/"
MAX_CONTROL_PLANES = 2


def unit_of(nodeid: str) -> str:
    """The unit of work that a test belongs to: its file, or itself."""
    file = nodeid.partition("::")[0]
    return nodeid if file in INDEPENDENT else file


def rank(unit: str) -> int:
    """Where a unit stands in the queue."""
    return next((place for place, folder in enumerate(ORDER) if unit.startswith(folder)), len(ORDER))


def needs_control_plane(unit: str) -> bool:
    """Whether it uses the control plane that the units of a process share."""
    return unit.startswith(CLUSTER)


def choose(waiting: Iterable[str], *, has_one: bool, elsewhere: int) -> str:
    """The next unit of a process: the first in the queue that asks for no new control plane too many.

    `has_one`: it has a control plane; `elsewhere`: so many other processes have one.
    """
    queue = sorted(waiting, key=rank)
    if has_one:
        wanted = [unit for unit in queue if needs_control_plane(unit)]
    elif elsewhere >= MAX_CONTROL_PLANES:
        wanted = [unit for unit in queue if not needs_control_plane(unit)]
    else:
        wanted = queue
    return (wanted or queue)[0]


class UnitScheduling(LoadScopeScheduling):
    """xdist's scheduling by scope, with the units and the order of this module."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        self._with_control_plane: set[WorkerController] = set()

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        others = self._with_control_plane - {node}
        unit = choose(self.workqueue, has_one=node in self._with_control_plane, elsewhere=len(others))
        if needs_control_plane(unit):
            self._with_control_plane.add(node)
        self.workqueue.move_to_end(unit, last=False)
        super()._assign_work_unit(node)
