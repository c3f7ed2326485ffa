"""The likeliest slips in CEL: what cel-cpp says of them, and what to write instead."""

import re
from collections.abc import Iterator
from typing import Final

WORDS: Final = {"and": "&&", "or": "||", "not": "!", "is": "=="}
LITERALS: Final = {"True": "true", "False": "false", "None": "null", "NULL": "null", "nil": "null"}
_NUMBERS: Final = {"int", "int64", "uint", "uint64", "double"}
_TOKEN = re.compile(r"token recognition error at: '(.)")
_INPUT = re.compile(r"(?:mismatched|extraneous) input '(.*?)' expecting (.*)")
_BROKEN = re.compile(
    r"no matching overloads? ?(?:found :|for) '?([^'(]+)'?(?: applied to ')?\(?([^)']*)", re.I
)
_TOKENS: Final = {
    "$": "it is CEL itself: write it without ${…}",
    "=": "write == to compare",
    "|": "write || for or",
    "&": "write && for and",
    '"': "close the quote",
    "'": "close the quote",
}
_SENTENCES: Final = {
    "Applying SELECT to non-message type": "what stands before a dot is no map, but null, a string, a number or a "
    "list; ask first: x != null && has(x.y)",
    "Invalid container type": "only lists and maps have […]",
    "cannot be the operand of a select": "only maps have fields",
    "reserved identifier: if": "write condition ? this : that",
    "has() argument must be a field": "write has(a.b)",
    " at '<EOF>'": "close the bracket",
}


def readable(message: str) -> str:
    """A message of the parser without its lists of tokens."""
    message = re.sub(r" expecting \{.*\}$", "", message)
    return message.replace("mismatched input '<EOF>'", "it ends too early")


def remedies(message: str, before: str = "") -> Iterator[str]:
    """What to do about a message of cel-cpp, if that is known. `before` is the expression's line up to the error."""
    if token := _TOKEN.search(message):
        if token[1] in _TOKENS:
            yield _TOKENS[token[1]]
    elif found := _INPUT.search(message):
        yield from _misplaced(found[1], found[2], before)
    elif broken := _BROKEN.search(message):
        yield _mixed(broken[1].strip(), [item.strip() for item in broken[2].split(",") if item.strip()])
    else:
        yield from (remedy for sign, remedy in _SENTENCES.items() if sign in message)


def _misplaced(token: str, expected: str, before: str) -> Iterator[str]:
    last = re.search(r"(?<![\w.])([A-Za-z]+)\s*$", before)
    word = token.lower() if token.lower() in WORDS else last[1].lower() if last else ""
    if word in WORDS:
        yield f"write {WORDS[word]} for {word}"
    elif token == "<EOF>":
        if expected == "':'":
            yield "write condition ? this : that"
        elif "')'" in expected or "']'" in expected or "'}'" in expected:
            yield "close the bracket"
        else:
            yield "write what has to follow"


def _mixed(function: str, types: list[str]) -> str:
    """What to do about operands that do not go together, as far as the message names their types."""
    if function == "<iter_range>":
        return "what this goes over is neither a list nor a map"
    operator = function.replace("_", "").replace("@", "")
    if operator in ("&&", "||", "!", "?:"):
        return f"{operator} takes true or false; compare with something"
    if operator == "in":
        return "`in` needs a list or a map on its right"
    if "double" in types and set(types) <= _NUMBERS:
        return "integers and doubles do not mix: write double(…) around the integer"
    if operator == "+" and "string" in types and "dyn" not in types:
        return "write string(…) around what is no string"
    if function.startswith("_") and len(types) == 2:
        return "both sides have to be of one type; convert one with double(…), int(…) or string(…)"
    return f"{operator} does not take this; check the types"
