"""After the storm: wait until nothing happens any more, then look at everything there is and judge it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from heed import names
from heed.api.validation import parse_agent
from heed.bus.client.connection import ApiRefused, Connection, connect
from heed.bus.client.stored_messages import ERR_NO_MESSAGE
from heed.core.compiler.program import compile_agent
from heed.core.effects import StartTask
from heed.core.ledger.ledger import list_owed_effects, load_ledger
from heed.settings import Settings
from tests.faults.agents import NAMESPACES, SPECS
from tests.faults.incarnation import Findings, incarnation
from tests.faults.judging import judge, world
from tests.faults.parts import Parts
from tests.faults.people import AGENTS, Person, persistently

QUIET = 240.0  # seconds until it has to be
TURN = 0.5

Body = dict[str, Any]


async def until_quiet(parts: Parts) -> tuple[list[Body], Findings]:
    """The Agents, once all events are decided, nothing is owed and no task is pending; else what never came to rest."""
    end = time.monotonic() + QUIET
    async with connected(parts.nats.url) as connection:
        while True:
            parts.witness.check()
            agents = await persistently(lambda: _agents(parts)) or []
            stirring = [stir for agent in agents for stir in _stirring(agent, await _last(connection, agent))]
            if len(agents) != len(SPECS):
                stirring.append(f"there are {len(agents)} Agents of {len(SPECS)}")
            if not stirring or time.monotonic() > end:
                return agents, [f"not quiet after {QUIET:g} s: {stir}" for stir in stirring]
            await asyncio.sleep(TURN)


async def judged(parts: Parts, agents: list[Body], person: Person) -> tuple[Findings, dict[str, int]]:
    """What is not as it has to be, and figures of what there is."""
    async with connected(parts.nats.url) as connection:
        bodies = [(body, True) for body in agents] + [(body, False) for body in parts.witness.gone]
        there = await world(
            connection,
            [await incarnation(connection, body, alive=alive) for body, alive in bodies],
            parts.witness.made,
            person.deletions,
        )
        messages = (await connection.api(f"STREAM.INFO.{names.STREAM}"))["state"]["messages"]
    outcomes = Counter(decision.outcome for item in there.incarnations for decision in item.fold.decisions)
    figures = {
        "messages in the stream": messages,
        "decisions": outcomes.total(),
        **{f"  {outcome}": count for outcome, count in sorted(outcomes.items())},
        "events held": len(
            {
                (item.program.agent, decision.received.sequence)
                for item in there.incarnations
                for decision in item.fold.decisions
                if decision.outcome == "held"
            }
        ),
        "tasks decided": sum(len(item.fold.started) for item in there.incarnations),
        "  waits among them": sum(
            isinstance(effect, StartTask) and effect.record.kind == "wait"
            for item in there.incarnations
            for effect in item.fold.effects
        ),
        "jobs made": sum(there.made.values()),
        "events emitted": len(there.emitted),
        "dead letters": len(there.letters),
    }
    return judge(there), figures


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection of one's own."""
    connection = await connect(Settings(nats_url=url), "judge", attempts=3)
    try:
        yield connection
    finally:
        await connection.close()


def _agents(parts: Parts) -> list[Body]:
    api = parts.plane.admin
    return [agent for namespace in NAMESPACES for agent in api.get(AGENTS.format(namespace))["items"]]


def _stirring(agent: Body, last: int) -> Iterator[str]:
    """What still goes on in an Agent. `last` is the last message for it."""
    name = f"{agent['metadata']['namespace']}/{agent['metadata']['name']}"
    ledger = load_ledger(agent.get("status") or {})
    if ledger.cursor.sequence < last:
        yield f"{name} at {ledger.cursor.sequence} of {last}"
    if owed := list_owed_effects(ledger):
        yield f"{name} owes {len(owed)}"
    if ledger.held.places:
        yield f"{name} holds {len(ledger.held)} events"
    if ledger.sessions and agent["spec"]["session"].get("onExpire") == "Emit":
        yield f"{name} has {len(ledger.sessions)} sessions that will say their end"
    if ledger.pending_tasks:
        yield f"{name} waits for {len(ledger.pending_tasks)} tasks"


async def _last(connection: Connection, agent: Body) -> int:
    """The sequence of the last message for an Agent since it was made; 0 where there is none."""
    found, since = [0], agent["metadata"]["creationTimestamp"].rstrip("Z")
    for subject in compile_agent(parse_agent(agent)).subjects:
        try:
            answer = await connection.api(f"STREAM.MSG.GET.{names.STREAM}", {"last_by_subj": subject})
            message = answer["message"]
            found.append(int(message["seq"]) if message["time"] >= since else 0)
        except ApiRefused as error:
            if error.err_code != ERR_NO_MESSAGE:
                raise
    return max(found)
