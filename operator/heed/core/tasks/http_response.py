"""CEL over the answer of an `http` task: what is kept of it as the result."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from heed.core.cel.cost import SCOPE_WORK
from heed.core.cel.expression import Expression, ExpressionError, Scope, compile_expression
from heed.core.cel.polynomial import EXTENT, DataLimit, plus, scale
from heed.core.cel.variables import Vocabulary
from heed.core.codec.canonical_json import canonicalize
from heed.errors import DecisionFailed, Problem

RESPONSE_VARIABLES: Final = Vocabulary(("response",))
HARMLESS_EXTENT: Final = 1 << 16  # of an answer of about 50 KiB


def check_reduction(source: str, path: str) -> Iterator[Problem]:
    """What is wrong with an expression over the answer."""
    try:
        expression = _compile(source)
    except ExpressionError as error:
        yield Problem(path, str(error))
        return
    if _limit_of(expression).always < HARMLESS_EXTENT:
        message = "may take too long on answers that are no larger than usual"
        yield Problem(path, message, "nest fewer macros, or keep the whole answer")


def reduce_response(source: str, response: Mapping[str, Any]) -> Any:
    """What an expression makes of an answer: {status, headers, body}. Raises ExpressionError."""
    expression = _compile(source)
    if not _limit_of(expression).allows({"response": response}):
        raise ExpressionError("the answer is too large for what the expression does; nest fewer macros")
    try:
        return canonicalize(expression.value(Scope({"response": response}, RESPONSE_VARIABLES.variables)))
    except (DecisionFailed, OverflowError) as error:
        raise ExpressionError(str(error)) from None


@lru_cache(maxsize=256)
def _compile(source: str) -> Expression:
    return compile_expression(source, known=RESPONSE_VARIABLES)


def _limit_of(expression: Expression) -> DataLimit:
    return DataLimit.of(plus(scale(EXTENT, SCOPE_WORK), expression.value_cost.work))
