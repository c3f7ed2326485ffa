"""Sessions: which one an event belongs to, when one is kept, when one is forgotten."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from heed.api.status import PendingTask, Session
from heed.api.validation import json_kind
from heed.core.cel.expression import ExpressionError, Scope
from heed.core.codec.canonical_json import dump_compact
from heed.core.compiler.program import Program
from heed.core.events import Event, Received
from heed.core.ledger.ledger import Ledger, list_busy_sessions
from heed.errors import DecisionFailed

MAX_KEY: Final = 256
MAX_CLOCK_SKEW_S: Final = 60  # seconds that the broker's clock may be behind the one that an event was due by


@lru_cache(maxsize=256)
def add_seconds(time: str, seconds: int) -> str:
    """An RFC 3339 time so many seconds later, in the stream's own form."""
    moment = datetime.fromisoformat(time) + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def evaluate_key(program: Program, event: Event, scope: Scope) -> str:
    """The key of the event's session. Raises DecisionFailed."""
    try:
        key = event.correlationid if program.key is None else program.key.value(scope)
    except ExpressionError as error:
        raise DecisionFailed("ExpressionFailed", f"spec.session.key: {error}") from None
    return check_key(key, "spec.session.key")


def check_key(key: Any, path: str) -> str:
    """The key of a session as an expression at `path` yields it. Raises DecisionFailed."""
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY:
        what = f"yields {_what_came(key)}, not a string of 1 to {MAX_KEY} characters"
        remedy = "write string(…)" if isinstance(key, bool | int | float) else "choose another key"
        raise DecisionFailed("BadSessionKey", f"{path}: {what}; {remedy}")
    return key


def _what_came(key: Any) -> str:
    """What an invalid key is, for a message: of a text only its length, as a log may not hold it."""
    if not isinstance(key, str):
        text = f" ({dump_compact(key)})" if isinstance(key, bool | int | float) else ""
        return f"{json_kind(key)}{text}"
    return f"a string of {len(key)} characters" if key else "an empty string"


def find_session(ledger: Ledger, key: str, received: Received, event: Event) -> Session:
    """The session of a key, or a new one that begins with this event."""
    return ledger.sessions.get(key) or Session(received.at, received.at, event.correlationid)


def update_session(ledger: Ledger, session: Session, state: dict[str, Any]) -> Session:
    """The session, touched by the current event. The cursor's time never goes back, so order and times agree."""
    now = ledger.cursor.time or session.last_event_at
    return Session(session.started_at, now, session.correlationid, state)


def list_idle_sessions(program: Program, ledger: Ledger, now: str) -> list[str]:
    """The sessions that had no event since `now` less the idle timeout, and have no pending tasks and held events."""
    oldest = next(iter(ledger.sessions.values()), None)
    if oldest is None:
        return []
    limit = add_seconds(f"{now[:19]}Z", -program.idle_timeout)  # whole seconds: computed once for many events
    if oldest.last_event_at >= limit:
        return []
    busy = list_busy_sessions(ledger)
    return [key for key, item in ledger.sessions.items() if item.last_event_at < limit and key not in busy]


def touch_session(ledger: Ledger, key: str, session: Session) -> Ledger:
    """The ledger with a session that heard of something and was not changed by it."""
    session = update_session(ledger, session, session.state)
    return replace(ledger, sessions=keep_session(ledger.sessions, ledger.pending_tasks, key, session))


def keep_session(
    sessions: Mapping[str, Session], tasks: Mapping[str, PendingTask], key: str, session: Session
) -> dict[str, Session]:
    """The sessions with one, touched just now, in its new form. It exists while it has state or tasks."""
    sessions = dict(sessions)
    sessions.pop(key, None)
    if session.state or has_tasks(tasks, key):
        sessions[key] = session
    return sessions


def has_tasks(tasks: Mapping[str, PendingTask], key: str) -> bool:
    """Whether a session waits for tasks."""
    return any(task.session == key and task.phase != "Abandoned" for task in tasks.values())
