"""The CodeWorkers adapter: calls of an Agent's code as requests over the broker, one worker of a group answers each."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from heed import names
from heed.api.code import CodeAnswer
from heed.bus.client.connection import Connection, NoAnswer
from heed.core.codec.canonical_json import dump_compact
from heed.core.decision.code import CodeCall, FailedAnswer, parse_answer
from heed.core.effects import AgentRef
from heed.errors import BusUnavailable, CodeUnavailable, DecisionFailed

ANSWER_TIMEOUT_S: Final = 30.0  # seconds for the handlers of one request

PING_TIMEOUT_S: Final = 5.0  # seconds for a request without calls


class NatsCodeWorkers:
    """Asks workers on the subject that names the digest of their code, so that no others answer."""

    def __init__(self, connection: Connection, timeout: float = ANSWER_TIMEOUT_S) -> None:
        self._connection, self._timeout = connection, timeout

    async def ask(
        self, agent: AgentRef, digest: str, calls: Sequence[CodeCall]
    ) -> Sequence[CodeAnswer | FailedAnswer]:
        """See CodeWorkers."""
        subject = names.decide_subject(agent.namespace, agent.name, digest)
        request = dump_compact({"calls": [call.to_json() for call in calls]}).encode()
        if len(request) > self._connection.max_payload:
            if len(calls) > 1:
                return await self.ask(agent, digest, calls[:1])
            message = (
                f"the event and the state are {len(request)} bytes, more than the broker takes in a message"
            )
            return [FailedAnswer("CallTooLarge", message)]
        try:
            reply = await self._connection.request(subject, request, timeout=self._timeout)
        except NoAnswer:
            raise CodeUnavailable(f"no worker runs the code {digest} of {agent}") from None
        except BusUnavailable as error:
            raise CodeUnavailable(f"no worker of {agent} answered: {error}") from None
        return read_reply(reply.data, len(calls))

    async def answers(self, agent: AgentRef, digest: str) -> bool:
        """Whether a worker of this code is there, and not too old for it: it answers a request without calls."""
        subject = names.decide_subject(agent.namespace, agent.name, digest)
        try:
            reply = await self._connection.request(subject, b'{"calls":[]}', timeout=PING_TIMEOUT_S)
            found = json.loads(reply.data)
        except (BusUnavailable, NoAnswer, ValueError):
            return False
        return isinstance(found, Mapping) and isinstance(found.get("answers"), list)


def read_reply(data: bytes, asked: int) -> Sequence[CodeAnswer | FailedAnswer]:
    """The answers in a reply. Raises CodeUnavailable for one that is none, or that a worker is too old to give."""
    try:
        reply = json.loads(data)
    except ValueError:
        raise CodeUnavailable("a worker's reply is no JSON") from None
    if not isinstance(reply, Mapping):
        raise CodeUnavailable("a worker's reply is no map")
    found = reply.get("answers")
    answers = [_answer(item) for item in found[:asked]] if isinstance(found, list) else []
    if answers:
        return answers
    raise CodeUnavailable(str(reply.get("unavailable") or "a worker's reply has no answers")[:1000])


def _answer(item: Any) -> CodeAnswer | FailedAnswer:
    if isinstance(item, Mapping) and isinstance(failed := item.get("failed"), Mapping):
        return FailedAnswer(str(failed.get("code") or "HandlerFailed"), str(failed.get("message") or ""))
    try:
        return parse_answer(item)
    except DecisionFailed as failure:
        return FailedAnswer(failure.code, failure.message)
