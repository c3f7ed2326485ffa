"""Effects: what a decision asks of the world. All are idempotent, with names derived from the ledger alone."""

from dataclasses import dataclass
from typing import Any

from heed import names
from heed.api.status import OutboxMessage, PendingTask


@dataclass(frozen=True, slots=True)
class AgentRef:
    """An Agent's identity. `uid` distinguishes two Agents of the same name."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class TaskWork:
    """All that a runner needs to start an attempt of a task. `spec` is the rendered task template of its `kind`.

    `document` is the task file: {task: {id, name, attempt}, input, event, session: {key, startedAt}, agent: {…}}.
    `timeout` and `retention` are in seconds. `publish` says that the task may publish, and the patterns over the types
    of the events that it may broadcast; None: it may not publish at all.
    """

    agent: AgentRef
    id: str
    task: str
    kind: str
    session: str
    spec: dict[str, Any]
    document: dict[str, Any]
    timeout: int | None
    retention: int
    publish: tuple[str, ...] | None = None
    attempt: int = 1

    @property
    def attempt_id(self) -> str:
        """What the attempt is known by to its runner: `names.attempt_id`."""
        return names.attempt_id(self.id, self.attempt)


@dataclass(frozen=True, slots=True)
class TaskEnd:
    """The end of a task as its runner reports it, or of one attempt of it.

    `attempt` says which one ended; None: the task is over, whichever attempt it is at.

    `id` is derived from the run (a Job's uid), so that saying it twice is harmless. `result` is JSON or text.
    `reason` is CamelCase; `at` is RFC 3339. With `published`, the task may have published its result instead.
    `cause` is what ended the run, as Kubernetes calls it (OOMKilled, Evicted); `container` and `pod` say which one.
    `retryable` says whether another attempt may be made; `retry_after` are seconds that it has to wait at least.
    """

    task_id: str
    id: str
    at: str
    completed: bool
    result: Any = None
    reason: str | None = None
    message: str | None = None
    exit_code: int | None = None
    published: bool = False
    cause: str | None = None
    container: str | None = None
    pod: str | None = None
    attempt: int | None = None
    retryable: bool = True
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class StartTask:
    """Start a task that the ledger holds as Owed."""

    id: str
    record: PendingTask


@dataclass(frozen=True, slots=True)
class CancelTask:
    """Stop a task. The failed event of `record` follows; None where its session is over and no event is due.

    `attempt` is the one that may run.
    """

    id: str
    record: PendingTask | None
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish a message of the outbox: an emitted event or a dead letter."""

    id: str
    owed: OutboxMessage


Effect = StartTask | CancelTask | Publish
