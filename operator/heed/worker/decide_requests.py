"""Answers decide requests: the calls of one session in order, each with the state that the one before left."""

import json
from collections.abc import Mapping
from typing import Any

from heed.sdk.agent import Agent
from heed.sdk.calls import answer_call
from heed.sdk.errors import CodeError, CodeTooOld
from heed.sdk.injection import Resources
from heed.worker.purity import PurityCheck


def answer_request(
    agent: Agent, request: bytes, resources: Resources, purity: PurityCheck | None = None
) -> bytes:
    """The reply to a request {calls}: {answers} up to the first call that fails, or {unavailable}."""
    try:
        calls = json.loads(request)["calls"]
    except (ValueError, KeyError, TypeError):
        return _dump({"unavailable": "the request is no decide request"})
    answers: list[dict[str, Any]] = []
    state: Mapping[str, Any] | None = None
    for call in calls:
        if state is not None:
            call = {**call, "state": state}
        try:
            answer = _answer(agent, call, resources, purity)
        except CodeTooOld as error:
            if not answers:
                return _dump({"unavailable": str(error)})
            break
        except CodeError as error:
            answers.append({"failed": {"code": error.code, "message": error.message}})
            break
        answers.append(answer)
        state = {} if answer.get("end") else answer.get("state", call["state"])
    return _dump({"answers": answers})


def _answer(
    agent: Agent, call: Mapping[str, Any], resources: Resources, purity: PurityCheck | None
) -> dict[str, Any]:
    if purity is None:
        return answer_call(agent, call, resources)
    return purity.run(str(call["function"]), lambda: answer_call(agent, call, resources))


def _dump(reply: Mapping[str, Any]) -> bytes:
    return json.dumps(reply, allow_nan=False).encode()
