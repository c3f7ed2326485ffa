"""Structured answers: read and checked here whatever the endpoint promises.

llama.cpp ignores `minimum`, `multipleOf`, `uniqueItems`, `not`, `if`, `minProperties`, `propertyNames`, formats and
unanchored patterns; a server without grammars ignores the schema. Models without strict decoding like to put their
JSON into a Markdown fence, which is looked through.
"""

import re
from typing import Any, Final

from heed.core.codec.strict_json import Unreadable, parse_json
from heed.core.llm.model_settings import CheckedSchema

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
