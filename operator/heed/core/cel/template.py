"""Templates: JSON in which a string may hold `${CEL}`. Parsed once per generation, rendered per event."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from heed.core.cel.cost import FREE, Cost, collection_cost, literal_cost
from heed.core.cel.expression import Expression, ExpressionError, Scope, compile_expression
from heed.core.cel.variables import ALL_VARIABLES, Vocabulary
from heed.core.codec.canonical_json import dump_compact

Render = Callable[[Scope], Any]
Guard = Callable[[str], bool]


class TemplateError(Exception):
    """A template that cannot be parsed or rendered; `path` is relative to the template (`.args[0]`)."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path, self.message = path, message


@dataclass(frozen=True, slots=True)
class ExpressionSlot:
    """A placeholder for an expression in a template's shape. One that is not `alone` in its string becomes text.

    `type` is CEL's name for what it yields, DYN where only an event can tell.
    """

    type: str
    alone: bool = True


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template. `constant` says that it holds no expression at all; `cost` is what rendering it may cost.

    `shape` is the JSON that it renders to, as far as that is known before: with ExpressionSlots for the expressions.
    `expressions` are those in it, with their paths.
    """

    render: Render
    constant: bool
    cost: Cost = FREE
    shape: Any = None
    expressions: tuple[tuple[str, Expression], ...] = ()


def compile_template(
    value: Any, path: str = "", guard: Guard | None = None, known: Vocabulary = ALL_VARIABLES
) -> Template:
    """Parse a template of any JSON shape over what is `known` in a place. Raises TemplateError.

    Where `guard` holds of a path, the dollars in what expressions yield are doubled: Kubernetes reads the text there
    once more and puts variables in the place of `$(NAME)`, which no event may ask for.
    """
    if isinstance(value, str):
        return _string(value, path, guard is not None and guard(path), known)
    if isinstance(value, dict):
        members = {key: compile_template(item, f"{path}.{key}", guard, known) for key, item in value.items()}
        if not all(member.constant for member in members.values()):
            renders = [(key, member.render) for key, member in members.items()]
            cost = collection_cost([member.cost for member in members.values()], keys="".join(members))
            shape = {key: member.shape for key, member in members.items()}
            inner = _expressions(members.values())
            return Template(
                lambda scope: {key: render(scope) for key, render in renders}, False, cost, shape, inner
            )
    elif isinstance(value, list):
        items = [compile_template(item, f"{path}[{index}]", guard, known) for index, item in enumerate(value)]
        if not all(item.constant for item in items):
            cost = collection_cost([item.cost for item in items])
            shapes = [item.shape for item in items]
            inner = _expressions(items)
            return Template(lambda scope: [item.render(scope) for item in items], False, cost, shapes, inner)
    plain = _unescaped(value)
    return Template(lambda scope: plain, True, literal_cost(plain), plain)


def _expressions(templates: Iterable[Template]) -> tuple[tuple[str, Expression], ...]:
    return tuple(each for template in templates for each in template.expressions)


def _unescaped(value: Any) -> Any:
    """A constant with `$${` read as `${` in all its strings."""
    if isinstance(value, str):
        return value.replace("$${", "${")
    if isinstance(value, dict):
        return {key: _unescaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unescaped(item) for item in value]
    return value


def _string(text: str, path: str, guarded: bool, known: Vocabulary) -> Template:
    try:
        parts = list(_parts(text, known))
    except ExpressionError as error:
        raise TemplateError(path, str(error)) from None
    if all(isinstance(part, str) for part in parts):
        plain = "".join(map(str, parts))
        return Template(lambda scope: plain, True, literal_cost(plain), plain)
    found = tuple((path, part) for part in parts if isinstance(part, Expression))
    if len(parts) == 1 and isinstance(parts[0], Expression):
        yields = ExpressionSlot(parts[0].type)
        return Template(_valued(parts[0], path, guarded), False, parts[0].value_cost, yields, found)
    pieces = [part if isinstance(part, str) else _valued(part, path, guarded) for part in parts]
    cost = collection_cost([_cost(part) for part in parts])
    text_of = ExpressionSlot("STRING", alone=False)
    return Template(
        lambda scope: "".join(_text(piece, scope) for piece in pieces), False, cost, text_of, found
    )


def _cost(part: str | Expression) -> Cost:
    return literal_cost(part) if isinstance(part, str) else part.value_cost


def _text(piece: str | Render, scope: Scope) -> str:
    value = piece if isinstance(piece, str) else piece(scope)
    return value if isinstance(value, str) else dump_compact(value)


def _valued(expression: Expression, path: str, guarded: bool) -> Render:
    def render(scope: Scope) -> Any:
        try:
            value = expression.value(scope)
        except ExpressionError as error:
            raise TemplateError(path, f"${{{expression.source}}}: {error}") from None
        return _without_variables(value) if guarded else value

    return render


def _without_variables(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: _without_variables(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_variables(item) for item in value]
    return value


def is_single(text: str) -> bool:
    """Whether a string is one `${CEL}`, whose value it keeps; nothing is compiled. Raises ExpressionError."""
    return [is_expression for is_expression, _ in _pieces(text)] == [True]


def expression_sources(value: Any) -> Iterator[str]:
    """The source texts of the expressions in an unparsed template. Raises ExpressionError."""
    if isinstance(value, str):
        yield from (text for is_expression, text in _pieces(value) if is_expression)
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from expression_sources(item)


def _parts(text: str, known: Vocabulary) -> Iterator[str | Expression]:
    """Literal stretches and expressions of a string, in order; no empty literals."""
    for is_expression, piece in _pieces(text):
        yield compile_expression(piece, known=known) if is_expression else piece


def _pieces(text: str) -> Iterator[tuple[bool, str]]:
    """The same without compiling: pairs of whether it is an expression, and its text."""
    position, literal = 0, ""
    while (found := text.find("${", position)) >= 0:
        if found > position and text[found - 1] == "$":
            literal += text[position : found - 1] + "${"
            position = found + 2
            continue
        literal += text[position:found]
        end = _closing(text, found + 2)
        if literal:
            yield False, literal
            literal = ""
        yield True, text[found + 2 : end].strip()
        position = end + 1
    literal += text[position:]
    if literal:
        yield False, literal


def _closing(text: str, start: int) -> int:
    """Index of the brace that closes an expression begun before `start`; braces in CEL strings do not count."""
    depth, position = 0, start
    while position < len(text):
        char = text[position]
        if char in "'\"":
            position = _after_string(text, position)
            continue
        if char == "}" and depth == 0:
            return position
        depth += (char == "{") - (char == "}")
        position += 1
    raise ExpressionError(
        f'"{text[start - 2 : start + 20]}" has no closing brace; write $${{ for a literal ${{'
    )


def _after_string(text: str, start: int) -> int:
    """Index after the CEL string literal that begins at `start` (one or three quotes, raw where r precedes)."""
    quote = text[start]
    quote = quote * 3 if text.startswith(quote * 3, start) else quote
    raw = start > 0 and text[start - 1] in "rR" and not text[: start - 1][-1:].isalnum()
    position = start + len(quote)
    while position < len(text):
        if text[position] == "\\" and not raw:
            position += 2
        elif text.startswith(quote, position):
            return position + len(quote)
        else:
            position += 1
    raise ExpressionError("has a string without its closing quote")
