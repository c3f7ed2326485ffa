"""The Agents of the storm. Small, and between them they do everything that an Agent can do.

clerk     (in both namespaces)  orders: remembers, adds up, starts Jobs and waits, tries again, cancels, ends, breaks;
          holds what comes early, and hears of sessions that are forgotten
echo      talks with the clerk of its namespace, some rounds each time, and not too fast
auditor   counts every event of its namespace by type: one lost or doubled shows
bureau    asks people, who answer rightly, wrongly, late or not at all
workshop  has Widgets made, which succeed, break, are mended, hang, or are deleted by a person
gate      lets through what its rate limit allows
clock     ticks: timers of every policy, with tasks that the next tick leaves alone, waits for or replaces
phoenix   as a clerk that only packs; it is deleted and made again while the storm is on
"""

from __future__ import annotations

import copy
from typing import Any

from heed import names
from tests.faults.bureau import BUREAU
from tests.faults.calendar import CLOCK
from tests.faults.gate import GATE
from tests.faults.spec_parts import DEADLINE, DOMAIN, IDLE, PACK, emit, handler
from tests.faults.workshop import WORKSHOP

NAMESPACES = ("storm-a", "storm-b")
ATTEMPTS = 3  # of a frail task
HELD_SECONDS = 8  # at most

REFUSED = {**PACK, "parallelism": "${input.parallelism}"}
TASKS = {
    "pack": {"job": PACK, "timeout": "10m", "retention": "1h"},
    "brief": {"job": PACK, "timeout": "10m", "retention": "1s", "publish": True},
    "hang": {"job": PACK, "timeout": DEADLINE},
    "refused": {"job": REFUSED},
    "frail": {"job": PACK, "timeout": "10m", "retry": {"attempts": ATTEMPTS, "backoff": {"initial": "1s"}}},
    "nap": {"wait": {"for": "${input.seconds}s"}, "timeout": "10m"},
    "doze": {"wait": {"for": "1h"}, "timeout": DEADLINE},
}


ENDS = [
    handler(
        "packed",
        names.TASK_COMPLETED,
        state={"packed": "${event.data.?result.orValue(0)}"},
        emit=[emit("order.packed", task="${task.id}", result="${event.data.?result.orValue(0)}")],
    ),
    handler(
        "failed",
        names.TASK_FAILED,
        state={"failed": "${event.data.reason}"},
        emit=[emit("order.failed", task="${task.id}", reason="${event.data.reason}")],
    ),
]
STARTS = [
    handler(
        "work", "order.work", start=[{"from": "${[{'task': event.data.task, 'input': event.data.input}]}"}]
    )
]

CLERK = {
    "subscribe": [
        {"type": DOMAIN + "order.*", "where": "event.source != '/nobody'"},
        {"type": DOMAIN + "talk.pong"},
    ],
    "session": {"idleTimeout": IDLE, "onExpire": "Emit"},
    "tasks": TASKS,
    "handlers": [
        handler(
            "open",
            "order.placed",
            "!has(state.item)",
            state={"item": "${event.data.item}", "sum": 0},
            emit=[emit("order.noted", item="${event.data.item}")],
        ),
        handler(
            "amend", "order.amended", "has(state.sum)", state={"sum": "${state.sum + event.data.amount}"}
        ),
        handler("early", "order.amended", "!has(state.item)", state={"early": "${event.id}"}),
        handler(
            "settle",
            "order.settled",
            hold={"until": "has(state.item)", "for": f"{HELD_SECONDS}s"},
            state={"settled": "${event.id}"},
            emit=[emit("order.receipt", item="${state.item}")],
        ),
        handler(
            "audit",
            "order.audited",
            hold={
                "until": "has(state.packed) || has(state.failed)",
                "for": f"{HELD_SECONDS}s",
                "onExpire": "Handle",
            },
            state={"audited": "${event.id}"},
            emit=[emit("order.accepted", by="${event.id}")],
        ),
        handler(
            "unaudited",
            names.HOLD_EXPIRED,
            state={"unaudited": "${event.data.event.id}"},
            emit=[emit("order.unaudited", by="${event.data.event.id}")],
        ),
        handler(
            "forgotten",
            names.SESSION_EXPIRED,
            emit=[emit("order.forgotten", item="${event.data.state.?item.orValue('nothing')}")],
        ),
        *STARTS,
        *ENDS,
        handler(
            "stop",
            "order.stopped",
            cancel=[{"task": name} for name in ("pack", "brief", "hang", "frail", "nap", "doze")],
        ),
        handler("over", "order.closed", end=True),
        handler("break", "order.broken", "event.data.missing > 3", state={"never": True}),
        handler("break-late", "order.broken-late", emit=[{"type": "${'com.example.bad ' + event.id}"}]),
        handler(
            "chat",
            "order.chat",
            emit=[emit("talk.ping", left="${event.data.left}") | {"to": "echo"}, emit("talk.begun")],
        ),
        handler(
            "answer",
            "talk.pong",
            "event.data.left > 0",
            emit=[emit("talk.ping", left="${event.data.left - 1}") | {"to": "echo"}],
        ),
    ],
}

ECHO = {
    "rateLimit": {"events": 40, "burst": 5},
    "subscribe": [{"type": DOMAIN + "talk.begun"}],
    "session": {"idleTimeout": IDLE},
    "handlers": [
        handler("begun", "talk.begun", state={"begun": "${event.causationid}"}),
        handler(
            "ping",
            "talk.ping",
            state={"pings": "${state.?pings.orValue(0) + 1}"},
            emit=[emit("talk.pong", left="${event.data.left}")],
        ),
        handler("enough", "talk.ping", "event.data.left == 0", end=True),
    ],
}

AUDITOR = {
    "subscribe": [{"type": DOMAIN + ">"}],
    "session": {"key": "event.type", "idleTimeout": "7d"},
    "handlers": [
        {"name": "count", "type": DOMAIN + ">", "state": {"count": "${state.?count.orValue(0) + 1}"}}
    ],
}

PHOENIX = {
    "subscribe": [{"type": DOMAIN + "order.work"}, {"type": DOMAIN + "order.closed"}],
    "session": {"idleTimeout": IDLE},
    "tasks": TASKS,
    "handlers": [*STARTS, *ENDS, handler("over", "order.closed", end=True)],
}

SPECS: dict[tuple[str, str], dict[str, Any]] = {
    ("storm-a", "clerk"): CLERK,
    ("storm-a", "echo"): ECHO,
    ("storm-a", "auditor"): AUDITOR,
    ("storm-a", "bureau"): BUREAU,
    ("storm-a", "gate"): GATE,
    ("storm-b", "clerk"): CLERK,
    ("storm-b", "clock"): CLOCK,
    ("storm-b", "workshop"): WORKSHOP,
    ("storm-b", "phoenix"): PHOENIX,
}
PHOENIX_NAME, CLOCK_NAME = ("storm-b", "phoenix"), ("storm-b", "clock")


def edited_manifest(namespace: str, name: str, edits: int = 0) -> dict[str, Any]:
    """An Agent as a person applies it; each edit adds a handler for what never comes, so that no decision changes."""
    spec = copy.deepcopy(SPECS[namespace, name])
    spec["handlers"] += [
        handler(f"never-{number}", f"never.comes.n{number}", state={"never": number})
        for number in range(edits)
    ]
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": spec}
