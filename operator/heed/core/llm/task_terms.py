"""The rendered template of an `llm` task: how its model is asked, what it is told, and what it may use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from heed.core.llm.budget import FREE, Limit, Price, read_cost
from heed.core.llm.model_settings import (
    DEFAULT_MAX_OUTPUT_TOKENS,
    CheckedSchema,
    ModelSettings,
    ToolDefinition,
)
from heed.core.llm.transcript import FilePart, ImagePart, Part, Prompt, TextPart

MAX_TURNS: Final = 150  # of any task: with five attempts each, they are known by three digits
DEFAULT_TURNS: Final = 50
ANY_ARGUMENTS: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class LoopTerms:
    """What the decision goes by: prices, the task's own limit, the most output of a turn, and the task of each tool."""

    price: Price
    limit: Limit
    max_output_tokens: int
    parallel_tools: bool
    tools: Mapping[str, str]


def read_terms(spec: Mapping[str, Any]) -> LoopTerms:
    """The terms of a rendered template. Raises ValueError for amounts that are none."""
    budget: Mapping[str, Any] = spec.get("budget") or {}
    price: Mapping[str, Any] | None = spec.get("price")
    cost = budget.get("cost")
    return LoopTerms(
        FREE if price is None else Price.of(price["input"], price["output"], price.get("cached")),
        Limit(
            tokens=budget.get("tokens"),
            cost=None if cost is None else read_cost(cost),
            turns=min(budget.get("turns") or DEFAULT_TURNS, MAX_TURNS),
            tool_calls=budget.get("toolCalls"),
        ),
        spec.get("maxOutputTokens") or DEFAULT_MAX_OUTPUT_TOKENS,
        spec.get("parallelTools", True),
        {_name_of(tool): tool["task"] for tool in spec.get("tools") or ()},
    )


def read_settings(spec: Mapping[str, Any]) -> ModelSettings:
    """How the model is asked. Raises SchemaRefused."""
    reasoning: Mapping[str, Any] = spec.get("reasoning") or {}
    output = spec.get("output")
    return ModelSettings(
        base_url=spec["baseURL"],
        model=spec["model"],
        api=spec.get("api", "Auto"),
        reasoning_effort=reasoning.get("effort"),
        max_output_tokens=spec.get("maxOutputTokens") or DEFAULT_MAX_OUTPUT_TOKENS,
        context_tokens=spec.get("contextTokens"),
        temperature=spec.get("temperature"),
        tools=tuple(map(_read_tool, spec.get("tools") or ())),
        tool_choice=spec.get("toolChoice", "auto"),
        parallel_tools=spec.get("parallelTools", True),
        output=None if output is None else CheckedSchema.of(output),
        extra=spec.get("body") or {},
    )


def read_prompts(spec: Mapping[str, Any]) -> tuple[Prompt, ...]:
    """What the task says to the model first."""
    return tuple(_read_message(item) for item in spec.get("messages") or ())


def _name_of(tool: Mapping[str, Any]) -> str:
    return str(tool.get("name") or tool["task"])


def _read_tool(tool: Mapping[str, Any]) -> ToolDefinition:
    parameters = CheckedSchema.of(tool.get("input") or ANY_ARGUMENTS)
    return ToolDefinition(_name_of(tool), str(tool.get("description") or ""), parameters)


def _read_message(message: Mapping[str, Any]) -> Prompt:
    if (text := message.get("text")) is not None:
        return Prompt.of(message["role"], str(text))
    return Prompt(message["role"], tuple(map(_read_part, message.get("parts") or ())))


def _read_part(part: Mapping[str, Any]) -> Part:
    if (image := part.get("image")) is not None:
        return ImagePart(image["url"], image.get("detail"))
    if (file := part.get("file")) is not None:
        return FilePart(file["name"], file["url"])
    return TextPart(str(part.get("text", "")))
