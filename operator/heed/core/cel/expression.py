"""CEL: compiled once per generation, evaluated to JSON values.

A broken evaluation gives cel-cpp a value of type ERROR whose plain value is a truthy string, so every result's type is
checked before it is believed. Results are converted as CEL's own JSON mapping says (bytes as base64, timestamps as
RFC 3339, durations in seconds, both to the nanosecond).
"""

import base64
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from cel_expr_python import cel
from cel_expr_python.ext import ext_encoders, ext_math, ext_optional, ext_strings

from heed.api.fields import MAX_EXPRESSION_CHARS
from heed.core.cel.ast import Call, Node, UnknownSyntax, parse_syntax, walk_nodes
from heed.core.cel.cost import COSTLY, Cost, cost_of, rendered_cost
from heed.core.cel.diagnostics import (
    LITERALS,
    NAMESPACES,
    NO_LIST,
    NO_MAP,
    explain_no_list,
    explain_no_map,
    find_remedies,
    readable_message,
    suggest_function,
)
from heed.core.cel.member_paths import find_blocked, find_non_list, find_reads
from heed.core.cel.timestamps import format_duration, format_timestamp
from heed.core.cel.variables import ALL_VARIABLES, VARIABLES, Vocabulary, suggest_name
from heed.errors import DecisionFailed

_ERROR = cel.Type.ERROR
_UNDECLARED = re.compile(r":(\d+): undeclared reference to '([^'.]+)[^']*'")
_UNRESOLVED: Final = "is an optional that was not resolved; end it with .orValue(…)"
_HEADLINE = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_MISSING: Final = re.compile(r"([A-Z_]+: )?(Key not found in map : |Index error: index=)")
_CODE_BEFORE: Final = re.compile(r"^[A-Z_]{5,}: ")  # absl's status codes
_CODE_AFTER: Final = re.compile(r" *\[[A-Z_]{5,}\]$")
_DOUBLING = re.compile(r"\bopt(?:Flat)?Map\b")
_MAX_DOUBLING: Final = 5  # each such macro doubles what it is called on
_MAX_COMPILED: Final = 64 * 1024  # bytes; a thousand characters come to about twenty thousand


# Overloads that cel-cpp's checker knows and its runtime does not.
_UNIMPLEMENTED: Final = {
    b"int64_to_duration": "write duration('60s'), or duration(string(x) + 's')",
    b"duration_to_int64": "write x.getSeconds(), which is all of its seconds",
}


class ExpressionError(Exception):
    """An expression that does not compile, or whose evaluation failed; the message is for its author."""


class MissingMember(ExpressionError):
    """An evaluation that read a member of a map, or an item of a list, that is not there."""


@cache
def _environment(variables: tuple[str, ...] = VARIABLES) -> Any:
    extensions = [
        ext_strings.ExtStrings(),
        ext_math.ExtMath(),
        ext_optional.ExtOptional(),
        ext_encoders.ExtEncoders(),
    ]
    return cel.NewEnv(variables=dict.fromkeys(variables, cel.Type.DYN), extensions=extensions)


class Scope:
    """An activation: the variables of an evaluation. Their conversion is costly, so many expressions share one.

    `known` are the variables that the expressions were compiled over, where these are not the usual ones.
    """

    __slots__ = ("_activation", "_known", "variables")

    def __init__(self, variables: Mapping[str, Any], known: tuple[str, ...] = VARIABLES) -> None:
        self.variables, self._known = variables, known
        self._activation: Any = None

    def evaluate(self, expression: "Expression") -> Any:
        """A compiled expression's value, of a type of cel's own.

        Raises ExpressionError (MissingMember where something is not there), DecisionFailed (no memory).
        """
        try:
            if self._activation is None:
                self._activation = _environment(self._known).Activation(dict(self.variables))
            value = expression.compiled.eval(self._activation)
        except MemoryError:
            raise explain_out_of_memory() from None
        except Exception as error:
            raise ExpressionError(self._explained(expression, str(error))) from None
        if value.type() == _ERROR:
            text = _error_in(value)
            failure = MissingMember if text is not None and _MISSING.match(text) else ExpressionError
            raise failure(self._explained(expression, text))
        return value

    def _explained(self, expression: "Expression", text: str | None) -> str:
        """An error of cel-cpp for people, with the member that is null or no map where that is the reason."""
        if text is None:
            return _UNRESOLVED
        if any(sign in text for sign in (*NO_MAP, NO_LIST)):
            with suppress(UnknownSyntax, RecursionError):
                reads = find_reads(expression.syntax())
                if NO_LIST in text:
                    if (over := find_non_list(reads, self.variables)) is not None:
                        return explain_no_list(*over)
                elif (found := find_blocked(reads, self.variables)) is not None:
                    return explain_no_map(*found, optional="overloads" in text)
        return _explain(text)


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled CEL expression, and what evaluating it may cost."""

    source: str
    compiled: Any
    cost: Cost

    @property
    def type(self) -> str:
        """CEL's name for the type of its value, without that of items: `LIST`. DYN where it depends on data."""
        return str(self.compiled.return_type().name()).partition("<")[0]

    @property
    def value_cost(self) -> Cost:
        """The cost of its value as JSON."""
        return rendered_cost(self.cost, optionals=self._may_be_optional)

    @property
    def _may_be_optional(self) -> bool:
        return "?" in self.source or "optional" in self.source

    def syntax(self, *, typed: bool = False) -> Node:
        """Its syntax tree, for checks and messages; parsed at each call. Raises UnknownSyntax."""
        return parse_syntax(self.compiled.serialize(), typed=typed)

    def value(self, scope: Scope) -> Any:
        """Its value as JSON. Raises ExpressionError."""
        value = scope.evaluate(self)
        if self._may_be_optional:
            _refuse_optionals(value)
        try:
            return _converted(value)
        except RecursionError:
            raise ExpressionError("nests too deep; flatten it") from None
        except (TypeError, ValueError, OverflowError, RuntimeError, SystemError) as error:
            raise ExpressionError(f"cannot be written as JSON: {error}"[:500]) from None

    def holds(self, scope: Scope) -> bool:
        """Whether it is true. Raises ExpressionError, also where it is no boolean."""
        value = scope.evaluate(self)
        answer = value.value()
        if answer is not True and answer is not False:
            raise ExpressionError(
                f"is {value.type().name().lower()}, not a boolean; compare it with something"
            )
        return answer


def compile_expression(
    source: str, *, condition: bool = False, known: Vocabulary = ALL_VARIABLES
) -> Expression:
    """Compile CEL over what is `known` in a place. Raises ExpressionError that says what may have been meant."""
    if len(source) > MAX_EXPRESSION_CHARS:
        raise ExpressionError(f"has {len(source)} characters, more than {MAX_EXPRESSION_CHARS}; shorten it")
    if _doublings(source) > _MAX_DOUBLING:
        raise ExpressionError(f"has more than {_MAX_DOUBLING} of optMap and optFlatMap; split it")
    try:
        compiled = _environment(known.variables).compile(source)
    except Exception as error:
        raise ExpressionError(_explain(str(error), known.variables)) from None
    type_ = compiled.return_type()
    if condition and type_ not in (cel.Type.BOOL, cel.Type.DYN):
        raise ExpressionError(f"is {type_.name().lower()}, not a boolean; compare it with something")
    serialized = compiled.serialize()
    if len(serialized) > _MAX_COMPILED:
        raise ExpressionError("is too much once its macros are written out; shorten or split it")
    return Expression(source, compiled, _checked(serialized, known))


def expanded_size(source: str) -> int:
    """The estimated length in characters of an expression with its macros expanded."""
    return len(source) << min(_doublings(source), _MAX_DOUBLING + 1)


def _doublings(source: str) -> int:
    return len(_DOUBLING.findall(source))


def _checked(serialized: bytes, known: Vocabulary) -> Cost:
    """The cost of an expression that can work. Raises ExpressionError for one that fails whatever the data are."""
    try:
        syntax = parse_syntax(serialized)
        if any(name.encode() in serialized for name in known.variables if known.members(name)):
            if (problem := known.unknown(find_reads(syntax))) is not None:
                raise ExpressionError(problem)
        if any(overload in serialized for overload in _UNIMPLEMENTED):
            _check_implemented(parse_syntax(serialized, typed=True))
        return cost_of(syntax)
    except (UnknownSyntax, RecursionError):
        return COSTLY


def _check_implemented(syntax: Node) -> None:
    """Raise ExpressionError where a function passes the type check and has no implementation."""
    for node in walk_nodes(syntax):
        if isinstance(node, Call) and len(node.overloads) == 1:
            if (remedy := _UNIMPLEMENTED.get(node.overloads[0].encode())) is not None:
                raise ExpressionError(f"{node.function}(…) cannot do this; {remedy}")


def explain_out_of_memory(handler: str | None = None) -> DecisionFailed:
    """The failure of a decision that ran out of memory, for the caller to raise or to write as a dead letter."""
    message = "needs too much memory; work on less data, pass references, or shorten the expressions"
    return DecisionFailed("TooCostly", message, handler)


def _error_in(value: Any) -> str | None:
    """The error in a value of type ERROR; None for an optional, which has that type too."""
    try:
        return str(value.plain_value())
    except TypeError:
        return None


def _refuse_optionals(value: Any) -> None:
    """Raise ExpressionError where a list or map holds an optional: the library cannot convert it."""
    if value.type() == cel.Type.ERROR:
        raise ExpressionError(_UNRESOLVED)
    if value.type().name().startswith(("MAP", "LIST")):
        items = value.value()
        for item in items.values() if isinstance(items, dict) else items:
            _refuse_optionals(item)


def _explain(text: str, variables: tuple[str, ...] = VARIABLES) -> str:
    """An error of cel-cpp in a line for people."""
    if unknown := _UNDECLARED.search(text):
        name, line = unknown[2], text[unknown.end() :].partition("\n | ")[2].partition("\n")[0]
        if name in LITERALS:
            return f'unknown variable or function "{name}"; write {LITERALS[name]}'
        if (function := _called(name, line, int(unknown[1]) - 1)) is not None:
            return f'unknown function "{function}"; {suggest_function(function.rpartition(".")[2])}'
        return f'unknown variable or function "{name}"; {suggest_name(name, variables)}'
    if headline := _HEADLINE.search(text):
        message = _CODE_AFTER.sub("", headline[3]).strip()
        line = text[headline.end() :].partition("\n | ")[2].partition("\n")[0]
        place = f"{readable_message(message)} (line {headline[1]}, column {headline[2]})"
        return "; ".join([place, *find_remedies(message, line[: int(headline[2]) - 1])])
    text = _CODE_AFTER.sub("", _CODE_BEFORE.sub("", text))
    if missing := re.search(r'Key not found in map : "(.*)"', text):
        return f'there is no "{missing[1]}"; guard it with has(…) or use .?{missing[1]}.orValue(…)'
    return "; ".join([text[:500], *find_remedies(text[:500])])


class _HoldsTimes(Exception):
    """Raised for plain values that hold times, which lack nanoseconds."""


def _converted(value: Any) -> Any:
    """A value of cel's as JSON. Raises ExpressionError for what JSON cannot hold."""
    try:
        return _json(value.plain_value())
    except _HoldsTimes:
        return _exact(value)


def _called(name: str, line: str, place: int) -> str | None:
    """The function that an unknown name is, or is the namespace of at its place; None where it is a variable."""
    if re.search(rf"(?<!\w){re.escape(name)}\s*\(", line):
        return name
    found = re.compile(rf"{name}\.\w+(?=\s*\()").match(line, place) if name in NAMESPACES else None
    return found[0] if found else None


def _json(value: Any) -> Any:
    """A plain CEL value as JSON. Raises ExpressionError for what JSON cannot hold."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ExpressionError(f"is {value}, which JSON cannot hold")
        return value
    if isinstance(value, Mapping):
        return {_key(key): _json(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime | timedelta):
        raise _HoldsTimes
    raise ExpressionError(f"is a {type(value).__name__}, which JSON cannot hold")


def _exact(value: Any) -> Any:
    """A value of cel's as JSON that holds times: these to the nanosecond, as `string()` writes them."""
    name = value.type().name()
    if name == "TIMESTAMP":
        return format_timestamp(repr(value))
    if name == "DURATION":
        return format_duration(repr(value))
    if name.startswith("LIST"):
        return [_exact(item) for item in value.value()]
    if name.startswith("MAP"):
        items = value.value()
        return {_key(key): _exact(items[key]) for key in sorted(items, key=str)}
    return _json(value.plain_value())


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise ExpressionError(f"has the map key {key!r}; JSON keys are strings")
    return key
