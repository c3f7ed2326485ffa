"""The answer of a service as the result of a task: {status, headers, body}, or what an expression makes of that."""

import base64
import json
import re
from collections.abc import Collection
from typing import Any, Final

from heed.api.http_task import HttpResultSpec
from heed.core.codec.strict_json import parse_json
from heed.errors import HeedError, MalformedEvent
from heed.worker.http.client import ServiceAnswer
from heed.worker.http.failures import EXPRESSION_FAILED, HTTP_INVALID_RESPONSE, CallFailed
from heed.worker.http.requests import HttpRequest

EXTRA: Final = "heed[calls]"
MASK: Final = b"***"
MIN_MASKED_CHARS: Final = 4  # a shorter secret is part of too much else
_JSON: Final = re.compile(r"application/(?:[!-.0-~]+\+)?json\s*(?:;|$)", re.IGNORECASE)
_CHARSET: Final = re.compile(r';\s*charset\s*=\s*"?([^\s";]+)', re.IGNORECASE)
_UTF8: Final = ("utf-8", "utf8", "us-ascii")


def mask_secrets(answer: ServiceAnswer, secrets: Collection[str]) -> ServiceAnswer:
    """The answer without the secrets that were sent, where the service has repeated them."""
    values = sorted({item for item in secrets if len(item) >= MIN_MASKED_CHARS}, key=len, reverse=True)
    body, headers = answer.body, dict(answer.headers)
    for value in values:
        for form in {value, json.dumps(value)[1:-1]}:
            body = body.replace(form.encode(), MASK)
        headers = {name: text.replace(value, MASK.decode()) for name, text in headers.items()}
    return ServiceAnswer(answer.status, headers, body)


def read_result(request: HttpRequest, answer: ServiceAnswer, wanted: HttpResultSpec) -> Any:
    """The result of a task. Raises CallFailed."""
    response: dict[str, Any] = {"status": answer.status, "headers": {}}
    response["headers"] = {
        name: answer.headers[name.lower()] for name in wanted.headers if name.lower() in answer.headers
    }
    response |= _read_body(request, answer)
    return response if wanted.reduce is None else _reduce(request, wanted.reduce, response)


def _read_body(request: HttpRequest, answer: ServiceAnswer) -> dict[str, Any]:
    """`body` with JSON or text, `bodyBase64` with other bytes, nothing where there is none. Raises CallFailed."""
    if not answer.body:
        return {}
    kind = answer.headers.get("content-type", "")
    if _JSON.match(kind):
        try:
            return {"body": parse_json(answer.body, "BadJson", "it is not JSON, which its Content-Type says")}
        except MalformedEvent as error:
            raise CallFailed(
                HTTP_INVALID_RESPONSE, f"{request.shown}: the answer cannot be read: {error}"
            ) from None
    charset = _CHARSET.search(kind)
    if charset is None or charset[1].lower() in _UTF8:
        try:
            text = answer.body.decode()
        except UnicodeDecodeError:
            text = "\0"
        if "\0" not in text:
            return {"body": text}
    return {"bodyBase64": base64.b64encode(answer.body).decode()}


def _reduce(request: HttpRequest, source: str, response: dict[str, Any]) -> Any:
    try:
        from heed.core.tasks.http_response import reduce_response
    except ImportError:
        message = f"result.reduce needs CEL, which this worker lacks; install {EXTRA}"
        raise CallFailed(EXPRESSION_FAILED, message) from None
    from heed.core.cel.expression import ExpressionError

    try:
        return reduce_response(source, response)
    except (ExpressionError, HeedError) as error:
        raise CallFailed(
            EXPRESSION_FAILED, f"result.reduce on the answer of {request.shown}: {error}"
        ) from None
