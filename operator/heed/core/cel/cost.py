"""Upper bounds of an expression's cost, computed at compile time as polynomials in the data's size.

Expressions can do more than their length suggests (macros multiply, a chain of them doubles a text again and again),
and nothing can stop one that runs. So each Agent knows which data its decisions are harmless on; the engine has others
made where they can do no harm. The bounds are rough and err to the safe side; the weights were measured with
cel-expr-python 0.1.3.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from heed.core.cel.ast import Call, Constant, Fold, Literal, Name, Node, Select
from heed.core.cel.polynomial import (
    EXTENT,
    LENGTH,
    NO_WORK,
    NODE_EXTENT,
    TOO_MUCH,
    Bound,
    constant,
    max_repetitions,
    measure_extent,
    peak,
    plus,
    scale,
    times,
    without,
)

SCOPE_WORK: Final = 8  # work per extent of the variables, once per scope
RENDER_WORK: Final = (
    16  # work per extent of what is rendered: as Python's values, and again as canonical JSON
)

_STEP: Final = 100.0  # work of one operation
_EVALUATION: Final = 2000.0
_NESTED: Final = 3  # folds in each other; each one doubles the work of finding bounds
_BIGGEST_PATTERN: Final = 60_000_000.0  # work until RE2 has refused a pattern


@dataclass(frozen=True, slots=True)
class Cost:
    """Upper bounds of a value's extent, its length as a list or map, lengths inside it, and the work to compute it."""

    size: Bound
    length: Bound
    inner: Bound
    work: Bound


FREE: Final = Cost(NO_WORK, NO_WORK, NO_WORK, NO_WORK)
COSTLY: Final = Cost(*(constant(TOO_MUCH),) * 4)


def literal_cost(value: Any) -> Cost:
    """The cost of a literal in the manifest."""
    extent, length = measure_extent(value)
    return Cost(constant(extent), constant(length), constant(length), NO_WORK)


def rendered_cost(cost: Cost, *, optionals: bool = False) -> Cost:
    """The cost of converting an expression's value to JSON, with a search for optionals where it may hold any."""
    return replace(
        cost, work=plus(cost.work, scale(cost.size, 4 * RENDER_WORK if optionals else RENDER_WORK))
    )


def collection_cost(costs: list[Cost], keys: str = "") -> Cost:
    """The cost of a list or map with items of these costs; `keys` are all of the map's, joined."""
    around = NODE_EXTENT + len(keys) + (NODE_EXTENT * len(costs) if keys else 0)
    return Cost(
        plus(constant(around), *(cost.size for cost in costs)),
        constant(len(costs)),
        peak(*(cost.length for cost in costs), *(cost.inner for cost in costs)),
        plus(*(cost.work for cost in costs)),
    )


def cost_of(syntax: Node) -> Cost:
    """The cost of evaluating an expression."""
    cost = _cost(syntax, {}, 0)
    return replace(cost, work=plus(cost.work, constant(_EVALUATION)))


# ── what evaluation costs ───────────────────────────────────────────────────────────────────────────────────────────

KnownCosts = Mapping[str, Cost]

# By function: work per extent of the arguments, and how much of their extent the result may have.
_RULES: Final[dict[str, tuple[float, float]]] = {
    **dict.fromkeys(("!_", "_&&_", "_||_", "@not_strictly_false", "-_", "_-_", "_*_", "_/_", "_%_"), (0, 0)),
    **dict.fromkeys(("hasValue", "optional.none", "type"), (0, 0)),
    **dict.fromkeys(("size", "startsWith", "endsWith", "charAt"), (1, 0)),
    **dict.fromkeys(("int", "uint", "double", "bool", "timestamp", "duration"), (4, 0)),
    **dict.fromkeys(
        (f"get{part}" for part in ("FullYear", "Month", "Date", "DayOfMonth", "DayOfWeek")), (4, 0)
    ),
    **dict.fromkeys(
        (f"get{part}" for part in ("DayOfYear", "Hours", "Minutes", "Seconds", "Milliseconds")), (4, 0)
    ),
    **dict.fromkeys(("math.@max", "math.@min"), (8, 0)),
    **dict.fromkeys(("string", "substring", "trim", "lowerAscii", "upperAscii", "reverse"), (4, 1)),
    **dict.fromkeys(("bytes", "base64.encode", "base64.decode", "strings.quote"), (8, 2)),
    "split": (256, NODE_EXTENT + 1),
}
_PARTS: Final = frozenset(
    ("_[_]", "_[?_]", "_?._", "dyn", "value", "or", "orValue", "optional.of", "optional.ofNonZeroValue")
)
_COMPARISONS: Final = frozenset(("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"))
_SEARCHES: Final = frozenset(("contains", "indexOf", "lastIndexOf"))
_HARMLESS_FORMAT: Final = re.compile(rb"([^%]|%[sd%])*")
_COUNT: Final = re.compile(rb"(\)?)\{(\d+)?,?(\d+)?\}")


def _cost(node: Node, known: KnownCosts, depth: int) -> Cost:
    match node:
        case Constant(text=text):
            return Cost(constant(NODE_EXTENT + len(text)), NO_WORK, NO_WORK, constant(_STEP))
        case Name(name=name):
            return known.get(name) or Cost(EXTENT, LENGTH, LENGTH, constant(_STEP))
        case Select(operand=operand, asks=asks):
            cost = _cost(operand, known, depth)
            return _small(cost.work) if asks else _part(cost)
        case Literal(items=items):
            cost = collection_cost([_cost(item, known, depth) for item in items])
            return replace(cost, work=plus(cost.work, constant(_STEP)))
        case Call():
            return _call(node, [_cost(item, known, depth) for item in node.arguments])
        case Fold():
            return _fold(node, known, depth)


def _small(work: Bound) -> Cost:
    return Cost(constant(NODE_EXTENT), NO_WORK, NO_WORK, plus(work, constant(_STEP)))


def _part(cost: Cost) -> Cost:
    """Anything in a value, as large as the whole."""
    return Cost(cost.size, cost.inner, cost.inner, plus(cost.work, constant(_STEP)))


def _made(size: Bound, work: Bound) -> Cost:
    """What a function made, of which only the extent is known."""
    return Cost(size, scale(size, 1 / NODE_EXTENT), scale(size, 1 / NODE_EXTENT), plus(work, constant(_STEP)))


def _call(call: Call, costs: list[Cost]) -> Cost:
    sizes, before = [cost.size for cost in costs], plus(*(cost.work for cost in costs))
    if call.function in _COMPARISONS:
        literals = [
            size for item, size in zip(call.arguments, sizes, strict=True) if isinstance(item, Constant)
        ]
        return _small(plus(before, scale(literals[0] if literals else plus(*sizes), 4)))
    if call.function == "@in":
        return _small(plus(before, scale(sizes[1], 8)))
    if call.function in _SEARCHES:
        return _small(plus(before, _searched(*sizes[:2])))
    if call.function == "_?_:_":
        yes, no = costs[1:]
        lengths = peak(yes.length, no.length), peak(yes.inner, no.inner)
        return Cost(peak(yes.size, no.size), *lengths, plus(before, constant(_STEP)))
    if call.function == "_+_":
        lengths = plus(*(cost.length for cost in costs)), peak(*(cost.inner for cost in costs))
        return Cost(plus(*sizes), *lengths, plus(before, scale(plus(*sizes), 4), constant(_STEP)))
    if call.function in _PARTS:
        size, length = plus(*sizes), peak(*(cost.length for cost in costs), *(cost.inner for cost in costs))
        return Cost(size, length, length, plus(before, constant(_STEP)))
    if call.function in ("matches", "replace", "join", "format"):
        return _of_text(call, sizes, before)
    if call.function.startswith("math.") and call.function not in _RULES:
        return _small(before)
    if (rule := _RULES.get(call.function)) is None:
        return COSTLY
    total = plus(*sizes)
    return _made(plus(constant(NODE_EXTENT), scale(total, rule[1])), plus(before, scale(total, rule[0])))


def _searched(text: Bound, wanted: Bound) -> Bound:
    """Looking for a text that is nearly everywhere."""
    return plus(scale(plus(text, wanted), 8), scale(times(text, wanted), 1 / 16))


def _of_text(call: Call, sizes: list[Bound], before: Bound) -> Cost:
    """Functions that make more of texts than there was, or search in them as a text says."""
    if call.function == "matches":
        pattern = call.arguments[1]
        if not isinstance(pattern, Constant):
            return COSTLY  # a pattern of a thousand characters can take half a second
        return _small(plus(before, *_matched(pattern.text, sizes[0])))
    if call.function == "replace":
        made = times(sizes[0], plus(constant(1), sizes[2]))
        searched = _searched(sizes[0], sizes[1])
    elif call.function == "join":
        made = plus(sizes[0], times(scale(sizes[0], 1 / NODE_EXTENT), plus(NO_WORK, *sizes[1:])))
        searched = NO_WORK
    else:
        text = call.arguments[0]
        plain = isinstance(text, Constant) and _HARMLESS_FORMAT.fullmatch(text.text) is not None
        made = plus(sizes[0], scale(sizes[1], 2 if plain else NODE_EXTENT + 1))
        searched = NO_WORK
    return _made(plus(made, constant(NODE_EXTENT)), plus(before, searched, scale(made, 4)))


def _matched(pattern: bytes, text: Bound) -> tuple[Bound, Bound]:
    """The work of compiling a pattern, and of going through a text with it; counted repetitions multiply both."""
    counts = [(group, max_repetitions(numbers)) for group, *numbers in _COUNT.findall(pattern)]
    nested = 1.0
    for group, count in counts:
        nested *= count if group else 1
    length = (len(pattern) + 1) * nested * max([count for group, count in counts if not group], default=1)
    classes = 50 if b"\\p" in pattern or b"\\P" in pattern else 1
    return constant(min(300 * classes * length, _BIGGEST_PATTERN)), scale(text, 10 * length)


def _fold(fold: Fold, known: KnownCosts, depth: int) -> Cost:
    """The cost of a macro over a list or a map.

    The bounds of the body are those without its variable for each element, and those with it for all of them together:
    polynomials without negative coefficients grow no faster in parts than at once.
    """
    over, start = _cost(fold.over, known, depth), _cost(fold.start, known, depth)
    if isinstance(fold.over, Literal) and not fold.over.items:  # how optMap names a value
        result = _cost(fold.result, {**known, fold.sum: replace(start, work=constant(_STEP))}, depth)
        return replace(result, work=plus(start.work, result.work))
    if depth == _NESTED:
        return COSTLY
    alone = _body(fold, known, FREE, depth)
    lengths = scale(over.size, 1 / NODE_EXTENT)
    whole = _body(fold, known, Cost(over.size, lengths, lengths, NO_WORK), depth)
    work = plus(over.work, start.work, _sum(over.length, alone.work, whole.work))
    if not isinstance(fold.start, Literal):
        result = _cost(fold.result, {**known, fold.sum: _small(NO_WORK)}, depth)
        return replace(result, work=plus(work, result.work))
    # Every step copies the list so far: a thousand elements take 16 MB, ten thousand 1.6 GB.
    copied = scale(times(over.length, over.length), 16)
    size = plus(constant(NODE_EXTENT), _sum(over.length, alone.size, whole.size))
    return Cost(size, over.length, scale(size, 1 / NODE_EXTENT), plus(work, copied))


def _sum(length: Bound, alone: Bound, whole: Bound) -> Bound:
    return plus(times(length, alone), without(whole, alone))


def _body(fold: Fold, known: KnownCosts, element: Cost, depth: int) -> Cost:
    inner = {**known, **dict.fromkeys(fold.each, element), fold.sum: FREE}
    step, goes_on = _cost(fold.step, inner, depth + 1), _cost(fold.goes_on, inner, depth + 1)
    return replace(step, work=plus(step.work, goes_on.work, constant(_STEP)))
