"""Answers of an Agent's code in this process: for simulations, where no worker runs."""

import json

from heed.api.code import CodeAnswer
from heed.api.validation import parse_agent
from heed.core.compiler.program import Program, compile_agent
from heed.core.decision.code import Answers, CodeCall, parse_answer
from heed.errors import CodeUnavailable, DecisionFailed, InvalidManifest
from heed.sdk.agent import Agent
from heed.sdk.calls import answer_call
from heed.sdk.errors import CodeError, CodeTooOld
from heed.sdk.injection import Resources
from heed.sdk.manifest_places import code_manifests
from heed.sdk.places import show_path


def compile_code(agent: Agent) -> Program:
    """The program of an Agent in Python. Raises InvalidManifest, with the lines of its code."""
    manifest = next(code_manifests(agent, show_path(agent.place.file)))
    try:
        return compile_agent(parse_agent(manifest.document))
    except InvalidManifest as error:
        raise manifest.locate(error.problems) from None


def answers_of(agent: Agent) -> Answers:
    """The answers of an Agent's functions: each call goes through JSON, as it does on its way to a worker."""
    resources = Resources()

    def answer(call: CodeCall) -> CodeAnswer:
        try:
            found = answer_call(agent, json.loads(call.encode()), resources)
        except CodeError as error:
            raise DecisionFailed(error.code, error.message) from error
        except CodeTooOld as error:
            raise CodeUnavailable(str(error)) from None
        return parse_answer(found)

    return answer
