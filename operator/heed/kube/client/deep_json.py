"""JSON of the API server with a nesting limit: one deep object must not break lists and watches of all others.

The API server stores ten thousand levels, where a schema keeps what it does not know; functions of Python that call
themselves give up at one thousand, and with them the reading of a whole list, and the watch. Up to Python 3.11 the
parser does so, too; later ones have a limit of their own (1,500 levels in 3.12, 10,000 in 3.13) and hand out what
other code, copy.deepcopy among it, fails at. So what nests too deep is cut off: what is left in its place is no
template, no schema and no map, so that one of Heed's objects with it is invalid.
"""

import json
import re
import sys
from importlib import import_module
from itertools import chain
from typing import Any, Final

import aiohttp

MAX_OBJECT_DEPTH: Final = 200
MAX_PARSED_DEPTH: Final = 900  # what nests no deeper is left as it is
_CUT: Final = json.dumps(f"${{nests deeper than {MAX_OBJECT_DEPTH} levels}}")
_PARSER_GIVES_UP: Final = sys.version_info < (3, 12)  # a little above MAX_PARSED_DEPTH
_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)


def loads(text: str | bytes) -> Any:
    """As json.loads; past MAX_PARSED_DEPTH, all below MAX_OBJECT_DEPTH is replaced by a text. Raises ValueError."""
    return read_deep(text)[0]


def read_deep(text: str | bytes) -> tuple[Any, bool]:
    """The same, and whether something was cut off. Raises ValueError."""
    try:
        value = json.loads(text)
        if _PARSER_GIVES_UP or _brackets(text) <= MAX_PARSED_DEPTH or not _is_deep(value):
            return value, False
    except RecursionError:
        pass
    return json.loads(_shallow(text if isinstance(text, str) else text.decode())), True


def _brackets(text: str | bytes) -> int:
    """No fewer than the levels of a text, counted quickly."""
    if isinstance(text, str):
        return text.count("[") + text.count("{")
    return text.count(b"[") + text.count(b"{")


def _is_deep(value: Any) -> bool:
    """Whether a value has more than MAX_PARSED_DEPTH levels of lists and maps."""
    level, containers = [value], (dict, list)
    for _ in range(MAX_PARSED_DEPTH):
        items = chain.from_iterable(box.values() if isinstance(box, dict) else box for box in level)
        level = [item for item in items if isinstance(item, containers)]
        if not level:
            return False
    return True


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
    """The part of the module `json` that kopf uses to read a watch."""

    loads = staticmethod(loads)


def patch_kopf() -> None:
    """Patch kopf to read JSON this way, for which it has no setting: its watches, and its lists by way of aiohttp."""
    api: Any = import_module("kopf._cogs.clients.api")  # half a second, which others need not spend
    assert api.json.loads("1") == 1
    api.json = _Json
    defaults: Any = aiohttp.ClientResponse.json.__kwdefaults__
    assert "loads" in defaults
    defaults["loads"] = loads
