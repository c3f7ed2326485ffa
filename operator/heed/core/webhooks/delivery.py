"""What a verified delivery becomes: an event, nothing, or the answer to a question of the sender."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from heed import names
from heed.core.cel.expression import Expression, ExpressionError, Scope
from heed.core.cel.template import Template, TemplateError
from heed.core.codec.cloudevents_json import SPECVERSION, build_event, choose_form, read_data
from heed.core.codec.strict_json import (
    MAX_JSON_DEPTH,
    Unreadable,
    check_no_nul,
    check_value,
    measure_depth,
)
from heed.core.events import Event, Json
from heed.core.webhooks.program import CompiledChallenge, WebhookProgram
from heed.errors import HeedError

MAX_REPLY_CHARS: Final = 4096
MAX_DIGEST_BYTES: Final = 16
FORM_TYPE: Final = "application/x-www-form-urlencoded"
JSON_TYPE: Final = "application/json"


class UnmappedDelivery(HeedError):
    """A delivery that cannot become an event. `status` is HTTP's, `code` CamelCase for machines."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request as expressions see it: headers by lower-case name, and the query, as maps of text.

    `form` are the fields of a form, which is decoded before; `body` the bytes as they came.
    """

    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes = b""
    form: Mapping[str, str] | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class ChallengeReply:
    """The answer to a question of the sender."""

    text: str
    content_type: str


def answer_question(program: WebhookProgram, delivery: Delivery) -> ChallengeReply | None:
    """The answer to a question that is asked with GET; None where it is none. Raises UnmappedDelivery."""
    if program.challenge is None or program.challenge.method != "GET":
        return None
    return _answer(program.challenge, _scope(program, delivery, None))


def map_delivery(program: WebhookProgram, delivery: Delivery) -> Event | ChallengeReply | None:
    """The event that a verified delivery becomes, or the answer to a question; None where it is filtered out.

    Raises UnmappedDelivery.
    """
    body, media_type = _read_body(delivery)
    scope = _scope(program, delivery, body)
    if program.challenge is not None and program.challenge.method == "POST":
        if (reply := _answer(program.challenge, scope)) is not None:
            return reply
    if program.when is not None and not _holds(program.when, scope, "spec.when"):
        return None
    return _event(program, scope, body, media_type)


def delivery_digest(body: bytes) -> str:
    """The digest of a body: the event's id, for senders that give their deliveries none."""
    return hashlib.blake2b(body, digest_size=MAX_DIGEST_BYTES).hexdigest()


def _read_body(delivery: Delivery) -> tuple[Json, str | None]:
    """The body as a value, and the media type of that. Raises UnmappedDelivery."""
    if delivery.form is not None:
        return dict(delivery.form), JSON_TYPE
    content_type = delivery.content_type
    form = choose_form(content_type)
    if form == "binary":
        message = f"bodies of {content_type} are not read; send JSON, a form or text in UTF-8"
        raise UnmappedDelivery(415, "UnsupportedMediaType", message)
    try:
        body = read_data(delivery.body, content_type)
    except Unreadable as error:
        raise UnmappedDelivery(400, error.code, f"the body cannot be read: {error}") from None
    if isinstance(body, bytes):  # a document in another encoding
        message = f"the body of {content_type} is not UTF-8; send it as UTF-8"
        raise UnmappedDelivery(415, "UnsupportedMediaType", message)
    return body, JSON_TYPE if form == "json" else content_type


def _scope(program: WebhookProgram, delivery: Delivery, body: Json) -> Scope:
    """The variables of expressions. Raises UnmappedDelivery for data that are not harmless."""
    variables = {
        "headers": dict(delivery.headers),
        "query": dict(delivery.query),
        "body": body if program.reads_body else None,
        "delivery": {"digest": delivery_digest(delivery.body)},
    }
    try:
        for value in (*variables.values(), body):
            check_no_nul(value)
            check_value(value)
    except Unreadable as error:
        raise UnmappedDelivery(400, error.code, str(error)) from None
    if not program.limit.allows(*variables.values()):
        message = "the body holds more than this EventSource's expressions may work on; send less"
        raise UnmappedDelivery(413, "TooCostly", message)
    return Scope(variables)


def _answer(challenge: CompiledChallenge, scope: Scope) -> ChallengeReply | None:
    if not _holds(challenge.when, scope, "spec.challenge.when"):
        return None
    text = _text(_rendered(challenge.reply, scope, "spec.challenge.reply"), "spec.challenge.reply")
    if text is None or len(text) > MAX_REPLY_CHARS:
        message = f"spec.challenge.reply: is empty, or longer than {MAX_REPLY_CHARS} characters"
        raise UnmappedDelivery(400, "BadChallenge", message)
    return ChallengeReply(text, challenge.content_type)


def _event(program: WebhookProgram, scope: Scope, body: Json, media_type: str | None) -> Event:
    attributes: dict[str, Any] = {
        "specversion": SPECVERSION,
        "source": names.event_source_uri(program.namespace, program.name),
    }
    for name, template in program.texts.items():
        path = f"spec.event.{name}"
        if (value := _text(_rendered(template, scope, path), path)) is not None:
            attributes[name] = value
    if program.data is None:
        data: Any = body
    else:
        data, media_type = _rendered(program.data, scope, "spec.event.data"), JSON_TYPE
    if data is not None and media_type is not None:
        attributes["datacontenttype"] = media_type
    try:
        if measure_depth(data) > MAX_JSON_DEPTH:
            raise Unreadable("TooDeep", f"data nest deeper than {MAX_JSON_DEPTH} levels; flatten them")
        check_value(data)
        event = build_event(attributes, data)
    except Unreadable as error:
        raise UnmappedDelivery(400, error.code, f"spec.event makes no event of it: {error}") from None
    if names.is_reserved(event.type):
        message = f"spec.event.type: {event.type} is reserved for Heed's own events"
        raise UnmappedDelivery(400, "ReservedType", message)
    if (refused := program.rules.publishing_problem(event.type)) is not None:
        raise UnmappedDelivery(403, "TypeNotAllowed", f"spec.event.type: {refused}")
    return event


def _holds(condition: Expression, scope: Scope, path: str) -> bool:
    try:
        return condition.holds(scope)
    except ExpressionError as error:
        raise UnmappedDelivery(400, "ExpressionFailed", f"{path}: {error}") from None


def _rendered(template: Template, scope: Scope, path: str) -> Any:
    try:
        return template.render(scope)
    except TemplateError as error:
        raise UnmappedDelivery(400, "ExpressionFailed", f"{path}{error.path}: {error.message}") from None


def _text(value: Any, path: str) -> str | None:
    """A rendered text; whole numbers are written out, and null or an empty text is none. Raises UnmappedDelivery."""
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return value
    message = f"{path}: is neither text nor a whole number; convert it with string(…)"
    raise UnmappedDelivery(400, "ExpressionFailed", message)
