"""How many tokens a request is, without the model's tokenizer: bounds from above and from below.

From above, for reservations: ceil(letters / 2) for a run of up to 16 ASCII letters, and one for each letter of a longer
one, which is no word; one for each digit and each other ASCII character but single spaces, which tokenizers take
together with the word behind them; one for each byte of UTF-8 of all else. English
prose comes to about twice its tokens, JSON and code to between one and two times, and no common tokenizer is known to
need more. From below, to notice that an endpoint read less than was sent: half a token for each word.

A later turn is estimated by the usage of the one before, which the endpoint counted itself: only what is new since
then is estimated by these rules.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from heed.core.llm.model_answer import Usage
from heed.core.llm.model_settings import ModelSettings
from heed.core.llm.transcript import (
    AssistantTurn,
    Entry,
    FilePart,
    ImagePart,
    Part,
    Prompt,
    TextPart,
    ToolResult,
)

LONGEST_WORD: Final = 16  # letters; a longer run is a hash or base64
TOKENS_PER_ENTRY: Final = 16  # role, separators, ids of calls
TOKENS_PER_REQUEST: Final = 64
TOKENS_PER_IMAGE: Final = (
    3000  # OpenAI's most for `auto` detail is 1,536 patches at 1.62 (gpt-4.1-mini: 2,489)
)
BYTES_PER_FILE_TOKEN: Final = 2  # of base64: a page of a PDF is text and a picture of it
_PIECES: Final = re.compile(r"[A-Za-z]+|[^\x00-\x7f]+|[ ]+|[\x00-\x7f]")
_WORDS: Final = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class TokenEstimate:
    """Bounds of a request's input tokens."""

    most: int
    least: int


def most_tokens(text: str) -> int:
    """The most tokens that a text should be."""
    return sum(map(_piece_tokens, _PIECES.findall(text)))


def _piece_tokens(piece: str) -> int:
    if piece[0].isascii():
        if piece[0].isalpha():
            return -(-len(piece) // 2) if len(piece) <= LONGEST_WORD else len(piece)
        return len(piece) - 1 if piece[0] == " " else 1
    return len(piece.encode(errors="replace"))


def least_tokens(text: str) -> int:
    """The least tokens that a text can be: half a token a word, for tokenizers that join two."""
    return sum(1 for _ in _WORDS.finditer(text)) // 2


def estimate_request(settings: ModelSettings, entries: Sequence[Entry]) -> TokenEstimate:
    """The input of a request: transcript, tools and the schema of the output. From below, texts alone are counted."""
    most = TOKENS_PER_REQUEST + _definition_tokens(settings) + sum(map(_entry_tokens, entries))
    return TokenEstimate(most, sum(map(_entry_floor, entries)))


def estimate_next(settings: ModelSettings, used: Usage, added: Sequence[Entry]) -> int:
    """The most input tokens of a turn after one that used so many: its input and output, and what was added since."""
    return TOKENS_PER_REQUEST + used.total + sum(map(_entry_tokens, added))


def _definition_tokens(settings: ModelSettings) -> int:
    definitions: list[object] = [
        [tool.name, tool.description, tool.parameters.schema] for tool in settings.tools
    ]
    if settings.output is not None:
        definitions.append(settings.output.schema)
    return sum(most_tokens(json.dumps(definition)) + TOKENS_PER_ENTRY for definition in definitions)


def _entry_tokens(entry: Entry) -> int:
    match entry:
        case Prompt():
            return TOKENS_PER_ENTRY + sum(map(_part_tokens, entry.parts))
        case ToolResult():
            return TOKENS_PER_ENTRY + most_tokens(entry.content)
        case AssistantTurn():
            return TOKENS_PER_ENTRY + sum(
                most_tokens(json.dumps(item, ensure_ascii=False)) for item in entry.items
            )


def _part_tokens(part: Part) -> int:
    match part:
        case TextPart():
            return most_tokens(part.text)
        case ImagePart():
            return TOKENS_PER_IMAGE
        case FilePart():
            return TOKENS_PER_IMAGE + len(part.url) // BYTES_PER_FILE_TOKEN


def _entry_floor(entry: Entry) -> int:
    return sum(map(least_tokens, _said(entry)))


def _said(entry: Entry) -> Iterable[str]:
    """Texts that every endpoint has to read; the assistant's own thoughts may be dropped by a template."""
    match entry:
        case Prompt():
            return (part.text for part in entry.parts if isinstance(part, TextPart))
        case ToolResult():
            return (entry.content,)
        case AssistantTurn():
            return (entry.text,)
