"""Messages for common mistakes in CEL: what cel-cpp reports, and what to write instead."""

import difflib
import re
from collections.abc import Iterator
from typing import Final

from heed.core.cel.member_paths import Path, format_path

WORDS: Final = {"and": "&&", "or": "||", "not": "!", "is": "=="}
LITERALS: Final = {"True": "true", "False": "false", "None": "null", "NULL": "null", "nil": "null"}
FUNCTIONS: Final = (
    *(
        "all",
        "base64.decode",
        "base64.encode",
        "bool",
        "bytes",
        "charAt",
        "contains",
        "double",
        "duration",
        "dyn",
    ),
    *("endsWith", "exists", "exists_one", "filter", "format", "getDate", "getDayOfMonth", "getDayOfWeek"),
    *("getDayOfYear", "getFullYear", "getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds"),
    *("has", "hasValue", "indexOf", "int", "join", "lastIndexOf", "lowerAscii", "map", "matches", "math.abs"),
    *("math.ceil", "math.floor", "math.greatest", "math.isFinite", "math.isInf", "math.isNaN", "math.least"),
    *(
        "math.round",
        "math.sign",
        "math.sqrt",
        "math.trunc",
        "optFlatMap",
        "optMap",
        "optional.none",
        "optional.of",
    ),
    *(
        "optional.ofNonZeroValue",
        "or",
        "orValue",
        "replace",
        "reverse",
        "size",
        "split",
        "startsWith",
        "string",
    ),
    *("strings.quote", "substring", "timestamp", "trim", "type", "uint", "upperAscii", "value"),
)
NAMESPACES: Final = ("base64", "math", "optional", "strings")
_NO_CLOCK: Final = "there is no clock, so that a decision can be repeated; use timestamp(event.time)"
_NO_CHANCE: Final = "there is no chance, so that a decision can be repeated; use event.id"
_NO_FOLD: Final = "nothing adds up a list; count in `state` as events come, or leave it to a task"
_NO_SORT: Final = "there is no sort; let events carry lists in their order, or leave it to a task"
_INSTEAD: Final = {
    **dict.fromkeys(("len", "length", "count", "strlen"), "write size(x)"),
    **dict.fromkeys(("sum", "reduce", "fold", "avg", "average", "mean"), _NO_FOLD),
    **dict.fromkeys(("sort", "sorted", "sortBy", "orderBy"), _NO_SORT),
    **dict.fromkeys(("now", "today", "utcnow", "time", "date", "currentTime"), _NO_CLOCK),
    **dict.fromkeys(("uuid", "random", "rand", "uuid4"), _NO_CHANCE),
    "keys": "a macro over a map goes over its keys: x.map(key, key), x.exists(key, …)",
    "values": "a macro over a map goes over its keys: x.map(key, x[key])",
    "items": "a macro over a map goes over its keys: x.map(key, {'key': key, 'value': x[key]})",
    **dict.fromkeys(("lower", "toLower", "toLowerCase", "lowercase", "downcase"), "write x.lowerAscii()"),
    **dict.fromkeys(("upper", "toUpper", "toUpperCase", "uppercase", "upcase"), "write x.upperAscii()"),
    **dict.fromkeys(("str", "toString", "text"), "write string(x)"),
    **dict.fromkeys(("float", "number", "toNumber", "parseFloat"), "write double(x)"),
    **dict.fromkeys(("integer", "toInt", "parseInt", "long"), "write int(x)"),
    **dict.fromkeys(("empty", "isEmpty", "is_empty"), "write size(x) == 0"),
    **dict.fromkeys(
        ("includes", "in", "has_key", "hasKey", "containsKey"), "write 'a' in x, of a list or a map"
    ),
    **dict.fromkeys(("any", "some", "one"), "write x.exists(item, …)"),
    **dict.fromkeys(("every", "forall", "forAll"), "write x.all(item, …)"),
    **dict.fromkeys(("find", "first", "last"), "write x.filter(item, …)[0], or x[size(x) - 1] for the last"),
    "max": "write math.greatest(a, b), or of a list math.greatest(x)",
    "min": "write math.least(a, b), or of a list math.least(x)",
    **{name: f"write math.{name}(x)" for name in ("abs", "ceil", "floor", "round", "sqrt", "sign", "trunc")},
    **dict.fromkeys(("coalesce", "default", "get", "ifnull", "getOrDefault"), "write x.?y.orValue(…)"),
    **dict.fromkeys(("isNull", "is_null", "isnull"), "write x == null"),
    **dict.fromkeys(("exist", "defined", "isset", "isDefined"), "write has(x.y)"),
    **dict.fromkeys(("typeof", "typeOf", "kind"), "write type(x) == string, or map, list, int, double, bool"),
    **dict.fromkeys(("strip", "trimSpace", "trimmed"), "write x.trim()"),
    **dict.fromkeys(("concat", "append", "push", "add", "extend", "merge"), "write x + y, of lists x + [y]"),
    **dict.fromkeys(("slice", "substr", "mid"), "write x.substring(from, to)"),
    **dict.fromkeys(("regex", "match", "search", "regexp", "test"), "write x.matches('…')"),
    **dict.fromkeys(("if", "iff", "cond", "when"), "write condition ? this : that"),
    **dict.fromkeys(
        ("json", "toJson", "toJSON", "dumps", "stringify"), 'a template writes JSON: "x: ${value}"'
    ),
    "range": "there is no range; let the event carry a list",
}
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
    "list; ask first: type(x) == map && has(x.y)",
    "found : (null_type).": "what stands before the dot is null; ask first: x != null",
    "Invalid container type": "only lists and maps have […]",
    "cannot be the operand of a select": "only maps have fields",
    "reserved identifier: if": "write condition ? this : that",
    "has() argument must be a field": "write has(a.b)",
    " at '<EOF>'": "close the bracket",
    "optional.none() dereference": "write .orValue(…) for .value(), with what holds where there is nothing",
}


NO_MAP: Final = ("Applying SELECT to non-message type", "overloads found : _?._", "overloads found : _[?_]")


NO_LIST: Final = "<iter_range>"


def explain_no_list(path: Path, kind: str) -> str:
    """The remedy where a macro iterates over null, or over something that is no list."""
    optional = f"{format_path(path[:-1])}.?{path[-1]}.orValue(null)" if len(path) > 2 else format_path(path)
    return f"{format_path(path)} is {kind}, not a list or a map; ask first: type({optional}) == list ? … : []"


def explain_no_map(path: Path, kind: str, member: Path, *, optional: bool) -> str:
    """The remedy where a member of null, or of something that is no map, is read; `optional`: with `.?`."""
    place, asked = format_path(path), f"type({format_path(path)}) == map && has({format_path(member)})"
    if optional:
        parent = f"{format_path(path[:-1])}.?{path[-1]}.orValue(null)" if len(path) > 2 else place
        asked = f"type({parent}) == map ? {place}.?{member[-1]}.orValue(…) : …"
    return f"{place} is {kind}, not a map; ask first: {asked}"


def suggest_function(name: str) -> str:
    """The remedy for an unknown function: an equivalent, or functions of a similar name."""
    if (instead := _INSTEAD.get(name)) is not None:
        return instead
    if name in FUNCTIONS:
        return f"{name}(…) takes other arguments"
    short = {known.rpartition(".")[2].lower(): known for known in FUNCTIONS}
    near = difflib.get_close_matches(name.lower(), short, n=3, cutoff=0.8)
    if near:
        return f"did you mean {' or '.join(f'{short[item]}(…)' for item in near)}?"
    return "docs/agents.md lists what there is"


def readable_message(message: str) -> str:
    """A parser's message without its lists of tokens."""
    message = re.sub(r" expecting \{.*\}$", "", message)
    return message.replace("mismatched input '<EOF>'", "it ends too early")


def find_remedies(message: str, before: str = "") -> Iterator[str]:
    """Known remedies for a message of cel-cpp. `before` is the expression's line up to the error."""
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


def _mixed_conditional(function: str, types: list[str]) -> str:
    """What to do about operands of `?:`: its condition, or else its two branches."""
    if function == "<jump_condition>" or types[:1] not in (["bool"], ["dyn"]):
        return "what stands before ? has to be true or false; compare it with something"
    return "what stands on both sides of : has to be of one type; write dyn(…) around one of them"


def _mixed(function: str, types: list[str]) -> str:
    """What to do about operands that do not go together, as far as the message names their types."""
    if function == "<iter_range>":
        return "what this goes over is neither a list nor a map"
    if function in ("<jump_condition>", "_?_:_"):
        return _mixed_conditional(function, types)
    operator = function.replace("_", "").replace("@", "")
    if function in ("_?._", "_[?_]"):
        return (
            "what stands before .? or [?] is no map, but null, a string, a number or a list; "
            "ask first: type(x) == map ? x.?y.orValue(…) : …"
        )
    if "null_type" in types and operator != "in":
        return "a value is null here; ask first: x != null"
    if operator in ("&&", "||", "!"):
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
