"""The only right outcome: the pure fold of `decide` over what the stream holds, with everything owed made once."""

from dataclasses import dataclass
from typing import Any

from heed import names
from heed.bus.jetstream import JetStreamBus, message_id
from heed.core.cloudevents import parse_event
from heed.core.decide import Decision, decide
from heed.core.effects import Effect, Publish, StartTask
from heed.core.events import Received
from heed.core.ledger import Ledger, dump, owed_effects, settle, total_decided
from heed.core.program import Program
from tests.integration.reading import BEGINNING


@dataclass(frozen=True, slots=True)
class Fold:
    """What the stream's events come to."""

    decisions: list[Decision]
    ledger: Ledger

    @property
    def settled(self) -> dict[str, Any]:
        """The status once everything owed has been made."""
        return dump(settle(self.ledger, owed_effects(self.ledger)))

    @property
    def effects(self) -> list[Effect]:
        """All effects of all decisions."""
        return [effect for decision in self.decisions for effect in decision.effects]

    @property
    def started(self) -> set[str]:
        """All tasks that were ever started."""
        return {effect.id for effect in self.effects if isinstance(effect, StartTask)}

    @property
    def emitted(self) -> list[str]:
        """The Nats-Msg-Ids of all events ever emitted."""
        found = (effect.owed for effect in self.effects if isinstance(effect, Publish))
        events = ((owed.subject, parse_event(owed.event.encode(), "")) for owed in found if owed.event)
        return [message_id(subject, event) for subject, event in events]

    @property
    def letters(self) -> list[str]:
        """The ids of all dead letters ever written."""
        return [effect.id for effect in self.effects if isinstance(effect, Publish) and effect.owed.letter]


def folded(program: Program, events: list[Received]) -> Fold:
    """Decide everything once, from the beginning."""
    decisions: list[Decision] = []
    ledger = Ledger()
    for received in events:
        decisions.append(decide(program, ledger, received))
        ledger = decisions[-1].ledger
    assert total_decided(ledger.totals) == len(events)
    return Fold(decisions, ledger)


async def read_back(bus: JetStreamBus, subjects: tuple[str, ...]) -> list[Received]:
    """All messages that the stream holds on an Agent's subjects."""
    reader = await bus.open(subjects, 0, BEGINNING)
    try:
        found: list[Received] = []
        while more := await reader.read(500, 0.1 if found else 1.0):
            found += more
        return found
    finally:
        await reader.close()


def emitted_subject(program: Program) -> str:
    """Where the Agent of these tests emits."""
    return names.event_subject(program.agent.namespace, "com.example.out.>")
