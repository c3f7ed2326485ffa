"""Steps that stand in the middle of the pipeline of a decision, for tests of single stages."""

from typing import Any

from heed.core.compiler.program import Program
from heed.core.decision.conclusion import conclude
from heed.core.decision.handlers import run_handlers
from heed.core.decision.ledger_update import apply
from heed.core.decision.model import Decision, HandlerResult
from heed.core.decision.session_admission import admit
from heed.core.decision.sessions import find_session
from heed.core.decision.step import Step
from heed.core.events import Event, Received
from heed.core.ledger.ledger import Ledger


def routed(
    program: Program, came: Received, ledger: Ledger | None = None, *, digest: str | None = None
) -> Step:
    """A step of an event that was broadcast, right after routing."""
    assert isinstance(came.event, Event)
    step = Step(program, came, ledger or Ledger(), None)
    step.event, step.digest = came.event, digest
    return step


def admitted(step: Step, key: str) -> Step:
    """The step with its handlers and variables, in the session of this key."""
    assert admit(step) is None
    step.key, step.session = key, find_session(step.ledger, key, step.received, step.event)
    return step


def handled(step: Step, reacted: HandlerResult, **variables: Any) -> Step:
    """The step as if its handlers had done this."""
    step.key = "s1"
    step.session = find_session(step.ledger, step.key, step.received, step.event)
    step.result, step.variables = reacted, variables
    return step


def finished(step: Step) -> Decision:
    """The decision on an admitted step."""
    return conclude(step, run_handlers(step) or apply(step))
