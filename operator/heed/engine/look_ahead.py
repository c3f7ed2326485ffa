"""The look-ahead: answers of code that are asked for before their events are decided, while others are.

A guess that proves wrong costs a request: the run of its session begins again with the call that is made in truth.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from heed.core.decision.code import CodeCall, FailedAnswer, KnownAnswers
from heed.core.effects import AgentRef
from heed.core.events import Received
from heed.engine.ports import CodeWorkers
from heed.engine.session_run import MAX_RUN, SessionRun
from heed.errors import AnswerLate, CodeUnavailable

MAX_REQUESTS: Final = 64  # of an Agent at once, each of another session: a reply may be as large as a message
MAX_ANSWER_BYTES: Final = (
    8 * 1024**2
)  # of answers to events that are not decided, beyond which no others are asked for
LATE_S: Final = 0.1  # for which an event waits for its answer before others are thought of

Request = asyncio.Task[CodeUnavailable | None]


class LookAhead:
    """The foreseen calls of an Agent, by session. Answers go to `known`."""

    def __init__(self, workers: CodeWorkers, agent: AgentRef, digest: str, known: KnownAnswers) -> None:
        self._workers, self._agent, self._digest, self._known = workers, agent, digest, known
        self._events: deque[tuple[int, str]] = deque()  # with foreseen calls: sequences, and keys of sessions
        self._runs: dict[str, SessionRun] = {}
        self._queue: deque[SessionRun] = deque()  # those that may have something to ask for
        self._requests: set[Request] = set()
        self._unforeseen: dict[str, Request] = {}  # by the call's digest
        self._bytes = 0  # of answers to events that are not decided
        self._reply_bytes = 0  # of the last answers to a request
        self._most = MAX_RUN  # calls of a request: fewer where requests had no answer in time
        self.doubtful = False  # whether the last request that an event waited for had no answer

    def add(self, received: Received, call: CodeCall) -> None:
        """Note the call that an event is foreseen to make, after all that were noted before."""
        session = call.variables["session"]
        key = str(session["key"])
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = SessionRun(session, call.state)
        run.add(received, call)
        self._events.append((received.sequence, key))
        self._enqueue(run)

    def pass_decided(self, head: int) -> None:
        """Forget what was foreseen of the events before `head`, which are decided."""
        while self._events and self._events[0][0] < head:
            sequence, key = self._events.popleft()
            run = self._runs[key]
            self._bytes -= run.pass_decided(sequence)
            if run.last <= sequence:
                self._drop(key)

    def ask(self) -> None:
        """Send the requests that may be sent now."""
        while self._queue and self._has_room():
            run = self._queue.popleft()
            run.queued = False
            if run.waiting and not run.asked and not run.blocked:
                _ = self._send(run)

    async def await_asked(self, sequence: int) -> None:
        """Wait for the answer to the call of the first event, as long as it is asked for.

        Raises CodeUnavailable, AnswerLate.
        """
        while self._events and self._events[0][0] == sequence:
            run = self._runs[self._events[0][1]]
            if run.request is None or not any(item.sequence == sequence for item in run.asked):
                return
            await self._await(run.request)

    async def ask_for(self, received: Received, call: CodeCall) -> None:
        """Ask for the call that an event makes in truth, and wait for the answer. Raises CodeUnavailable, AnswerLate.

        What comes after it in its session is foreseen anew.
        """
        if (asked := self._unforeseen.get(call.digest)) is not None:
            await self._await(asked)
            return
        if len(self._requests) >= MAX_REQUESTS:
            await asyncio.wait(self._requests, return_when=asyncio.FIRST_COMPLETED, timeout=LATE_S)
            if len(self._requests) >= MAX_REQUESTS:
                raise AnswerLate(f"{MAX_REQUESTS} requests to workers have no answer yet")
        key = str(call.variables["session"]["key"])
        if self._events and self._events[0] == (received.sequence, key):
            run = self._runs[key].begin_again(received, call)
            self._drop(key)
            self._runs[key] = run
        else:
            run = SessionRun(call.variables["session"], call.state)
            run.add(received, call)
        request = self._unforeseen[call.digest] = self._send(run)
        request.add_done_callback(lambda _: self._unforeseen.pop(call.digest, None))
        await self._await(request)

    def stop(self) -> None:
        """Forget all that is foreseen, and wait for no answer."""
        for request in self._requests:
            request.cancel()
        for key in tuple(self._runs):
            self._drop(key)
        self._events.clear()
        self._queue.clear()

    def _has_room(self) -> bool:
        """Whether another request can be sent, and the answers of all that are under way will be kept until used."""
        count = len(self._requests)
        return count < MAX_REQUESTS and self._bytes + count * self._reply_bytes < MAX_ANSWER_BYTES

    def _drop(self, key: str) -> None:
        """Forget a run; an answer that comes for it is known, and no more."""
        run = self._runs.pop(key)
        self._bytes -= sum(item.size for item in run.answered)
        run.answered, run.asked, run.waiting = deque(), [], deque()

    def _enqueue(self, run: SessionRun) -> None:
        if not run.queued:
            run.queued = True
            self._queue.append(run)

    def _send(self, run: SessionRun) -> Request:
        calls = run.take(self._most)
        run.request = request = asyncio.create_task(self._request(run, calls))
        self._requests.add(request)
        request.add_done_callback(self._requests.discard)
        return request

    async def _await(self, request: Request) -> None:
        """Wait for a request, which goes on where the waiting ends. Raises AnswerLate, CodeUnavailable if it failed."""
        await asyncio.wait({request}, timeout=LATE_S)
        if not request.done():
            raise AnswerLate("a worker has not answered yet")
        failure = request.result()
        self.doubtful = failure is not None
        if failure is not None:
            raise failure

    async def _request(self, run: SessionRun, calls: Sequence[CodeCall]) -> CodeUnavailable | None:
        """Ask for calls of one session, and send what can be sent after that. Returns why there is no answer."""
        asked, count, own = run.asked, 0, asyncio.current_task()
        try:
            answers = await self._workers.ask(self._agent, self._digest, calls)
        except CodeUnavailable as failure:
            self._most = max(1, self._most // 2)
            if run.asked is asked:
                run.settle(0)
                run.blocked = True
            return failure
        finally:
            self._requests.discard(own)
        if len(calls) >= self._most:
            self._most = min(MAX_RUN, len(calls) + 1)
        for item, answer in zip(asked, answers, strict=False):
            call, count = run.adapt(item), count + 1
            item.size = self._known.add(call, answer)
            run.follow(item, call, answer)
            if isinstance(answer, FailedAnswer):
                break
        if run.asked is asked:  # else it was dropped meanwhile
            self._reply_bytes = run.settle(count)
            self._bytes += self._reply_bytes
            self._enqueue(run)
        self.ask()
        return None
