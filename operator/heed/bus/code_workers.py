"""The CodeWorkers adapter: calls of an Agent's code as requests over the broker, one worker of a group answers each."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from heed import names
from heed.api.code import CodeAnswer
from heed.bus.client.connection import Connection, NoAnswer
from heed.core.codec.strict_json import MAX_JSON_DEPTH, Unreadable, check_value, measure_depth
from heed.core.decision.code import CodeCall, FailedAnswer, parse_answer
from heed.core.effects import AgentRef
from heed.errors import BusUnavailable, CodeUnavailable, DecisionFailed

ANSWER_TIMEOUT_S: Final = 30.0  # seconds for the handlers of one request
LARGE_REPLY_BYTES: Final = 64 * 1024  # beyond which a reply is read beside the event loop
MAX_EFFECTS: Final = 10_000  # of a kind in an answer
MAX_MEMBERS: Final = 64  # of an answer, which knows fewer
MAX_MESSAGE_CHARS: Final = 8000
MAX_PLACE_CHARS: Final = 200
_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")

PING_TIMEOUT_S: Final = 5.0  # seconds for a request without calls


class NatsCodeWorkers:
    """Asks workers on the subject that names the digest of their code, so that no others answer."""

    def __init__(
        self, connection: Connection, timeout: float = ANSWER_TIMEOUT_S, missing: str | None = None
    ) -> None:
        """`missing` says why the broker lets in no workers, and what to do, where that is known."""
        self._connection, self._timeout, self._missing = connection, timeout, missing

    async def ask(
        self, agent: AgentRef, digest: str, calls: Sequence[CodeCall]
    ) -> Sequence[CodeAnswer | FailedAnswer]:
        """See CodeWorkers."""
        if self._missing is not None:
            raise CodeUnavailable(self._missing)
        subject = names.decide_subject(agent.namespace, agent.name, digest)
        request = b'{"calls":[%b]}' % b",".join(call.encode() for call in calls)
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
        if len(reply.data) > LARGE_REPLY_BYTES:
            return await asyncio.to_thread(read_reply, reply.data, len(calls))
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
    except RecursionError:
        return [
            FailedAnswer("TooDeep", f"the Agent's code answered: nests deeper than {MAX_JSON_DEPTH} levels")
        ]
    if not isinstance(reply, Mapping):
        raise CodeUnavailable("a worker's reply is no map")
    found = reply.get("answers")
    answers = [_answer(item) for item in found[:asked]] if isinstance(found, list) else []
    if answers:
        return answers
    raise CodeUnavailable(_text(reply.get("unavailable"), 1000) or "a worker's reply has no answers")


def _answer(item: Any) -> CodeAnswer | FailedAnswer:
    """One answer, whatever it is: a worker may be wrong, or hostile."""
    if isinstance(item, Mapping) and isinstance(failed := item.get("failed"), Mapping):
        code, message = failed.get("code"), _text(failed.get("message"), MAX_MESSAGE_CHARS)
        known = isinstance(code, str) and _CODE.fullmatch(code) is not None
        return FailedAnswer(str(code) if known else "HandlerFailed", message)
    try:
        _check_counts(item)
        answer = parse_answer(item)
        _check_values(answer)
    except DecisionFailed as failure:
        return FailedAnswer(failure.code, failure.message)
    except Unreadable as error:
        return FailedAnswer(error.code, f"the Agent's code answered: {error}")
    if answer.place is not None and len(answer.place) > MAX_PLACE_CHARS:
        return answer.model_copy(update={"place": answer.place[:MAX_PLACE_CHARS]})
    return answer


def _check_counts(item: Any) -> None:
    """Check an answer before it is parsed, as each mistake in it costs time. Raises DecisionFailed."""
    if isinstance(item, Mapping):
        if len(item) > MAX_MEMBERS:
            raise DecisionFailed("BadAnswer", f"the Agent's code answered: {len(item)} members")
        for name in ("start", "emit", "cancel"):
            if isinstance(effects := item.get(name), list) and len(effects) > MAX_EFFECTS:
                said = f"{name}: {len(effects)} of them; {MAX_EFFECTS} are the most"
                raise DecisionFailed("BadAnswer", f"the Agent's code answered: {said}")


def _check_values(answer: CodeAnswer) -> None:
    """Check what an answer holds. Raises Unreadable."""
    for value in (
        answer.state,
        *(value for item in (*answer.start, *answer.emit) for value in item.values()),
    ):
        if measure_depth(value) > MAX_JSON_DEPTH:
            raise Unreadable("TooDeep", f"nests deeper than {MAX_JSON_DEPTH} levels; flatten it")
        check_value(value)


def _text(value: object, most: int) -> str:
    """A text for people out of a reply; nothing where it is none."""
    return value[:most].encode(errors="replace").decode() if isinstance(value, str) else ""
