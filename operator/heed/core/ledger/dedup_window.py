"""The dedup window: digests of exactly the last DEDUP_WINDOW_SIZE events that were handled or dead-lettered.

A window is a large part that many windows share and a small part of its own, so that a new one with one digest more
costs little. Entries of the shared part that are too old by now are passed over instead of being taken out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

DEDUP_WINDOW_SIZE: Final = 500
_OWN: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class DedupWindow:
    """The last DEDUP_WINDOW_SIZE digests, oldest first."""

    shared: Mapping[str, int] = field(default_factory=dict)  # digest to place
    own: Mapping[str, None] = field(default_factory=dict)

    @classmethod
    def of(cls, digests: Iterable[str]) -> "DedupWindow":
        """A window of digests, oldest first."""
        latest = list(digests)[-DEDUP_WINDOW_SIZE:]
        return cls({digest: place for place, digest in enumerate(latest)})

    @property
    def _passed(self) -> int:
        return max(0, len(self.shared) + len(self.own) - DEDUP_WINDOW_SIZE)

    def __contains__(self, digest: str) -> bool:
        return digest in self.own or self.shared.get(digest, -1) >= self._passed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DedupWindow) and self.digests() == other.digests()

    def __len__(self) -> int:
        return min(DEDUP_WINDOW_SIZE, len(self.shared) + len(self.own))

    def __hash__(self) -> int:
        raise TypeError("a DedupWindow is compared, not hashed")

    def with_digest(self, digest: str | None) -> "DedupWindow":
        """The window with one more digest, which must be new; the same window for None."""
        if digest is None:
            return self
        if len(self.own) < _OWN:
            return DedupWindow(self.shared, {**self.own, digest: None})
        return DedupWindow.of([*self.digests(), digest])

    def digests(self) -> list[str]:
        """All digests, oldest first."""
        return [*list(self.shared)[self._passed :], *self.own]
