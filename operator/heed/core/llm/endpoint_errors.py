"""Errors of endpoints, told apart: by status, code and words, in this order of trust."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from heed.core.llm.model_answer import EndpointAnswer, Failure, FailureReason, shorten_message
from heed.core.llm.overflow_messages import MAX_SEARCHED_CHARS, OVERFLOW_CODES, says_overflow
from heed.core.subscriptions.answers import MAX_RETRY_AFTER_S, read_retry_after

# The only words for an account without credit that are believed with a 429: Google and Azure word every passing limit
# so too (langchain-ai/langchainjs#1929, coder/coder#26200).
QUOTA_CODES: Final = frozenset(
    ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "credit_balance_exhausted")
)
FILTER_CODES: Final = frozenset(
    (
        "content_filter",
        "responsibleaipolicyviolation",
        "content_policy_violation",
        "invalid_prompt",
        "data_inspection_failed",
    )
)
RATE_CODES: Final = frozenset(
    ("rate_limit_exceeded", "resource_exhausted", "too_many_requests", "ratelimitreached")
)
BUSY_CODES: Final = frozenset(
    ("server_error", "overloaded_error", "engine_overloaded", "unavailable", "internal")
)
MIN_TOKENS_OF_SILENT_OVERFLOW: Final = 4000
MAX_INNER_ERRORS: Final = 4  # in one another
_AWAY: Final = frozenset(
    (408, 409, 425, 498, 529)
)  # 498 is Groq's "no capacity", 529 Anthropic's "overloaded"
_RETRY_DELAY: Final = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s")
_FINAL_4XX: Final = {
    401: FailureReason.NOT_AUTHORIZED,
    402: FailureReason.QUOTA_GONE,
    403: FailureReason.NOT_AUTHORIZED,
}


@dataclass(frozen=True, slots=True)
class EndpointError:
    """What an error body says: its codes in lower case, its message, and seconds to wait that are in it."""

    codes: frozenset[str]
    message: str
    retry_after_s: float = 0.0


def read_error(answer: EndpointAnswer, request_tokens: int, now: datetime) -> Failure:
    """The failure behind a status other than 2xx. `request_tokens` is the request's estimate."""
    error = parse_error(answer.body)
    reason = _find_reason(answer.status, error, request_tokens)
    wait = max(find_retry_after(answer.headers, now), error.retry_after_s)
    return Failure(reason, _say(reason, answer.status, error), wait, status=answer.status, unpaid=True)


def _say(reason: FailureReason, status: int, error: EndpointError) -> str:
    """What is told of an error; not its own words where they may quote the key."""
    if reason is FailureReason.NOT_AUTHORIZED:
        return f"the endpoint answered {status}; look at the key and at what it may use"
    return shorten_message(f"the endpoint answered {status}: {error.message or 'without a reason'}")


def read_error_member(error: Any, now: datetime, headers: Mapping[str, str]) -> Failure:
    """The failure behind an `error` in a body of status 200: Responses that failed, OpenRouter's upstreams."""
    found = _parse_member(error)
    status = next(
        (int(code) for code in found.codes if code.isascii() and code.isdecimal() and len(code) == 3), 500
    )
    reason = _find_reason(status, found, 0)
    wait = max(find_retry_after(headers, now), found.retry_after_s)
    return Failure(reason, _say(reason, status, found), wait, status=status)


def _find_reason(status: int, error: EndpointError, request_tokens: int) -> FailureReason:
    by_code = _reason_of_code(error.codes)
    if status == 429:
        return FailureReason.QUOTA_GONE if by_code is FailureReason.QUOTA_GONE else FailureReason.RATE_LIMITED
    if status == 413 or says_overflow(error.message):
        return FailureReason.CONTEXT_OVERFLOW
    if by_code is not None:
        return by_code
    if status in _FINAL_4XX:
        return _FINAL_4XX[status]
    if status >= 500 or status in _AWAY:
        return FailureReason.ENDPOINT_AWAY
    # Cerebras and others answer an overflow with 400 and no body; so does nothing else that is known.
    silent = status == 400 and not error.message and not error.codes
    if silent and request_tokens >= MIN_TOKENS_OF_SILENT_OVERFLOW:
        return FailureReason.CONTEXT_OVERFLOW
    return FailureReason.INVALID_REQUEST


def _reason_of_code(codes: frozenset[str]) -> FailureReason | None:
    for known, reason in (
        (OVERFLOW_CODES, FailureReason.CONTEXT_OVERFLOW),
        (FILTER_CODES, FailureReason.CONTENT_FILTERED),
        (QUOTA_CODES, FailureReason.QUOTA_GONE),
        (RATE_CODES, FailureReason.RATE_LIMITED),
        (BUSY_CODES, FailureReason.ENDPOINT_AWAY),
    ):
        if codes & known:
            return reason
    return None


def parse_error(body: bytes) -> EndpointError:
    """What an error body says: an object with `error`, a list of one (Google), `detail` (FastAPI), text, or nothing."""
    text = body.decode(errors="replace").strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        looks_like_page = text[:1] == "<"  # of a proxy
        return EndpointError(frozenset(), "" if looks_like_page else _clean(text))
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, Mapping) and "error" in value:
        return _parse_member(value["error"])
    return _parse_member(value)


def _parse_member(error: Any) -> EndpointError:
    if isinstance(error, str):
        return EndpointError(frozenset(), _clean(error))
    if not isinstance(error, Mapping):
        return EndpointError(frozenset(), "")
    words = (error.get("message"), error.get("detail"), error.get("msg"))
    message = next((word for word in words if isinstance(word, str) and word), "")
    return EndpointError(frozenset(_codes(error, MAX_INNER_ERRORS)), _clean(message), _delay_in(error))


def _clean(message: str) -> str:
    """A message on one line, as much of it as is looked at: proxies put the one that counts behind words of theirs."""
    return " ".join(message[:MAX_SEARCHED_CHARS].split())


def _codes(error: Mapping[str, Any], depth: int) -> Iterator[str]:
    """Codes of an error and of those inside it: Azure's filter says what it is in `innererror`."""
    for name in ("code", "type", "status"):
        value = error.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool):
            yield str(value)[:128].lower()
    inner = error.get("innererror")
    if depth and isinstance(inner, Mapping):
        yield from _codes(inner, depth - 1)


def _delay_in(error: Mapping[str, Any]) -> float:
    """Google's RetryInfo: `details: [{"@type": …, "retryDelay": "38s"}]`."""
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, Mapping) else None
        if isinstance(delay, str) and (match := _RETRY_DELAY.fullmatch(delay)) is not None:
            return min(float(match[1]), MAX_RETRY_AFTER_S)
    return 0.0


def find_retry_after(headers: Mapping[str, str], now: datetime) -> float:
    """Seconds that headers ask to wait: `retry-after-ms` (OpenAI, Azure), `Retry-After`, or litellm's copy of one."""
    milliseconds = headers.get("retry-after-ms", "").strip()
    if milliseconds.isascii() and milliseconds.isdecimal():
        return min(float(milliseconds[:12]) / 1000, MAX_RETRY_AFTER_S)
    return read_retry_after(headers.get("retry-after") or headers.get("llm_provider-retry-after"), now)
