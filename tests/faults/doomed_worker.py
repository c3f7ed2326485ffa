"""The real worker with doors, which can kill it as doomed_operator.py kills the operator: `heed worker` but for that.

    HEED_DIE="before ack:2:0.5"     at this point, at the second passing of it from half a second of life on

Signs of life come more often, as the storm's work queue waits for less time.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from nats.aio.msg import Msg

from heed import names
from heed.cli.main import main as heed
from heed.worker import functions, lease, process, work_items
from tests.faults.doomed_operator import ACK_WAIT_S, Doors

WORKER_POINTS = (
    "before answer",
    "before reply",
    "after reply",
    "in function",
    "after function",
    "before ack",
    "after ack",
)
HEARTBEAT_S, FETCH_S = 1.0, 1.0
LEASE_S = ACK_WAIT_S - 0.5


def between(function: Callable[..., Any], doors: Doors, before: str, after: str = "") -> Callable[..., Any]:
    """A function with doors, or one, before and after it."""

    @functools.wraps(function)
    def passed(*args: Any, **kwargs: Any) -> Any:
        doors.at(before)
        found = function(*args, **kwargs)
        doors.at(after)
        return found

    return passed


def build(doors: Doors) -> None:
    """All doors there are. A handler's is passed in its thread."""
    process.answer_request = between(process.answer_request, doors, "before answer", "before reply")  # type: ignore[attr-defined]
    respond, call, ack = Msg.respond, functions._call, Msg.ack
    say = functions.FunctionWorker._say

    async def responded(self: Msg, data: bytes) -> None:
        await respond(self, data)
        doors.at("after reply")

    async def called(function: Callable[..., Any], arguments: Any) -> Any:
        doors.at("in function")
        found = await call(function, arguments)
        doors.at("after function")
        return found

    async def said(self: Any, attempt: str, type_: str, data: Any, *, id: str) -> None:
        await say(self, attempt, type_, data, id=id)
        if type_ == names.TASK_DONE:
            doors.at("before ack")

    async def acknowledged(self: Msg) -> None:
        await ack(self)
        doors.at("after ack")

    Msg.respond, Msg.ack = responded, acknowledged  # type: ignore[method-assign]
    functions._call = called
    functions.FunctionWorker._say = said  # type: ignore[method-assign]


def main() -> None:
    """Be the worker of the module and namespace that the command line names."""
    build(Doors.from_environment(WORKER_POINTS))
    assert work_items.HEARTBEAT_S > HEARTBEAT_S
    work_items.HEARTBEAT_S = HEARTBEAT_S  # type: ignore[misc]
    assert lease.LEASE_S > LEASE_S
    lease.LEASE_S = LEASE_S  # type: ignore[misc]
    work_items.FETCH_S = FETCH_S  # type: ignore[misc]
    sys.argv[1:] = ["worker", *sys.argv[1:]]
    heed()


if __name__ == "__main__":
    main()
