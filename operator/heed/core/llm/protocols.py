"""The two APIs behind one pair of functions: a call as a request, an answer as an outcome."""

from datetime import datetime

from heed.core.llm.chat_completions import read_chat_answer, write_chat_request
from heed.core.llm.model_answer import EndpointAnswer, Failure, FailureReason, Outcome
from heed.core.llm.model_call import ModelCall, dump_request
from heed.core.llm.model_endpoint import choose_api
from heed.core.llm.responses import read_responses_answer, write_responses_request


def write_request(call: ModelCall) -> bytes:
    """The body of a call's request, which goes to `request_url` of its settings. Raises ValueError for NaN in it."""
    write = write_responses_request if choose_api(call.settings) == "Responses" else write_chat_request
    return dump_request(write(call.settings, call.entries))


def read_answer(answer: EndpointAnswer, call: ModelCall, now: datetime) -> Outcome:
    """What an answer to a call means. Never raises, whatever the endpoint sent."""
    read = read_responses_answer if choose_api(call.settings) == "Responses" else read_chat_answer
    return read(answer, call, now)


def foresee_overflow(call: ModelCall) -> Failure | None:
    """The failure of a call that cannot fit the model's window: what is surely sent, and the answer, are more."""
    window = call.settings.context_tokens
    if window is None or call.estimate.least + call.settings.max_output_tokens <= window:
        return None
    needed = f"at least {call.estimate.least} tokens and {call.settings.max_output_tokens} for the answer"
    message = f"the request has {needed}; the model's window is {window}"
    return Failure(FailureReason.CONTEXT_OVERFLOW, message, unpaid=True)
