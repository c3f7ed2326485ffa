"""The decision: what an Agent makes of one event. A new ledger and a list of effects; same inputs, same decision.

    Decision = decide(Program, Ledger, Received)

Folding `decide` over the stream from an empty ledger gives the only right ledger; everything else in Heed exists to
make the world agree with it. Time is the stream's own time of the event.

One `Step` goes through the stages, each of which either passes it on or says what became of the event:

    open           the cursor moves past the event, idle sessions are forgotten, a delivered duplicate ends here
    route          whose event it is; broadcast, task end, progress or redriven end; the dedup window
    admit          schema, subscription, session, the queue of deferred events
    run handlers   conditions and templates, within the session's state
    hold           whether a handler has to wait for that state, or has waited for too long
    apply          tasks, events, limits and headroom: into the ledger, and as effects
    conclude       what became of the event is counted
"""

from heed.core.cel.expression import explain_out_of_memory
from heed.core.compiler.program import Program
from heed.core.decision.code import Answers, without_code
from heed.core.decision.conclusion import conclude, defer, write_letter
from heed.core.decision.handlers import run_handlers
from heed.core.decision.holding import hold
from heed.core.decision.ledger_update import apply
from heed.core.decision.model import Decision, Outcome
from heed.core.decision.opening import open_step
from heed.core.decision.routing import route
from heed.core.decision.session_admission import admit
from heed.core.decision.step import Step
from heed.core.events import Received
from heed.core.ledger.headroom import Headroom
from heed.core.ledger.ledger import Ledger
from heed.errors import CodeUnavailable, DecisionFailed

__all__ = ["Decision", "decide"]


def decide(
    program: Program,
    ledger: Ledger,
    received: Received,
    *,
    room: Headroom | None = None,
    ahead: bool = False,
    answers: Answers = without_code,
) -> Decision:
    """Decide one event of the stream. Whatever the event is, the cursor moves past it and one total grows.

    With `room`, an event that the status cannot take now is left waiting. `ahead`: only the inbox is being read. Events
    that are ready in `ledger.held` come before all others. `answers` are those of the Agent's code to its calls; what
    they raise of CodeUnavailable is raised here, and the event is undecided.
    """
    step = Step(program, received, ledger, room, answers)
    return conclude(step, open_step(step, ahead=ahead) or _outcome(step))


def _outcome(step: Step) -> Outcome:
    """What becomes of an event that was opened. What fails is a dead letter, and costs one event, not the Agent."""
    try:
        outcome = route(step) or admit(step) or run_handlers(step) or hold(step) or apply(step)
        return defer(step) if outcome == "waiting" else outcome
    except DecisionFailed as error:
        return write_letter(step, error)
    except CodeUnavailable:
        raise
    except MemoryError:
        failure = explain_out_of_memory()
    except Exception as error:
        failure = DecisionFailed("Undecidable", f"{type(error).__name__}: {error}; please report this")
    step.reopen()
    return write_letter(step, failure)
