"""After the storm: wait until nothing happens any more, then look at everything there is and judge it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from heed import names
from heed.api.validation import parse_agent
from heed.bus.client.connection import ApiRefused, Connection, connect
from heed.bus.client.stored_messages import ERR_NO_MESSAGE
from heed.core.compiler.program import compile_agent
from heed.core.ledger.ledger import list_owed_effects, load_ledger
from heed.settings import Settings
from tests.faults.agents import CLOCK_NAME, NAMESPACES, SPECS
from tests.faults.answer_judging import read_runs
from tests.faults.bureau import verdict
from tests.faults.calendar import list_late
from tests.faults.controllers import WIDGETS
from tests.faults.courier import Served
from tests.faults.crew import Crew
from tests.faults.figures import count
from tests.faults.incarnation import Findings, incarnation
from tests.faults.judging import World, judge, list_emitted
from tests.faults.parts import Parts
from tests.faults.people import AGENTS, ANSWERS, Person, is_suspended, persistently
from tests.faults.workshop import LASTING
from tests.integration.engine.oracle import message_ids

TURN = 0.5

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Objects:
    """What the API server holds."""

    agents: list[Body]
    answers: list[Body]
    widgets: list[Body]

    @classmethod
    async def read(cls, parts: Parts) -> Objects:
        """All of them, as soon as the API server is there."""

        def items(path: str) -> list[Body]:
            return [item for namespace in NAMESPACES for item in api.get(path.format(namespace))["items"]]

        api = parts.plane.admin
        agents = await persistently(lambda: items(AGENTS)) or []
        answers = await persistently(lambda: items(ANSWERS)) or []
        return cls(agents, answers, await persistently(lambda: api.get(WIDGETS)["items"]) or [])


async def at_rest(parts: Parts, person: Person, patience: float) -> tuple[Objects, Findings]:
    """What there is once nothing goes on any more, and what never came to rest.

    The clock would tick for ever: it is suspended when it is not behind. In the end the operator stops.
    """
    late = await _until_none(parts, _late_clocks, patience)
    async with person.suspending(CLOCK_NAME):
        restless = await _until_none(parts, _restless, patience)
    await asyncio.to_thread(parts.operator.stop)
    return await Objects.read(parts), [*late, *restless]


Look = Callable[[Connection, Objects], Awaitable[Findings]]


async def _until_none(parts: Parts, look: Look, patience: float) -> Findings:
    """Wait until there is nothing to see, and return what there still is when that has taken too long."""
    end = time.monotonic() + patience
    async with connected(parts.nats.url) as connection:
        while True:
            parts.witness.check()
            seen = await look(connection, await Objects.read(parts))
            if not seen or time.monotonic() > end:
                return [f"not quiet after {patience:g} s: {stir}" for stir in seen]
            await asyncio.sleep(TURN)


async def _late_clocks(_: Connection, there: Objects) -> Findings:
    """Timers with ticks to make up for."""
    clocks = [load_ledger(agent.get("status") or {}) for agent in there.agents if _key(agent) == CLOCK_NAME]
    return [f"timer {name} is late" for ledger in clocks for name in list_late(ledger, datetime.now(UTC))]


async def _restless(connection: Connection, there: Objects) -> Findings:
    """Events to be decided, effects owed, tasks pending, answers without a verdict, Widgets to be deleted."""
    agents = there.agents
    expected = len(SPECS) + 2  # the scribe and the courier
    missing = [] if len(agents) == expected else [f"there are {len(agents)} Agents of {expected}"]
    unjudged = [
        f"the answer {answer['metadata']['name']} has no verdict"
        for answer in there.answers
        if verdict(answer) == ("", "")
    ]
    passing = [
        f"the Widget {widget['metadata']['name']} is there still"
        for widget in there.widgets
        if widget["metadata"]["labels"][names.LABEL_TASK] not in LASTING
    ]
    stirring = [stir for agent in agents for stir in _stirring(agent, await _last(connection, agent))]
    return missing + unjudged + passing + stirring


async def judged(
    parts: Parts, there: Objects, person: Person, crew: Crew, calls: Sequence[Served]
) -> tuple[Findings, dict[str, int]]:
    """What is not as it has to be, and figures of what there is."""
    bodies = [(body, True) for body in there.agents] + [(body, False) for body in parts.witness.gone]
    async with connected(parts.nats.url) as connection:
        found = World(
            [await incarnation(connection, body, alive=alive) for body, alive in bodies],
            parts.witness.made,
            await list_emitted(connection),
            await message_ids(connection, names.DEAD_STREAM, names.DEAD_STREAM_SUBJECTS[0]),
            person.deletions,
            there.answers,
            parts.witness.widgets_made,
            there.widgets,
            parts.witness.commits,
            read_runs(crew.runs),
            calls,
        )
        messages = (await connection.api(f"STREAM.INFO.{names.STREAM}"))["state"]["messages"]
    return judge(found), {"messages in the stream": messages, **count(found)}


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection of one's own."""
    connection = await connect(Settings(nats_url=url), "judge", attempts=3)
    try:
        yield connection
    finally:
        await connection.close()


def _key(agent: Body) -> tuple[str, str]:
    return agent["metadata"]["namespace"], agent["metadata"]["name"]


def _stirring(agent: Body, last: int) -> Iterator[str]:
    """What still goes on in an Agent. `last` is the last message for it; one that is suspended leaves what comes."""
    name, ledger = "/".join(_key(agent)), load_ledger(agent.get("status") or {})
    if owed := list_owed_effects(ledger):
        yield f"{name} owes {len(owed)}"
    if agent["spec"].get("suspend"):
        if not is_suspended(agent):
            yield f"{name} is not suspended yet"
        return
    if ledger.cursor.sequence < last:
        yield f"{name} at {ledger.cursor.sequence} of {last}"
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
