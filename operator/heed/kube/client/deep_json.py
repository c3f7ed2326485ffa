"""JSON of the API server, however deep it nests: one object must not end the reading of all the others.

The API server stores ten thousand levels, where a schema keeps what it does not know; Python's parser gives up at about
one thousand, and with it a whole list, and the watch. So what nests too deep is cut off: what is left in its place is
no template, no schema and no map, so that an object of ours with it is invalid.
"""

import json
import re
from importlib import import_module
from typing import Any, Final

import aiohttp

MAX_OBJECT_DEPTH: Final = 200
_CUT: Final = json.dumps(f"${{nests deeper than {MAX_OBJECT_DEPTH} levels}}")
_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)


def loads(text: str | bytes) -> Any:
    """As json.loads, but that what nests too deep is cut off. Raises ValueError."""
    return read_deep(text)[0]


def read_deep(text: str | bytes) -> tuple[Any, bool]:
    """The same, and whether something was cut off. Raises ValueError."""
    try:
        return json.loads(text), False
    except RecursionError:
        return json.loads(_shallow(text if isinstance(text, str) else text.decode())), True


def _shallow(text: str) -> str:
    parts, depth, kept = list[str](), 0, 0
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "[" | "{":
                depth += 1
                if depth == MAX_OBJECT_DEPTH + 1:
                    parts += (text[kept : token.start()], _CUT)
            case "]" | "}":
                if depth == MAX_OBJECT_DEPTH + 1:
                    kept = token.end()
                depth -= 1
    return "".join((*parts, text[kept:] if depth <= MAX_OBJECT_DEPTH else ""))


class _Json:
    """What kopf takes from the module `json` where it reads a watch."""

    loads = staticmethod(loads)


def patch_kopf() -> None:
    """Have kopf read JSON so, which no setting does: its watches, and, by aiohttp's default, what they begin with."""
    api: Any = import_module("kopf._cogs.clients.api")  # half a second, which others need not spend
    assert api.json.loads("1") == 1
    api.json = _Json
    defaults: Any = aiohttp.ClientResponse.json.__kwdefaults__
    assert "loads" in defaults
    defaults["loads"] = loads
