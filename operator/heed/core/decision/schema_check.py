"""Whether an event is what its EventType says: asked of what an Agent hears, and of what it emits."""

from typing import Final

from heed.core.compiler.program import Program
from heed.core.decision.guard import check_harmless
from heed.core.events import Event
from heed.errors import DecisionFailed

SCHEMA_VIOLATION: Final = "SchemaViolation"


def check_schema(program: Program, namespace: str, event: Event) -> int:
    """0 where the event's data fit their type in that namespace, 1 where they do not and that is only counted.

    Raises DecisionFailed: SchemaViolation where they have to fit; NEEDS_GUARD, of a careful program, where it may be
    costly to know.
    """
    schemas = program.schemas
    if not schemas or program.verdict is not None:
        return 0
    if program.careful:
        check_harmless(schemas.is_cheap(namespace, event.type, event.data))
    finding = schemas.check(namespace, event.type, event.data, event.datacontenttype)
    if finding is None:
        return 0
    if finding.mode == "Enforce":
        raise DecisionFailed(SCHEMA_VIOLATION, finding.message)
    return 1
