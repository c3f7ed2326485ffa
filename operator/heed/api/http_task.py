"""An `http` task: a request that a worker sends, which answers count, and what is made of one."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, StrictInt, model_validator

from heed.api.fields import MAX_EXPRESSION_CHARS, MAX_LIST_ITEMS, Cel, Duration, Model
from heed.api.secret_refs import HeaderName, HeaderPrefix, SecretKeyRef
from heed.api.status import FreeJson, FreeMap

MAX_URL_CHARS: Final = 4096
MAX_RESPONSE_BYTES: Final = 16 * 1024 * 1024
MAX_REDIRECTS: Final = 10
MAX_CONTENT_CHARS: Final = 64 * 1024

SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS"))
REPEATABLE_METHODS: Final = SAFE_METHODS | {"PUT", "DELETE"}  # RFC 9110, 9.2.2: idempotent

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
ExpectedStatus = Annotated[str, Field(pattern=r"^[1-5](xx|[0-9][0-9])$", max_length=3)]
MediaType = Annotated[
    str,
    Field(
        pattern=r"^[!-~]+/[!-~ ]+$",
        max_length=256,
        description="The Content-Type; what suits the body, if not given.",
    ),
]


class HttpHeader(Model):
    """A header of the request. Exactly one of `value` and `secretRef`."""

    name: Annotated[HeaderName, Field(description="Its name. Those of HTTP itself are taken.")]
    value: Annotated[
        str | None,
        Field(max_length=MAX_EXPRESSION_CHARS, description="Its value, for all to read; may hold ${CEL}."),
    ] = None
    prefix: Annotated[
        HeaderPrefix, Field(description="What stands before the secret, such as `Bearer `.")
    ] = ""
    secret_ref: Annotated[
        SecretKeyRef | None,
        Field(
            description="Its value, from a Secret of the Agent's namespace. Only the worker reads it, where it sends "
            "the request."
        ),
    ] = None

    @model_validator(mode="after")
    def _has_one_value(self) -> Self:
        if (self.value is None) == (self.secret_ref is None):
            raise ValueError("needs exactly one of value and secretRef")
        return self


class HttpBody(Model):
    """What is sent. Exactly one of `json`, `form`, `text` and `bytes`; each may hold ${CEL}."""

    json_: Annotated[FreeJson, Field(alias="json", description="JSON of any shape.")] = None
    form: Annotated[
        FreeMap | None,
        Field(
            description="Fields of a form, sent as application/x-www-form-urlencoded; a list sends several."
        ),
    ] = None
    text: Annotated[str | None, Field(max_length=MAX_CONTENT_CHARS, description="Text, sent in UTF-8.")] = (
        None
    )
    bytes_: Annotated[
        str | None, Field(alias="bytes", max_length=MAX_CONTENT_CHARS, description="Bytes, in base64.")
    ] = None
    content_type: MediaType | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which of them are given: one, in a valid body."""
        given = {"json": self.json_, "form": self.form, "text": self.text, "bytes": self.bytes_}
        named = {"json_": "json", "bytes_": "bytes"}
        set_ = {named.get(name, name) for name in self.model_fields_set}
        return tuple(name for name, value in given.items() if value is not None or name in set_)


class HttpTimeouts(Model):
    """How long each part of a request may take."""

    connect: Annotated[
        Duration, Field(description="Until there is a connection: names resolved, TLS agreed.")
    ] = "10s"
    first_byte: Annotated[
        Duration, Field(description="From then on until the answer begins, at each redirect again.")
    ] = "1m"
    total: Annotated[Duration, Field(description="Until the answer is there as a whole.")] = "5m"


class HttpResultSpec(Model):
    """What of an answer becomes the task's result: {status, headers, body}."""

    headers: Annotated[
        list[HeaderName],
        Field(
            max_length=MAX_LIST_ITEMS,
            description="Headers of the answer that the result has, if they are there.",
        ),
    ] = []
    reduce: Annotated[
        Cel | None,
        Field(
            description="CEL over `response` (status, headers, body) that yields the result instead, so that no more "
            "is kept than is needed."
        ),
    ] = None


class HttpCloudEvent(Model):
    """The request is a CloudEvent, whose data is the body. Its id is the task's, its source the Agent."""

    type: Annotated[
        str, Field(min_length=1, max_length=256, description="Its type, such as com.example.order.paid.")
    ]
    subject: Annotated[
        str | None, Field(max_length=MAX_EXPRESSION_CHARS, description="Its subject; may hold ${CEL}.")
    ] = None
    mode: Annotated[
        Literal["Binary", "Structured"],
        Field(description="The content mode of the CloudEvents HTTP binding."),
    ] = "Binary"


class HttpReconcile(Model):
    """A request that asks the service what became of a call whose answer was lost, before it would be repeated."""

    method: Annotated[Literal["GET", "HEAD", "POST"], Field(description="Its method.")] = "GET"
    url: Annotated[
        str, Field(min_length=1, max_length=MAX_URL_CHARS, description="Its URL; may hold ${CEL}.")
    ]
    query: Annotated[FreeMap | None, Field(description="Its query, as that of the request.")] = None
    headers: Annotated[
        list[HttpHeader],
        Field(
            max_length=MAX_LIST_ITEMS,
            description="Its headers; those of the request, if not given.",
        ),
    ] = []
    expect: Annotated[
        list[ExpectedStatus],
        Field(
            min_length=1,
            max_length=MAX_LIST_ITEMS,
            description="Statuses that say that the call has done its work: this answer becomes the result.",
        ),
    ] = ["2xx"]
    missing: Annotated[
        list[ExpectedStatus],
        Field(
            min_length=1,
            max_length=MAX_LIST_ITEMS,
            description="Statuses that say that the call never arrived: it is repeated.",
        ),
    ] = ["404", "410"]


class HttpSpec(Model):
    """A request to a service, which Heed's worker sends. It completes with an answer of an expected status."""

    method: Annotated[
        Method | None, Field(description="Its method; POST with a body and GET without one, if not given.")
    ] = None
    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_URL_CHARS,
            description="An http:// or https:// URL; may hold ${CEL} over `task`, `input`, `event`, `state`, `agent` "
            "and `session`. Public addresses only, where no AgentPolicy allows others.",
        ),
    ]
    query: Annotated[
        FreeMap | None,
        Field(description="What is added to the URL's query, encoded; a list sends several, null nothing."),
    ] = None
    headers: Annotated[
        list[HttpHeader], Field(max_length=MAX_LIST_ITEMS, description="Headers of the request.")
    ] = []
    body: Annotated[HttpBody | None, Field(description="What is sent; nothing, if not given.")] = None
    cloud_event: Annotated[
        HttpCloudEvent | None, Field(description="Send the body as the data of a CloudEvent.")
    ] = None
    expect: Annotated[
        list[ExpectedStatus],
        Field(
            min_length=1,
            max_length=MAX_LIST_ITEMS,
            description="Statuses with which the task completes: such as 200, or 2xx for a class. With any other the "
            "task fails with HttpStatus.",
        ),
    ] = ["2xx"]
    result: Annotated[HttpResultSpec, Field(description="What becomes the result.")] = HttpResultSpec()
    max_bytes: Annotated[
        StrictInt,
        Field(
            ge=1,
            le=MAX_RESPONSE_BYTES,
            description="Most bytes of the answer's body; a larger one fails with HttpTooLarge.",
        ),
    ] = 1024 * 1024
    redirects: Annotated[
        StrictInt,
        Field(
            ge=0,
            le=MAX_REDIRECTS,
            description="How many redirects are followed; to another origin without secrets.",
        ),
    ] = 0
    timeouts: Annotated[HttpTimeouts, Field(description="How long its parts may take.")] = HttpTimeouts()
    idempotency_key: Annotated[
        Literal["PerTask", "PerAttempt", "None"],
        Field(
            description="The header Idempotency-Key of methods that are not idempotent: the same in all attempts of "
            "the task, or one for each. None: there is none, and a call whose answer is lost is never repeated."
        ),
    ] = "PerTask"
    reconcile: Annotated[
        HttpReconcile | None,
        Field(
            description="What is asked where an answer was lost, before a call is repeated that is not idempotent."
        ),
    ] = None
    proxy: Annotated[
        Literal["None", "Environment"],
        Field(
            description="Environment: through the proxy of HTTPS_PROXY, HTTP_PROXY and NO_PROXY of the worker, which "
            "then resolves the name of the service."
        ),
    ] = "None"

    @property
    def wanted_method(self) -> str:
        """Its method."""
        return self.method or ("GET" if self.body is None and self.cloud_event is None else "POST")

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be sent again where it is not known what became of it."""
        return self.wanted_method in REPEATABLE_METHODS or self.idempotency_key != "None"

    @property
    def secrets(self) -> tuple[SecretKeyRef, ...]:
        """The keys of Secrets that it needs, each once."""
        headers = [*self.headers, *(self.reconcile.headers if self.reconcile else ())]
        return tuple(dict.fromkeys(item.secret_ref for item in headers if item.secret_ref is not None))

    @property
    def template(self) -> dict[str, Any]:
        """All of it as the manifest has it, where strings may hold ${CEL}; CEL over the answer is no part of that."""
        dumped = self.model_dump(by_alias=True, exclude_unset=True, mode="json")
        reduce = self.result.reduce
        if reduce is not None:
            dumped["result"] = {**dumped["result"], "reduce": reduce.replace("${", "$${")}
        return dumped


def expects(statuses: Sequence[str], status: int) -> bool:
    """Whether a status is one of those, or of a class of them: 204, 2xx."""
    return any(re.fullmatch(item.replace("x", "[0-9]"), str(status)) for item in statuses)


def read_http_secrets(specs: Mapping[str, HttpSpec]) -> tuple[SecretKeyRef, ...]:
    """The keys of Secrets that tasks need, each once."""
    return tuple(dict.fromkeys(ref for spec in specs.values() for ref in spec.secrets))
