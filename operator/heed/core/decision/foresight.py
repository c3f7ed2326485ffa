"""Foresight: which call of the Agent's code an event makes first, found without the answer and without a decision."""

from typing import Final

from heed.api.code import CodeAnswer, CodeHold
from heed.core.compiler.program import Program
from heed.core.decision.code import CodeCall
from heed.core.decision.handlers import run_handlers
from heed.core.decision.opening import open_step
from heed.core.decision.routing import route
from heed.core.decision.session_admission import admit
from heed.core.decision.step import Step
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger

_STOP: Final = CodeAnswer(hold=CodeHold(seconds=1))  # after which no other handler runs


def foresee_call(program: Program, ledger: Ledger, received: Received) -> CodeCall | None:
    """The first call that an event makes if it is decided on this ledger; None where it makes none.

    Raises DecisionFailed. `decide` says the same with AnswerMissing, which takes as long to raise as all else here.
    """
    calls: list[CodeCall] = []

    def note(call: CodeCall) -> CodeAnswer:
        calls.append(call)
        return _STOP

    step = Step(program, received, ledger, None, note)
    if not (open_step(step, ahead=False) or route(step) or admit(step)):
        run_handlers(step)
    return calls[0] if calls else None
