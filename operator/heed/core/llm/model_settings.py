"""What a model is asked with: endpoint, model, limits, tools and the shape of the answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from heed.core.llm.transcript import Api
from heed.core.schema.validator import SchemaValidator

DEFAULT_MAX_OUTPUT_TOKENS: Final = 4096
OBJECT: Final = "object"


@dataclass(frozen=True, slots=True)
class CheckedSchema:
    """A JSON Schema and what checks values against it. `strict` says that it meets the rules of strict decoding."""

    schema: Mapping[str, Any]
    validator: SchemaValidator
    strict: bool

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> "CheckedSchema":
        """Raises SchemaRefused."""
        return cls(schema, SchemaValidator(schema), is_strict(schema))


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool as the model sees it. Names have 1 to 64 letters, digits, `_` and `-` (OpenAI's rule)."""

    name: str
    description: str
    parameters: CheckedSchema


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How a model is asked.

    `base_url` is what SDKs call so: the address without `/chat/completions` or `/responses`; a query stays at its
    end. `max_output_tokens` bounds each answer, reasoning included. `context_tokens` is the model's window, where it
    is known. `tool_choice` is `auto`, `required`, `none` or the name of a tool. `extra` are members of the request's
    body that replace those written here; null leaves one out, and `tools` are added. `omitted` are members of the
    assistant's messages that the endpoint refuses to get back.
    """

    base_url: str
    model: str
    api: Api | Literal["Auto"] = "Auto"
    reasoning_effort: str | None = None
    max_output_tokens: int = DEFAULT_MAX_OUTPUT_TOKENS
    context_tokens: int | None = None
    temperature: float | None = None
    tools: tuple[ToolDefinition, ...] = ()
    tool_choice: str = "auto"
    parallel_tools: bool = True
    output: CheckedSchema | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    omitted: frozenset[str] = frozenset()

    def find_tool(self, name: str) -> ToolDefinition | None:
        """The tool of that name."""
        return next((tool for tool in self.tools if tool.name == name), None)


def is_strict(schema: Any) -> bool:
    """Whether a schema meets the rules of OpenAI's strict mode, as far as they are about objects.

    Every object says `additionalProperties: false` and requires all of its properties; the root is an object and no
    `anyOf` (platform.openai.com/docs/guides/structured-outputs, "Supported schemas"). Endpoints answer 400 to
    `strict: true` with a schema that does not.
    """
    return isinstance(schema, Mapping) and schema.get("type") == OBJECT and _all_strict(schema)


def _all_strict(schema: Any) -> bool:
    if isinstance(schema, list):
        return all(map(_all_strict, schema))
    if not isinstance(schema, Mapping):
        return True
    kind = schema.get("type")
    if kind == OBJECT or (isinstance(kind, list) and OBJECT in kind) or "properties" in schema:
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(
            properties
        ):
            return False
    below = (
        value
        for key, value in schema.items()
        if key not in ("enum", "const", "default", "examples", "properties")
    )
    maps = (inner for key in ("properties", "$defs") for inner in dict(schema.get(key, {})).values())
    return all(map(_all_strict, below)) and all(map(_all_strict, maps))


def apply_extra(body: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """A request's body with the manifest's own members: null leaves a member out, tools are added to those there."""
    merged = {**body, **extra}
    if "tools" in body and isinstance(more := extra.get("tools"), list):
        merged["tools"] = [*body["tools"], *more]
    return {key: value for key, value in merged.items() if value is not None} | {"stream": False}
