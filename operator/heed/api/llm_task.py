"""An `llm` task: a model that is asked, the tools that it may call, and what that may cost."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from heed.api.fields import MAX_LIST_ITEMS, Model
from heed.api.http_task import HttpHeader
from heed.api.secret_refs import HeaderPrefix, SecretKeyRef
from heed.api.status import FreeMap

MAX_BASE_URL_CHARS: Final = 2048
MAX_TEXT_CHARS: Final = 64 * 1024
MAX_TURNS: Final = 150
MAX_TOKENS: Final = 10**12
TOOL_NAME_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"
MONEY_PATTERN: Final = r"^[0-9]{1,6}(\.[0-9]{1,6})?$"

Money = Annotated[str, Field(pattern=MONEY_PATTERN, max_length=13)]


class ModelImage(Model):
    """An image."""

    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_TEXT_CHARS,
            description="An address that the endpoint fetches, or a data: URL.",
        ),
    ]
    detail: Annotated[
        Literal["low", "high", "auto"] | None, Field(description="How closely the model looks at it.")
    ] = None


class ModelFile(Model):
    """A file, such as a PDF."""

    name: Annotated[str, Field(min_length=1, max_length=256, description="Its name.")]
    url: Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS, description="A data: URL.")]


class ModelPart(Model):
    """A part of a message. Exactly one of `text`, `image` and `file`."""

    text: Annotated[str | None, Field(max_length=MAX_TEXT_CHARS, description="Text.")] = None
    image: Annotated[ModelImage | None, Field(description="An image.")] = None
    file: Annotated[ModelFile | None, Field(description="A file.")] = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(item is not None for item in (self.text, self.image, self.file)) != 1:
            raise ValueError("needs exactly one of text, image and file")
        return self


class ModelMessage(Model):
    """What the task says to the model. Exactly one of `text` and `parts`."""

    role: Annotated[Literal["system", "user"], Field(description="Who says it.")]
    text: Annotated[
        str | None, Field(max_length=MAX_TEXT_CHARS, description="The message; may hold ${CEL}.")
    ] = None
    parts: Annotated[
        list[ModelPart] | None,
        Field(
            min_length=1,
            max_length=MAX_LIST_ITEMS,
            description="The message in parts, of which some are images or files.",
        ),
    ] = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.text is None) == (self.parts is None):
            raise ValueError("needs exactly one of text and parts")
        return self


class ModelKey(Model):
    """The key that the endpoint asks for."""

    secret_ref: Annotated[
        SecretKeyRef,
        Field(description="From a Secret of the Agent's namespace. Only the worker reads it, at each call."),
    ]


class ModelHeader(HttpHeader):
    """A header of each request to the endpoint. Exactly one of `value` and `secretRef`."""

    prefix: Annotated[
        HeaderPrefix, Field(description="What stands before the secret, such as `Bearer `.")
    ] = ""


class ModelReasoning(Model):
    """How much a model thinks before it answers."""

    effort: Annotated[
        str,
        Field(
            min_length=1,
            max_length=32,
            description="As the endpoint names it, such as low, medium or high.",
        ),
    ]


class ModelTool(Model):
    """A task of the Agent that the model may call."""

    task: Annotated[str, Field(description="A task in spec.tasks. Its `input` are the arguments.")]
    name: Annotated[
        str | None,
        Field(
            pattern=TOOL_NAME_PATTERN,
            max_length=64,
            description="What the model calls it; the task's name, if not given.",
        ),
    ] = None
    description: Annotated[
        str, Field(max_length=4096, description="What it does, for the model to read.")
    ] = ""
    input: Annotated[
        FreeMap | None,
        Field(description="JSON Schema of the arguments, an object; without any, if not given."),
    ] = None

    @property
    def called(self) -> str:
        """What the model calls it."""
        return self.name or self.task


class ModelPrice(Model):
    """What a million tokens cost, with six decimal places at most. Nothing is known of costs if not given."""

    input: Annotated[Money, Field(description="Of input.")]
    output: Annotated[Money, Field(description="Of output, reasoning included.")]
    cached: Annotated[
        Money | None,
        Field(description="Of input that the endpoint had in its cache; as other input, if not given."),
    ] = None
    currency: Annotated[
        str, Field(pattern=r"^[A-Z]{3}$", max_length=3, description="ISO 4217, for people to read.")
    ] = "USD"


class ModelAllowance(Model):
    """The most that tasks of models may spend together."""

    tokens: Annotated[
        StrictInt | None, Field(ge=1, le=MAX_TOKENS, description="Input and output of all calls.")
    ] = None
    cost: Annotated[
        Money | None, Field(description="In the currency of `price`, with six decimal places at most.")
    ] = None
    turns: Annotated[
        StrictInt | None, Field(ge=1, le=MAX_TOKENS, description="Calls of models that are answered.")
    ] = None
    tool_calls: Annotated[StrictInt | None, Field(ge=0, le=MAX_TOKENS, description="Calls of tools.")] = None


class ModelBudgetSpec(ModelAllowance):
    """The most that one task may spend. It is reserved before each call, and one that could cross it is not made."""

    turns: Annotated[
        StrictInt | None, Field(ge=1, le=MAX_TURNS, description="Calls of the model that are answered.")
    ] = None


class ModelBudgetsSpec(Model):
    """What the Agent's tasks of models may spend together, beside what each may by itself. One currency for all."""

    session: Annotated[
        ModelAllowance | None, Field(description="In one session, from its first event to its end.")
    ] = None
    day: Annotated[ModelAllowance | None, Field(description="On one day (UTC) of stream time.")] = None


class LlmSpec(Model):
    """A language model that is asked: it answers, or calls tools until it does."""

    base_url: Annotated[
        str,
        Field(
            alias="baseURL",
            min_length=1,
            max_length=MAX_BASE_URL_CHARS,
            description="The endpoint as SDKs want it, such as https://api.openai.com/v1; may hold ${CEL}. Public "
            "addresses only, where no AgentPolicy allows others.",
        ),
    ]
    model: Annotated[
        str,
        Field(
            min_length=1, max_length=256, description="The model, as the endpoint calls it; may hold ${CEL}."
        ),
    ]
    api: Annotated[
        Literal["Auto", "ChatCompletions", "Responses"],
        Field(
            description="What the endpoint speaks. Auto: Responses at OpenAI and Azure, Chat Completions elsewhere."
        ),
    ] = "Auto"
    key: Annotated[ModelKey | None, Field(description="The key of the endpoint.")] = None
    headers: Annotated[
        list[ModelHeader], Field(max_length=MAX_LIST_ITEMS, description="Further headers of requests.")
    ] = []
    body: Annotated[
        FreeMap | None,
        Field(
            description="Further members of requests, which replace those that Heed writes; may hold ${CEL}."
        ),
    ] = None
    messages: Annotated[
        list[ModelMessage],
        Field(min_length=1, max_length=MAX_LIST_ITEMS, description="What the model is told, in order."),
    ]
    output: Annotated[
        FreeMap | None,
        Field(
            description="JSON Schema of the answer, which then is the result as JSON. Without it the result is text."
        ),
    ] = None
    reasoning: Annotated[ModelReasoning | None, Field(description="How much it thinks.")] = None
    max_output_tokens: Annotated[
        StrictInt,
        Field(ge=1, le=10**6, description="The most tokens of one answer, reasoning included."),
    ] = 4096
    context_tokens: Annotated[
        StrictInt | None,
        Field(
            ge=1,
            le=10**8,
            description="The model's window: a request that cannot fit fails before it is sent.",
        ),
    ] = None
    temperature: Annotated[
        float | None, Field(ge=0, le=2, strict=True, description="The endpoint's own, if not given.")
    ] = None
    tools: Annotated[
        list[ModelTool], Field(max_length=MAX_LIST_ITEMS, description="Tasks that the model may call.")
    ] = []
    tool_choice: Annotated[
        str,
        Field(
            pattern=TOOL_NAME_PATTERN,
            max_length=64,
            description="auto, required, none, or the name of a tool. After the first turn it is auto, unless it is "
            "none.",
        ),
    ] = "auto"
    parallel_tools: Annotated[
        StrictBool,
        Field(
            description="Whether several tools run at once, where the model calls several; else one after the other."
        ),
    ] = True
    price: Annotated[ModelPrice | None, Field(description="What tokens cost.")] = None
    budget: Annotated[
        ModelBudgetSpec, Field(description="The most that the task may spend. 50 turns, if not given.")
    ] = ModelBudgetSpec()
    proxy: Annotated[
        Literal["None", "Environment"],
        Field(
            description="Environment: through the proxy of HTTPS_PROXY, HTTP_PROXY and NO_PROXY of the worker."
        ),
    ] = "None"

    @property
    def secrets(self) -> tuple[SecretKeyRef, ...]:
        """The keys of Secrets that it needs, each once."""
        refs = [] if self.key is None else [self.key.secret_ref]
        refs += [item.secret_ref for item in self.headers if item.secret_ref is not None]
        return tuple(dict.fromkeys(refs))

    @property
    def template(self) -> dict[str, Any]:
        """All of it as the manifest has it, where strings may hold ${CEL}."""
        return self.model_dump(by_alias=True, exclude_none=True, exclude_unset=True, mode="json")
