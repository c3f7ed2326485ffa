"""The `EventSource` custom resource, v1alpha1: a webhook of the gateway, and the events that its deliveries become."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StrictInt

from heed import names
from heed.api.fields import MAX_EXPRESSION_CHARS, Cel, Duration, Model
from heed.api.kube_object import AcceptedStatus, KubeObject, parse_object
from heed.api.secret_refs import (
    MAX_HEADER_CHARS,
    MAX_OTHER_SECRETS,
    HeaderName,
    HeaderPrefix,
    SecretKeyRef,
)
from heed.api.status import FreeJson

MAX_PATH_CHARS: Final = 128
MAX_BODY_BYTES: Final = 1024 * 1024
MAX_PAYLOAD_CHARS: Final = 128
PATH_PATTERN: Final = r"^[a-z0-9]([-a-z0-9._]*[a-z0-9])?(/[a-z0-9]([-a-z0-9._]*[a-z0-9])?)*$"

Template = Annotated[str, Field(min_length=1, max_length=MAX_EXPRESSION_CHARS)]
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", min_length=1, max_length=32)]


class SignatureTimestamp(Model):
    """Where a delivery says when it was signed, in Unix seconds. Exactly one of `header` and `field`."""

    header: Annotated[HeaderName | None, Field(description="The header that holds it.")] = None
    field: Annotated[
        FieldName | None,
        Field(description="Its name in the signature's own header, such as t in Stripe's t=…,v1=…."),
    ] = None


class HmacSpec(Model):
    """A signature over the body: an HMAC with a shared secret."""

    header: Annotated[HeaderName, Field(description="The header that holds the signature.")]
    algorithm: Annotated[
        Literal["sha256", "sha1", "sha512"], Field(description="The hash: sha256, sha1 or sha512.")
    ] = "sha256"
    encoding: Annotated[
        Literal["hex", "base64"], Field(description="How the signature is written: hex or base64.")
    ] = "hex"
    prefix: Annotated[
        HeaderPrefix, Field(description="What stands before the signature, such as sha256=.")
    ] = ""
    field: Annotated[
        FieldName | None,
        Field(
            description="For a header that is a list of name=value: the name of signatures in it, such as v1. "
            "One of them has to be right."
        ),
    ] = None
    payload: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_PAYLOAD_CHARS,
            description="What is signed: {body}, {timestamp} and {header:NAME} with text around them, such as "
            "{timestamp}.{body}.",
        ),
    ] = "{body}"
    timestamp: Annotated[
        SignatureTimestamp | None,
        Field(description="Where the time of signing is. It has to be part of `payload`."),
    ] = None
    timestamp_tolerance: Annotated[
        Duration, Field(description="How far the time of signing may be from the gateway's, either way.")
    ] = "5m"
    secret_ref: Annotated[SecretKeyRef, Field(description="The shared secret.")]
    other_secret_refs: list[SecretKeyRef] = Field(
        default_factory=list,
        max_length=MAX_OTHER_SECRETS,
        description="Secrets that count as well, while one is replaced by another.",
    )


class TokenSpec(Model):
    """A shared secret that is sent along as it is."""

    header: Annotated[HeaderName, Field(description="The header that holds it.")] = "Authorization"
    prefix: Annotated[HeaderPrefix, Field(description="What stands before it, such as `Bearer `.")] = ""
    secret_ref: Annotated[SecretKeyRef, Field(description="The shared secret.")]
    other_secret_refs: list[SecretKeyRef] = Field(
        default_factory=list,
        max_length=MAX_OTHER_SECRETS,
        description="Secrets that count as well, while one is replaced by another.",
    )


class NoVerification(Model):
    """Deliveries are believed as they come."""


class VerifySpec(Model):
    """How a delivery proves where it comes from. Exactly one of `hmac`, `token` and `none`."""

    hmac: Annotated[HmacSpec | None, Field(description="By a signature over its body.")] = None
    token: Annotated[TokenSpec | None, Field(description="By a secret in a header.")] = None
    none: Annotated[
        NoVerification | None,
        Field(description="Not at all: {}. Everyone who reaches the gateway can then publish these events."),
    ] = None


class DeliveryEventSpec(Model):
    """The event that a delivery becomes. Strings may hold ${CEL} over `headers`, `query`, `body` and `delivery`."""

    type: Annotated[Template, Field(description="The CloudEvents type; may hold ${CEL}. Not dev.heed.*.")]
    id: Annotated[
        Template,
        Field(
            description="The CloudEvents id; may hold ${CEL}. The sender's id of the delivery, so that one that is "
            "sent again is a duplicate. By default a digest of the body."
        ),
    ] = "${delivery.digest}"
    source: Annotated[
        Template | None,
        Field(description="The CloudEvents source; may hold ${CEL}. By default the EventSource itself."),
    ] = None
    subject: Annotated[
        Template | None,
        Field(description="The CloudEvents subject; may hold ${CEL}. Left out where it is null or empty."),
    ] = None
    time: Annotated[
        Template | None,
        Field(
            description="The CloudEvents time, RFC 3339; may hold ${CEL}. Left out where it is null or empty."
        ),
    ] = None
    correlationid: Annotated[
        Template | None,
        Field(description="The correlationid; may hold ${CEL}. Left out where it is null or empty."),
    ] = None
    data: Annotated[
        FreeJson,
        Field(description="The event's data: any value; strings may hold ${CEL}. By default the body."),
    ] = None


class ChallengeToken(Model):
    """A parameter of the query that has to equal a secret, as WebSub's hub.verify_token."""

    parameter: Annotated[
        str, Field(min_length=1, max_length=MAX_HEADER_CHARS, description="The name of the parameter.")
    ]
    secret_ref: Annotated[SecretKeyRef, Field(description="What it has to be.")]


class ChallengeSpec(Model):
    """A question of the sender that is answered, and is no event: to prove that the address is meant."""

    method: Annotated[
        Literal["GET", "POST"],
        Field(description="GET, which needs no signature; or POST, verified as every delivery."),
    ] = "POST"
    when: Annotated[
        Cel, Field(description="CEL over `headers`, `query` and `body`: whether a request is one.")
    ]
    reply: Annotated[
        Template, Field(description="The answer's body; may hold ${CEL}, such as ${body.challenge}.")
    ]
    content_type: Annotated[
        Literal["text/plain", "application/json"], Field(description="The answer's media type.")
    ] = "text/plain"
    token: Annotated[
        ChallengeToken | None, Field(description="A parameter of the query that has to equal a secret.")
    ] = None


class DeliveryLimits(Model):
    """How large and how many deliveries may be."""

    body_bytes: Annotated[
        StrictInt, Field(ge=1, le=MAX_BODY_BYTES, description="Most bytes of a delivery's body.")
    ] = MAX_BODY_BYTES
    per_second: Annotated[
        StrictInt | None,
        Field(ge=1, le=10_000, description="Deliveries per second at one gateway replica, on average."),
    ] = None
    burst: Annotated[
        StrictInt | None, Field(ge=1, le=100_000, description="Deliveries at once; by default a second's.")
    ] = None


class EventSourceSpec(Model):
    """Where deliveries come, how they are verified, and which event each of them becomes."""

    path: Annotated[
        str,
        Field(
            pattern=PATH_PATTERN,
            min_length=1,
            max_length=MAX_PATH_CHARS,
            description="The end of the address: /v1/hooks/<namespace>/<path>. The oldest EventSource has it.",
        ),
    ]
    verify: Annotated[VerifySpec, Field(description="How a delivery proves where it comes from.")]
    when: Annotated[
        Cel | None,
        Field(
            description="CEL over `headers` (by lower-case name), `query`, `body` and `delivery`; where it is false, "
            "the delivery is answered with 204 and nothing is published."
        ),
    ] = None
    event: Annotated[DeliveryEventSpec, Field(description="The event that a delivery becomes.")]
    challenge: Annotated[
        ChallengeSpec | None, Field(description="A question of the sender that is answered, and is no event.")
    ] = None
    limits: Annotated[DeliveryLimits, Field(description="How large and how many deliveries may be.")] = (
        DeliveryLimits()
    )


class EventSource(KubeObject):
    """An EventSource: a webhook address of the gateway, whose verified deliveries become events of its namespace."""

    spec: EventSourceSpec

    @property
    def has_data(self) -> bool:
        """Whether the manifest says what the event's data are; else they are the body."""
        return "data" in self.spec.event.model_fields_set


class EventSourceStatus(AcceptedStatus):
    """The status: whether the gateway serves it, and where."""

    url: Annotated[str, Field(description="The address that deliveries are sent to.")] = ""


def parse_event_source(document: Mapping[str, Any]) -> EventSource:
    """The EventSource of a manifest. Raises InvalidManifest."""
    return parse_object(document, EventSource, names.EVENT_SOURCE)


def secret_refs(spec: EventSourceSpec) -> tuple[SecretKeyRef, ...]:
    """The Secrets' keys that it names, each once."""
    proof = spec.verify.hmac or spec.verify.token
    found = [proof.secret_ref, *proof.other_secret_refs] if proof is not None else []
    if spec.challenge is not None and spec.challenge.token is not None:
        found.append(spec.challenge.token.secret_ref)
    return tuple(dict.fromkeys(found))
