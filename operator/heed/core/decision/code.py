"""Handlers in code: what a function of an Agent's code is called with, and how its answer is read.

A decision never calls a function. It asks for the answer to a call, and the one who decides has asked a worker before.
Nothing is replayed: an answer counts for a call that is equal to the one it was given for, however often it was made.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import to_json

from heed.api.code import CodeAnswer
from heed.api.validation import explain_error
from heed.core.compiler.program import CodeReference, CompiledHandler
from heed.core.decision.model import EmitRequest, HandlerResult, HoldRequest, StartRequest
from heed.core.decision.requests import (
    canonicalize_output,
    check_output_size,
    end_session,
    measure_state,
    read_emits,
    read_starts,
)
from heed.core.ledger.ledger import Ledger
from heed.core.type_patterns import matches
from heed.errors import CodeUnavailable, DecisionFailed


# Not frozen, though never changed: it is made for every event, and freezing makes that three times as slow.
@dataclass(slots=True)
class CodeCall:
    """A call of a function: with the variables that expressions see, the session's state and its pending tasks.

    `pending` has the ids of the session's tasks by their name, oldest first, without the one whose end the event is;
    nothing where the manifest does not say that the function reads them. `encoded` are the variables as JSON, where
    they were encoded already.
    """

    function: str
    variables: Mapping[str, Any]
    state: Mapping[str, Any]
    pending: Mapping[str, Sequence[str]] = field(default_factory=dict)
    encoded: bytes | None = field(default=None, compare=False, repr=False)

    def encode(self) -> bytes:
        """JSON of it, as a worker is sent it: {function, state, pending, variables}."""
        return b'{"function":%b,"state":%b,"pending":%b,"variables":%b}' % (
            to_json(self.function),
            to_json(self.state),
            to_json(self.pending),
            self.encoded or to_json(self.variables),
        )

    @property
    def digest(self) -> str:
        """What an answer to it is known by."""
        return hashlib.blake2b(self.encode(), digest_size=16).hexdigest()


MAX_KNOWN_ANSWERS: Final = 4096
MAX_KNOWN_BYTES: Final = 16 * 1024**2  # of them as JSON
MIN_KNOWN_ANSWERS: Final = 8  # which are kept at any size: one decision needs a few

Answers = Callable[[CodeCall], CodeAnswer]


class AnswerMissing(CodeUnavailable):
    """A decision needs the answer to a call that was not asked for."""

    def __init__(self, call: CodeCall) -> None:
        super().__init__(f"no answer of {call.function} is there")
        self.call = call


@dataclass(frozen=True, slots=True)
class FailedAnswer:
    """What a call came to that no answer was given to: the code and message of a dead letter."""

    code: str
    message: str


class KnownAnswers:
    """The answers that are there, by the digests of their calls. Can be pickled, for decisions in another process."""

    def __init__(self) -> None:
        self._answers: dict[str, CodeAnswer | FailedAnswer] = {}
        self._sizes: dict[str, int] = {}
        self._bytes = 0

    def __call__(self, call: CodeCall) -> CodeAnswer:
        """The answer to a call. Raises AnswerMissing, and DecisionFailed where it failed."""
        found = self.find(call)
        if found is None:
            raise AnswerMissing(call)
        if isinstance(found, FailedAnswer):
            raise DecisionFailed(found.code, found.message)
        return found

    def find(self, call: CodeCall) -> CodeAnswer | FailedAnswer | None:
        """What is known of a call; None where nothing is."""
        return self._answers.get(call.digest)

    def add(self, call: CodeCall, answer: CodeAnswer | FailedAnswer) -> int:
        """Note an answer, as the newest one, and return its bytes. The oldest are dropped: too many, or too large."""
        digest, size = call.digest, _measure(answer)
        self._drop(digest)
        self._answers[digest], self._sizes[digest] = answer, size
        self._bytes += size
        while len(self._answers) > MAX_KNOWN_ANSWERS or (
            self._bytes > MAX_KNOWN_BYTES and len(self._answers) > MIN_KNOWN_ANSWERS
        ):
            self._drop(next(iter(self._answers)))
        return size

    def _drop(self, digest: str) -> None:
        self._answers.pop(digest, None)
        self._bytes -= self._sizes.pop(digest, 0)


def _measure(answer: CodeAnswer | FailedAnswer) -> int:
    """The bytes of an answer, as far as a worker decides how many there are."""
    if isinstance(answer, FailedAnswer):
        return len(answer.message)
    return len(to_json([answer.state, answer.start, answer.emit, answer.cancel]))


def without_code(call: CodeCall) -> CodeAnswer:
    """The answers where there are none. Raises AnswerMissing."""
    raise AnswerMissing(call)


def parse_answer(value: Any) -> CodeAnswer:
    """An answer as a worker sent it. Raises DecisionFailed: BadAnswer."""
    try:
        return CodeAnswer.model_validate(value)
    except ValidationError as error:
        problem = explain_error(error.errors(include_url=False)[0], CodeAnswer)
        where = f"{problem.path}: " if problem.path else ""
        raise DecisionFailed("BadAnswer", f"the Agent's code answered: {where}{problem.message}") from None


def pending_of_session(ledger: Ledger, key: str) -> dict[str, list[str]]:
    """The ids of the tasks that a session waits for, by their name."""
    found: dict[str, list[str]] = {}
    for task_id, record in ledger.pending_tasks.items():
        if record.session == key and record.phase not in ("Abandoned", "Cancelling"):
            found.setdefault(record.task, []).append(task_id)
    return found


def apply_answer(
    reaction: CompiledHandler, code: CodeReference, answer: CodeAnswer, result: HandlerResult
) -> None:
    """Add what a function answered, within what the manifest says of it. Raises DecisionFailed."""
    path = f"{reaction.path}.call: {code.function}{f' ({answer.place})' if answer.place else ''}"
    if answer.hold is not None:
        result.hold = HoldRequest(reaction.name, path, answer.hold.seconds, answer.hold.handled)
        return
    if not answer.acts:
        return
    first = not result.handlers
    result.handlers.append(reaction.name)
    if answer.state is not None:
        result.state = canonicalize_output(answer.state, path)
    if answer.state is not None or first:
        result.state_size = measure_state(result.state)
    starts = read_starts(reaction.name, answer.start, path)
    emits = read_emits(answer.emit, path)
    _check_declared(code, starts, emits, path)
    result.starts.extend(starts)
    result.emits.extend(EmitRequest(reaction.name, item) for item in emits)
    check_output_size(result, [*(item.input for item in starts), *emits])
    result.cancels.update(answer.cancel)
    if answer.end:
        if starts:
            raise DecisionFailed("BadAnswer", f"{path}: ends its session and starts tasks in it")
        end_session(result)


def _check_declared(
    code: CodeReference, starts: Sequence[StartRequest], emits: Sequence[Mapping[str, Any]], path: str
) -> None:
    """Raise DecisionFailed for what the manifest does not say that the function may do."""
    for request in starts:
        if request.task not in code.starts:
            known = ", ".join(code.starts) or "none"
            raise DecisionFailed("Undeclared", f'{path}: starts "{request.task}"; its `starts` are: {known}')
    for event in emits:
        type_ = event.get("type")
        if isinstance(type_, str) and not any(matches(pattern, type_) for pattern in code.emits):
            known = ", ".join(code.emits) or "none"
            raise DecisionFailed("Undeclared", f"{path}: emits {type_}; its `emits` are: {known}")
