"""Held events: set aside by a handler's `hold`, they stay in the stream until their session's state lets them go on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from heed.api.status import HeldEvent

MAX_HELD_EVENTS: Final = 5_000  # of one Agent
MAX_HELD_IN_SESSION: Final = 100


@dataclass(frozen=True, slots=True)
class HeldEvents:
    """Held events by stream sequence, in ascending order.

    `sessions` has the sequences of each session, `ready` those that are to be looked at again, both in ascending order.
    """

    places: dict[int, HeldEvent] = field(default_factory=dict)
    sessions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    ready: tuple[int, ...] = ()

    @classmethod
    def of(cls, places: Mapping[int, HeldEvent]) -> "HeldEvents":
        """From sequences in any order."""
        places = dict(sorted(places.items()))
        sessions: dict[str, list[int]] = {}
        for sequence, item in places.items():
            sessions.setdefault(item.session, []).append(sequence)
        ready = tuple(sequence for sequence, item in places.items() if item.phase != "Held")
        return cls(places, {key: tuple(found) for key, found in sessions.items()}, ready)

    def __len__(self) -> int:
        return len(self.places)

    def is_full(self, session: str, sequence: int) -> bool:
        """Whether the Agent, or the session, holds as many others as it may."""
        beside = sequence in self.places
        in_session = len(self.sessions.get(session, ())) - beside
        return len(self.places) - beside >= MAX_HELD_EVENTS or in_session >= MAX_HELD_IN_SESSION

    def with_event(self, sequence: int, item: HeldEvent) -> "HeldEvents":
        """With one event more, or in another form."""
        if sequence in self.places or (self.places and sequence < next(reversed(self.places))):
            return HeldEvents.of({**self.places, sequence: item})
        places = (*self.sessions.get(item.session, ()), sequence)
        ready = self.ready if item.phase == "Held" else (*self.ready, sequence)
        return HeldEvents({**self.places, sequence: item}, {**self.sessions, item.session: places}, ready)

    def without_events(self, sequences: Iterable[int]) -> "HeldEvents":
        """Without events that were decided, or are gone; the same object where none of them is held."""
        gone = self.places.keys() & set(sequences)
        if not gone:
            return self
        places, sessions = dict(self.places), dict(self.sessions)
        for place in gone:
            key = places.pop(place).session
            sessions[key] = tuple(other for other in sessions[key] if other != place)
            if not sessions[key]:
                del sessions[key]
        return HeldEvents(places, sessions, tuple(place for place in self.ready if place not in gone))

    def recall(self, sessions: Iterable[str]) -> "HeldEvents":
        """With all events of these sessions to be looked at again; the same object where there are none."""
        return self._with_phase(place for session in sessions for place in self.sessions.get(session, ()))

    def recall_older(self, generation: int) -> "HeldEvents":
        """With all events to be looked at again that another generation of the Agent has looked at."""
        return self._with_phase(place for place, item in self.places.items() if item.generation != generation)

    def expire(self, now: str) -> "HeldEvents":
        """With all events whose time is over to be looked at for the last time."""
        over = [place for place, item in self.places.items() if item.until <= now and item.phase != "Expired"]
        if not over:
            return self
        return HeldEvents.of(
            {**self.places, **{place: replace(self.places[place], phase="Expired") for place in over}}
        )

    def next_expiry(self) -> str | None:
        """When the time of the next event is over that nothing is known of yet; None where there is none."""
        return min((item.until for item in self.places.values() if item.phase != "Expired"), default=None)

    def _with_phase(self, sequences: Iterable[int]) -> "HeldEvents":
        changed = {
            place: replace(self.places[place], phase="Ready")
            for place in sequences
            if self.places[place].phase == "Held"
        }
        return HeldEvents.of({**self.places, **changed}) if changed else self
