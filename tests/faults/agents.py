"""The Agents of the storm. Small, and between them they do everything that an Agent can do.

clerk     (in both namespaces)  orders: remembers, adds up, starts Jobs and waits, tries again, cancels, ends, breaks;
          holds what comes early, and hears of sessions that are forgotten
echo      talks with the clerk of its namespace, some rounds each time, and not too fast
auditor   counts every event of its namespace by type: one lost or doubled shows
phoenix   as a clerk that only packs; it is deleted and made again while the storm is on
"""

from __future__ import annotations

import copy
from typing import Any

from heed import names

NAMESPACES = ("storm-a", "storm-b")
DOMAIN = "com.example."
IDLE = "20s"  # of sessions that are waited for in the end
DEADLINE = "5s"
ATTEMPTS = 3  # of a frail task
HELD_SECONDS = 10  # at most

CONTAINER = {"name": "main", "image": "example/pack:1", "args": ["${input.play}"]}
PACK = {"backoffLimit": 0, "template": {"spec": {"containers": [CONTAINER]}}}
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


def _handler(name: str, type_: str, when: str | None = None, **reaction: Any) -> dict[str, Any]:
    full = type_ if type_.startswith("dev.") else DOMAIN + type_
    return {"name": name, "type": full, **({"when": when} if when else {}), **reaction}


def _emit(type_: str, **data: Any) -> dict[str, Any]:
    return {"type": DOMAIN + type_, "data": data}


ENDS = [
    _handler(
        "packed",
        names.TASK_COMPLETED,
        state={"packed": "${event.data.?result.orValue(0)}"},
        emit=[_emit("order.packed", task="${task.id}", result="${event.data.?result.orValue(0)}")],
    ),
    _handler(
        "failed",
        names.TASK_FAILED,
        state={"failed": "${event.data.reason}"},
        emit=[_emit("order.failed", task="${task.id}", reason="${event.data.reason}")],
    ),
]
STARTS = [
    _handler(
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
        _handler(
            "open",
            "order.placed",
            "!has(state.item)",
            state={"item": "${event.data.item}", "sum": 0},
            emit=[_emit("order.noted", item="${event.data.item}")],
        ),
        _handler(
            "amend", "order.amended", "has(state.sum)", state={"sum": "${state.sum + event.data.amount}"}
        ),
        _handler("early", "order.amended", "!has(state.item)", state={"early": "${event.id}"}),
        _handler(
            "settle",
            "order.settled",
            hold={"until": "has(state.item)", "for": f"{HELD_SECONDS}s"},
            state={"settled": "${event.id}"},
            emit=[_emit("order.receipt", item="${state.item}")],
        ),
        _handler(
            "audit",
            "order.audited",
            hold={
                "until": "has(state.packed) || has(state.failed)",
                "for": f"{HELD_SECONDS}s",
                "onExpire": "Handle",
            },
            state={"audited": "${event.id}"},
            emit=[_emit("order.accepted", by="${event.id}")],
        ),
        _handler(
            "unaudited",
            names.HOLD_EXPIRED,
            state={"unaudited": "${event.data.event.id}"},
            emit=[_emit("order.unaudited", by="${event.data.event.id}")],
        ),
        _handler(
            "forgotten",
            names.SESSION_EXPIRED,
            emit=[_emit("order.forgotten", item="${event.data.state.?item.orValue('nothing')}")],
        ),
        *STARTS,
        *ENDS,
        _handler(
            "stop",
            "order.stopped",
            cancel=[{"task": name} for name in ("pack", "brief", "hang", "frail", "nap", "doze")],
        ),
        _handler("over", "order.closed", end=True),
        _handler("break", "order.broken", "event.data.missing > 3", state={"never": True}),
        _handler("break-late", "order.broken-late", emit=[{"type": "${'com.example.bad ' + event.id}"}]),
        _handler(
            "chat",
            "order.chat",
            emit=[_emit("talk.ping", left="${event.data.left}") | {"to": "echo"}, _emit("talk.begun")],
        ),
        _handler(
            "answer",
            "talk.pong",
            "event.data.left > 0",
            emit=[_emit("talk.ping", left="${event.data.left - 1}") | {"to": "echo"}],
        ),
    ],
}

ECHO = {
    "rateLimit": {"events": 40, "burst": 5},
    "subscribe": [{"type": DOMAIN + "talk.begun"}],
    "session": {"idleTimeout": IDLE},
    "handlers": [
        _handler("begun", "talk.begun", state={"begun": "${event.causationid}"}),
        _handler(
            "ping",
            "talk.ping",
            state={"pings": "${state.?pings.orValue(0) + 1}"},
            emit=[_emit("talk.pong", left="${event.data.left}")],
        ),
        _handler("enough", "talk.ping", "event.data.left == 0", end=True),
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
    "handlers": [*STARTS, *ENDS, _handler("over", "order.closed", end=True)],
}

SPECS: dict[tuple[str, str], dict[str, Any]] = {
    ("storm-a", "clerk"): CLERK,
    ("storm-a", "echo"): ECHO,
    ("storm-a", "auditor"): AUDITOR,
    ("storm-b", "clerk"): CLERK,
    ("storm-b", "phoenix"): PHOENIX,
}
PHOENIX_NAME = ("storm-b", "phoenix")


def edited_manifest(namespace: str, name: str, edits: int = 0) -> dict[str, Any]:
    """An Agent as a person applies it; each edit adds a handler for what never comes, so that no decision changes."""
    spec = copy.deepcopy(SPECS[namespace, name])
    spec["handlers"] += [
        _handler(f"never-{number}", f"never.comes.n{number}", state={"never": number})
        for number in range(edits)
    ]
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": spec}
