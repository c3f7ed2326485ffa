"""Whether an event is what its EventType says: asked of what an Agent hears, and of what it emits."""

from typing import Final

from heed import names
from heed.core.compiler.program import Program
from heed.core.decision.handlers import check_harmless
from heed.core.events import Event, Received
from heed.errors import DecisionFailed

SCHEMA_VIOLATION: Final = "SchemaViolation"


def heard_misfits(program: Program, received: Received, event: Event) -> int:
    """See `misfits`, of an event that came. What no subscription is for is not looked at."""
    origin = received.origin
    if not names.is_inbox(origin) and not any(
        program.is_met(item, event.type, origin) for item in program.subscriptions
    ):
        return 0
    return misfits(program, names.namespace_of_subject(origin), event)


def misfits(program: Program, namespace: str, event: Event) -> int:
    """0 where the event's data fit their type in that namespace, 1 where they do not and that is only counted.

    Raises DecisionFailed: SchemaViolation where they have to fit; NEEDS_GUARD, of a careful program, where it may be
    costly to know.
    """
    schemas = program.schemas
    if not schemas or program.verdict is not None:
        return 0
    if program.careful:
        check_harmless(schemas.harmless(namespace, event.type, event.data))
    finding = schemas.check(namespace, event.type, event.data, event.datacontenttype)
    if finding is None:
        return 0
    if finding.mode == "Enforce":
        raise DecisionFailed(SCHEMA_VIOLATION, finding.message)
    return 1
