"""The foreseen calls of one session, in stream order: each has the state that the answer before it leaves."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic_core import to_json

from heed.api.code import CodeAnswer
from heed.core.codec.canonical_json import canonicalize
from heed.core.decision.code import CodeCall, FailedAnswer
from heed.core.events import Received
from heed.errors import CodeUnavailable

MAX_RUN: Final = 64  # calls of one request


@dataclass(slots=True)
class ForeseenCall:
    """The call that an event is foreseen to make, and the bytes of the answer once that is there."""

    received: Received
    call: CodeCall
    encoded: bytes  # the variables of the call
    size: int = 0

    @property
    def sequence(self) -> int:
        """The event's sequence in the stream."""
        return self.received.sequence


@dataclass(slots=True)
class SessionRun:
    """The calls of a session, first those that are answered, then those that are asked for, then those that wait.

    `session` is the variable of that name as the next call has it, None where the session begins with that; `state` is
    what the answers that are there leave. `limit` is how many calls the next request may have: few after a wrong guess.
    `blocked`: nothing is asked for before its event's turn has come.
    """

    session: Mapping[str, Any] | None
    state: Mapping[str, Any]
    answered: deque[ForeseenCall] = field(default_factory=deque)
    asked: list[ForeseenCall] = field(default_factory=list)
    waiting: deque[ForeseenCall] = field(default_factory=deque)
    last: int = 0  # the sequence of the last event
    limit: int = MAX_RUN
    blocked: bool = False
    queued: bool = False
    request: "asyncio.Task[CodeUnavailable | None] | None" = None  # for those that are asked for

    def add(self, received: Received, call: CodeCall) -> None:
        """Note the call of a later event."""
        self.waiting.append(ForeseenCall(received, call, to_json(call.variables)))
        self.last = received.sequence

    def take(self, most: int) -> list[CodeCall]:
        """The calls of the next request, `most` of them, which all count as made in the session as it is now.

        A call with pending tasks is alone, and what comes after it is not foreseen: its answer may start other tasks.
        """
        self.asked = [self.waiting.popleft()]
        alone, limit = self.asked[0].call.pending, min(self.limit, most)
        while self.waiting and len(self.asked) < limit and not (alone or self.waiting[0].call.pending):
            self.asked.append(self.waiting.popleft())
        self.blocked = bool(alone or (self.waiting and self.waiting[0].call.pending))
        self.limit = min(MAX_RUN, 2 * self.limit)
        return [self.adapt(item) for item in self.asked]

    def adapt(self, item: ForeseenCall) -> CodeCall:
        """A call in the session as it is now."""
        call, variables = item.call, item.call.variables
        session = self.session or {**variables["session"], "startedAt": item.received.at}
        if variables["session"] == session:
            return CodeCall(call.function, variables, self.state, call.pending, item.encoded)
        return CodeCall(call.function, {**variables, "session": session}, self.state, call.pending)

    def follow(self, item: ForeseenCall, call: CodeCall, answer: CodeAnswer | FailedAnswer) -> None:
        """Go on to the session as the answer to a call leaves it. One that begins with nothing to remember is none."""
        session, ended = call.variables["session"], False
        kept = session["startedAt"] != item.received.at
        if isinstance(answer, CodeAnswer):
            self.state, ended = next_state(self.state, answer), answer.end and answer.hold is None
            kept = kept or bool(answer.start)
        self.session = session if self.state or (kept and not ended) else None

    def settle(self, answered: int) -> int:
        """Note how many of the calls that were asked for have an answer, and return the bytes of these."""
        found, self.asked = self.asked, []
        self.answered.extend(found[:answered])
        self.waiting.extendleft(reversed(found[answered:]))
        return sum(item.size for item in found[:answered])

    def pass_decided(self, sequence: int) -> int:
        """Drop the calls of events up to this one, and return the bytes of their answers."""
        size = 0
        while self.answered and self.answered[0].sequence <= sequence:
            size += self.answered.popleft().size
        while self.waiting and self.waiting[0].sequence <= sequence:
            self.waiting.popleft()
        return size

    def begin_again(self, received: Received, call: CodeCall) -> "SessionRun":
        """A run that begins with the call that an event makes in truth, and goes on with what was foreseen after it."""
        run = SessionRun(call.variables["session"], call.state)
        run.add(received, call)
        run.limit = 1 if self.answered or self.asked else self.limit
        for item in (*self.answered, *self.asked, *self.waiting):
            if item.sequence > received.sequence:
                run.add(item.received, item.call)
        return run


def next_state(state: Mapping[str, Any], answer: CodeAnswer) -> Mapping[str, Any]:
    """The session's state after an answer, as the next call has it."""
    if answer.hold is not None:
        return state
    if answer.end:
        return {}
    try:
        return state if answer.state is None else canonicalize(answer.state)
    except OverflowError:  # which fails the event
        return state
