"""The loop's ports. Adapters: `kube` and `local` for ledger and tasks, `bus` for events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from heed.api.code import CodeAnswer
from heed.api.status import OutboxMessage, PendingTask
from heed.core.decision.code import CodeCall, FailedAnswer
from heed.core.effects import AgentRef, TaskEnd, TaskWork
from heed.core.events import Event, MalformedMessage, Received
from heed.core.ledger.ledger import Ledger


@dataclass(frozen=True, slots=True)
class StoredLedger:
    """A ledger as its store holds it. `version` is the store's (resourceVersion, KV revision)."""

    ledger: Ledger
    version: str
    size: int  # bytes of the whole object in its home


class LedgerStore(Protocol):
    """Stores one Agent's ledger."""

    async def load(self) -> StoredLedger:
        """Read it. Raises LedgerGone, LedgerUnavailable."""

    async def commit(self, base: StoredLedger, ledger: Ledger) -> StoredLedger:
        """Compare-and-swap: write `ledger` if the home still is at `base.version`.

        Raises LedgerConflict, LedgerGone, LedgerUnavailable (the write may have happened: load again).
        """


class Reader(Protocol):
    """One pass over an Agent's subjects, from a point in the stream on, without gaps.

    Whatever lies between the cursor it was opened at and its `floor` was dropped by the stream.
    """

    @property
    def floor(self) -> int:
        """The stream sequence before the first message that can still be read."""

    @property
    def created(self) -> str:
        """When the stream was created, which tells it from another one of its name."""

    @property
    def pending(self) -> int:
        """How many messages are still to be read, as of the latest delivery."""

    async def read(self, limit: int, timeout: float) -> Sequence[Received]:
        """Up to `limit` messages as soon as there is one; none after `timeout` seconds. Raises ReaderLost."""

    def release(self, sequence: int) -> None:
        """Note that everything up to `sequence` is durable. Until then it counts against the read-ahead.

        All readers share what may be read and is not durable; one that holds its share reads no further.
        """

    async def reached(self) -> int:
        """A sequence up to which every message on the subjects was returned; it may belong to another subject.

        Raises ReaderLost, also where the stream has dropped what was not yet read, and BusUnavailable.
        """

    async def close(self) -> None:
        """Delete the consumer. Never raises, even with the broker unreachable."""


class EventBus(Protocol):
    """The event stream: readers, lookups and publishing."""

    async def open(
        self, subjects: Sequence[str], after: int, since: str, created: str | None = None
    ) -> Reader:
        """Read `subjects` from sequence `after` + 1; where `after` is 0, from the stream time `since` (RFC 3339) on.

        `created` is the stream that `after` belongs to, where that is known. Raises StreamMissing, StreamReplaced,
        BusUnavailable.
        """

    async def fetch(self, sequences: Sequence[int], created: str | None = None) -> Sequence[Received | None]:
        """The messages at the first of these places, in order; None where the stream has dropped one.

        That is all of them, or as many as may be held at once; one at least. `created` as in `open`.
        Raises StreamMissing, StreamReplaced, BusUnavailable.
        """

    async def bounds(self) -> tuple[int, int]:
        """The first and the last sequence of the stream, roughly as of now. Raises StreamMissing, BusUnavailable."""

    async def last(self, subject: str) -> Event | MalformedMessage | None:
        """The latest event on a subject; None where there is none. Raises BusUnavailable."""

    async def publish(self, subject: str, event: Event) -> int:
        """Publish an event once by subject, source, id. Returns its sequence. Raises BusUnavailable, MalformedEvent."""

    async def publish_owed(self, id: str, owed: OutboxMessage, *, look_first: bool) -> None:
        """Publish a message of the outbox: an emitted event, or the dead letter of `owed.sequence`.

        With `look_first` an earlier try may have stored it, perhaps longer ago than the broker's window for
        duplicates: look for it in the stream before. Raises BusUnavailable, and MalformedEvent for what holds no event.
        """


class CodeWorkers(Protocol):
    """Workers that run the code of Agents, and answer calls of it."""

    async def ask(
        self, agent: AgentRef, digest: str, calls: Sequence[CodeCall]
    ) -> Sequence[CodeAnswer | FailedAnswer]:
        """The answers to calls of one session, in order, from a worker of the code of this digest.

        Each call after the first one is made with the state that the answer before it left, whatever it says itself.
        There may be fewer answers than calls, and one at least. Raises CodeUnavailable.
        """


class TaskRunner(Protocol):
    """Runs attempts of tasks, known by `names.attempt_id`, and reports their ends to the owner it was made with."""

    async def start(self, work: TaskWork, *, look_first: bool = False) -> None:
        """Start an attempt; again for the same one changes nothing, as long as it is not over.

        With `look_first` an earlier try may have started it: look for it before. Raises TaskRefused, TaskUnavailable.
        """

    async def cancel(self, attempt_id: str) -> None:
        """Stop an attempt and remove it. Idempotent. Raises TaskUnavailable."""

    async def resume(self, attempt_ids: Sequence[str]) -> None:
        """The Agent's loop begins and these attempts had been started: report the ends that came meanwhile."""


class TaskOwner(Protocol):
    """The loop as a runner knows it: whose tasks it runs. It is there before the runner, which is made with it."""

    @property
    def pending_tasks(self) -> Mapping[str, PendingTask] | None:
        """Those that the ledger holds; None before it was read."""

    def waits(self, attempt_id: str) -> bool:
        """Whether the Agent waits for the end of an attempt; it may, as long as its ledger has not been read."""

    def report(self, end: TaskEnd) -> bool:
        """Tell the Agent that an attempt ended. False where it does not wait for that one (any more)."""
