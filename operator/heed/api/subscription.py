"""The `Subscription` custom resource, v1alpha1: an HTTP endpoint that the gateway delivers events to."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator
from pydantic.alias_generators import to_camel

from heed import names
from heed.api.conditions import Condition
from heed.api.fields import DNS_LABEL_PATTERN, Cel, Duration, Model, TypePattern
from heed.api.kube_object import KubeObject, ObjectMeta, parse_object
from heed.api.secret_refs import HeaderName, HeaderPrefix, SecretKeyRef

MAX_TYPES: Final = 32
MAX_SINK_HEADERS: Final = 16
MAX_URL_CHARS: Final = 2048
MAX_ATTEMPTS: Final = 100
MAX_IN_FLIGHT: Final = 256
URL_PATTERN: Final = r"^https?://[^\s/?#@]+(/[^\s#]*)?$"

BackoffFactor = Annotated[float, Field(strict=False, ge=1, le=10)]
JitterShare = Annotated[float, Field(strict=False, ge=0, le=1)]


class SinkHeader(Model):
    """A header of every request. Exactly one of `value` and `secretRef`."""

    name: Annotated[
        HeaderName, Field(description="Its name. Those of CloudEvents and of HTTP itself are taken.")
    ]
    value: Annotated[
        str | None, Field(pattern=r"^[ -~]*$", max_length=1024, description="Its value, for all to read.")
    ] = None
    prefix: Annotated[
        HeaderPrefix, Field(description="What stands before the secret, such as `Bearer `.")
    ] = ""
    secret_ref: Annotated[SecretKeyRef | None, Field(description="Its value, from a Secret.")] = None

    @model_validator(mode="after")
    def _has_one_value(self) -> Self:
        if (self.value is None) == (self.secret_ref is None):
            raise ValueError("needs exactly one of value and secretRef")
        return self


class SinkSpec(Model):
    """Where events are delivered to."""

    url: Annotated[
        str,
        Field(
            pattern=URL_PATTERN,
            min_length=1,
            max_length=MAX_URL_CHARS,
            description="An http:// or https:// URL. Redirects are not followed; loopback, link-local and metadata "
            "addresses are refused.",
        ),
    ]
    headers: list[SinkHeader] = Field(
        default_factory=list, max_length=MAX_SINK_HEADERS, description="Headers of every request."
    )


class DeliveryBackoff(Model):
    """How long to wait before a delivery is tried again."""

    initial: Annotated[Duration, Field(description="Before the second attempt.")] = "1s"
    factor: Annotated[
        BackoffFactor, Field(description="How many times as long each further wait is as the one before.")
    ] = 2.0
    max: Annotated[Duration, Field(description="The longest wait.")] = "10m"
    jitter: Annotated[
        JitterShare, Field(description="The share of a wait, from 0 to 1, up to which chance shortens it.")
    ] = 0.2


class DeliveryRetry(Model):
    """How often a delivery is tried before the event becomes a dead letter."""

    attempts: Annotated[
        StrictInt, Field(ge=1, le=MAX_ATTEMPTS, description="Most attempts of one event, the first included.")
    ] = 16
    backoff: Annotated[DeliveryBackoff, Field(description="How long to wait between them.")] = (
        DeliveryBackoff()
    )


class SubscriptionDelivery(Model):
    """How events are delivered: at least once, and in no promised order."""

    mode: Annotated[
        Literal["Binary", "Structured"],
        Field(description="The content mode of the CloudEvents HTTP binding."),
    ] = "Binary"
    timeout: Annotated[Duration, Field(description="How long an answer may take.")] = "10s"
    retry: Annotated[DeliveryRetry, Field(description="What is done after a failure.")] = DeliveryRetry()
    per_second: Annotated[
        StrictInt | None,
        Field(ge=1, le=10_000, description="Most requests per second of one gateway replica."),
    ] = None
    max_in_flight: Annotated[
        StrictInt,
        Field(ge=1, le=MAX_IN_FLIGHT, description="Most requests under way at once, of one gateway replica."),
    ] = 16


class EventSubscriptionSpec(Model):
    """Which events of its namespace are delivered, where to, and how."""

    types: Annotated[
        list[TypePattern],
        Field(
            min_length=1,
            max_length=MAX_TYPES,
            description="NATS patterns over the CloudEvents type, such as com.example.order.*.",
        ),
    ]
    where: Annotated[
        Cel | None, Field(description="CEL over `event`; where it is false, the event is not delivered.")
    ] = None
    sink: Annotated[SinkSpec, Field(description="Where events are delivered to.")]
    delivery: Annotated[SubscriptionDelivery, Field(description="How events are delivered.")] = (
        SubscriptionDelivery()
    )


class SubscriptionMetadata(ObjectMeta):
    """The part of Kubernetes' object metadata that matters here. The name is a token of NATS subjects."""

    name: Annotated[str, Field(pattern=DNS_LABEL_PATTERN, max_length=63)]
    namespace: Annotated[str, Field(pattern=DNS_LABEL_PATTERN, max_length=63)] = "default"


class EventSubscription(KubeObject):
    """A Subscription: an HTTP endpoint that gets the events of its namespace that it asks for."""

    metadata: SubscriptionMetadata
    spec: EventSubscriptionSpec


class SubscriptionStatus(BaseModel):
    """The status: whether events are delivered. Numbers are written about once a minute, where they changed."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    observed_generation: Annotated[int, Field(description="The generation the gateway last looked at.")] = 0
    conditions: list[Condition] = Field(
        default_factory=list,
        description="Ready says whether events are delivered, and if not, why.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    lag: Annotated[int, Field(description="Events that wait, or are under way.")] = 0
    delivered: Annotated[int, Field(description="Events that the sink has taken.")] = 0
    dead_lettered: Annotated[int, Field(description="Events that the sink has not taken in the end.")] = 0


def parse_subscription(document: Mapping[str, Any]) -> EventSubscription:
    """The Subscription of a manifest. Raises InvalidManifest."""
    return parse_object(document, EventSubscription, names.SUBSCRIPTION)
