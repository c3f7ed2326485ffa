"""Runs an example: publishes its events, and waits for the follow-up event."""

import asyncio
import json
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from heed import names
from heed.bus.jetstream import JetStreamBus
from heed.core.codec.cloudevents_json import event_from_json
from heed.core.events import Event
from heed.core.ledger.ledger import Ledger, dump_ledger
from heed.core.type_patterns import matches
from heed.engine.loop import AgentLoop
from heed.errors import HeedError, InvalidSettings, MalformedEvent
from heed.local.console import Console
from heed.local.dev_server import DevServer
from heed.util.clock import timestamp

QUIET_TIMEOUT_S: Final = 3.0  # seconds to let the rest come to an end once the follow-up event is there
POLL_INTERVAL_S: Final = 0.05


class DemoFailed(HeedError):
    """The follow-up event did not come; the message says how far the run went."""


def read_events(example: Path) -> list[Event]:
    """The events of an example: `event*.json` and `events/*.json`, each a CloudEvent in JSON or a list of them.

    What a sender would make up (id, source, time) may be missing. Raises InvalidSettings.
    """
    found = [*sorted(example.glob("event*.json")), *sorted(example.glob("events/*.json"))]
    events = [_event(item, file) for file in found for item in _items(file)]
    if not events:
        raise InvalidSettings(
            f"{example} has no event to begin with; put a CloudEvent into {example}/events/event.json"
        )
    return events


def _items(file: Path) -> list[Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"{file}: {error}") from None
    return document if isinstance(document, list) else [document]


def _event(item: Any, file: Path) -> Event:
    made_up = {"specversion": "1.0", "id": str(uuid.uuid4()), "source": "/heed/demo", "time": timestamp()}
    try:
        return event_from_json({**made_up, **item})
    except (MalformedEvent, TypeError) as error:
        raise InvalidSettings(f"{file}: {error}") from None


async def run_example(bench: DevServer, events: Sequence[Event], console: Console, deadline: float) -> Event:
    """Publish the events and wait for one that the Agents broadcast in turn. Raises DemoFailed after `deadline` s."""
    begun = timestamp()
    for event in events:
        console.event(event)
        for namespace in find_listening(bench, event):
            await bench.bus.publish(names.event_subject(namespace, event.type), event)
    try:
        async with asyncio.timeout(deadline):
            followed = await _followed(bench.bus, bench.loops, begun)
    except TimeoutError:
        raise DemoFailed(_how_far(bench.loops.values(), deadline)) from None
    await _settled(bench)
    return followed


def status(loop: AgentLoop) -> dict[str, Any]:
    """The ledger as `kubectl get agent -o yaml` would show it; the digests of past events are for machines only."""
    found = dump_ledger(loop.ledger or Ledger())
    return {key: value for key, value in found.items() if key != "recentEvents" and value not in ({}, [])}


def find_listening(bench: DevServer, event: Event) -> list[str]:
    """The namespaces with an Agent that subscribes to the event's type. Raises InvalidSettings where there is none."""
    found = {
        agent.metadata.namespace: None
        for agent in bench.agents
        if any(matches(item.type, event.type) for item in agent.spec.subscribe)
    }
    if not found:
        raise InvalidSettings(f"no Agent of the example subscribes to its event's type {event.type}")
    return list(found)


async def _followed(bus: JetStreamBus, agents: Iterable[tuple[str, str]], begun: str) -> Event:
    """The first event that the stream holds from one of the Agents."""
    sources = {names.agent_source(*key) for key in agents}
    subjects = [names.event_subject(namespace, ">") for namespace in {key[0] for key in agents}]
    reader = await bus.open(subjects, 0, begun)
    try:
        while True:
            for received in await reader.read(100, 1.0):
                if isinstance(received.event, Event) and received.event.source in sources:
                    return received.event
    finally:
        await reader.close()


async def _settled(bench: DevServer) -> None:
    """Until nothing is pending, or for a while: an example may leave something pending on purpose."""
    with suppress(TimeoutError):
        async with asyncio.timeout(QUIET_TIMEOUT_S):
            while not all(_quiet(loop.ledger) for loop in bench.loops.values()):  # noqa: ASYNC110
                await asyncio.sleep(POLL_INTERVAL_S)


def _quiet(ledger: Ledger | None) -> bool:
    return ledger is not None and not ledger.pending_tasks and not ledger.outbox


def _how_far(loops: Iterable[AgentLoop], deadline: float) -> str:
    lines = [f"no event followed within {deadline:g} s"]
    for loop in loops:
        ledger = loop.ledger or Ledger()
        totals = ledger.totals
        lines.append(
            f"{loop.program.agent}: {totals.handled} handled, {totals.ignored} ignored, "
            f"{totals.dead_lettered} dead-lettered, pending: {', '.join(ledger.pending_tasks) or 'nothing'}"
        )
    return "\n".join([*lines, "the lines above show where it stopped; --timeout gives it longer"])
