"""Structured answers: read and checked here whatever the endpoint promises.

llama.cpp ignores `minimum`, `multipleOf`, `uniqueItems`, `not`, `if`, `minProperties`, `propertyNames`, formats and
unanchored patterns; a server without grammars ignores the schema. Models without strict decoding like to put their
JSON into a Markdown fence, which is looked through.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from heed.core.codec.canonical_json import dump_compact
from heed.core.codec.strict_json import Unreadable, parse_json
from heed.core.llm.model_endpoint import find_dialect
from heed.core.llm.model_settings import CheckedSchema, ModelSettings
from heed.core.llm.transcript import Entry, Prompt, TextPart

_FENCE: Final = re.compile(r"```(?:json|JSON)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL)


def read_output(text: str, schema: CheckedSchema) -> tuple[Any, str | None]:
    """The value of a structured answer and None, or None and what is wrong with it, as a sentence for the model."""
    stripped = text.strip()
    fenced = _FENCE.fullmatch(stripped)
    try:
        value = parse_json(
            (fenced[1] if fenced else stripped).encode(errors="replace"), "NoJson", "it is no JSON"
        )
    except Unreadable as error:
        return None, f"The answer cannot be read: {error}."
    if (mismatch := schema.validator.problem(value)) is not None:
        return None, f"The answer does not fit the schema: {mismatch}."
    return value, None


def is_format_exclusive(settings: ModelSettings) -> bool:
    """Whether a response format would forbid the tools that are offered.

    The grammars of vLLM (vllm-project/vllm#39929) and llama.cpp allow nothing else then, and Google answers 400
    (googleapis/python-genai#867). The schema is told in words there, and an answer that does not fit is repaired
    without tools.
    """
    offered = bool(settings.tools) and settings.tool_choice != "none"
    return offered and find_dialect(settings.base_url) not in ("OpenAI", "Azure")


def tell_schema(entries: Sequence[Entry], settings: ModelSettings) -> list[Entry]:
    """The entries with the schema of the output in words.

    They end the first prompt: templates of chats refuse a second message of the system's.
    """
    changed = list(entries)
    if settings.output is None:
        return changed
    schema = dump_compact(settings.output.schema)
    words = TextPart(f"Give your final answer as JSON alone, by this JSON Schema: {schema}")
    for index, entry in enumerate(changed):
        if isinstance(entry, Prompt):
            changed[index] = Prompt(entry.role, (*entry.parts, words))
            break
    return changed
