"""Deferred events: they stay in the stream until the status has headroom, and are decided in order."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from heed import names

MAX_DEFERRED_EVENTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class DeferredEvents:
    """Stream sequences of deferred events in ascending order, each with a digest of its session key."""

    places: dict[int, str] = field(default_factory=dict)
    keys: Mapping[str, int] = field(default_factory=dict)  # how many wait for each digest

    @classmethod
    def of(cls, places: Mapping[int, str]) -> "DeferredEvents":
        """From sequences in any order."""
        keys: dict[str, int] = {}
        for key in places.values():
            keys[key] = keys.get(key, 0) + 1
        return cls(dict(sorted(places.items())), keys)

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, sequence: int) -> bool:
        return sequence in self.places

    def first(self, count: int) -> list[int]:
        """The oldest `count` sequences."""
        return [sequence for sequence, _ in zip(self.places, range(count), strict=False)]

    def blocks(self, key: str, sequence: int) -> bool:
        """Whether an earlier event of the same session is deferred, so that the one at `sequence` must be too."""
        digest = names.waiting_digest(key)
        return digest in self.keys and any(
            place < sequence for place, found in self.places.items() if found == digest
        )

    def with_event(self, sequence: int, key: str) -> "DeferredEvents":
        """With one more deferred event; the same object where it is in already."""
        if sequence in self.places:
            return self
        digest = names.waiting_digest(key)
        places = {**self.places, sequence: digest}
        if self.places and sequence < next(reversed(self.places)):
            places = dict(sorted(places.items()))
        return DeferredEvents(places, {**self.keys, digest: self.keys.get(digest, 0) + 1})

    def without_event(self, sequence: int) -> "DeferredEvents":
        """Without an event that was decided."""
        if sequence not in self.places:
            return self
        places, keys = dict(self.places), dict(self.keys)
        digest = places.pop(sequence)
        keys[digest] -= 1
        if not keys[digest]:
            del keys[digest]
        return DeferredEvents(places, keys)
