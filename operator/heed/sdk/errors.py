"""What can be wrong with an Agent in Python: its declarations, or one call of a function."""

from pydantic import ValidationError


class DeclarationError(Exception):
    """An Agent, a task or an event that is declared wrongly: raised where the module is imported."""


class CodeError(Exception):
    """One event could not be handled: it becomes a dead letter with this CamelCase code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class CodeTooOld(Exception):
    """A state was written by newer code: its events wait for a worker that knows it."""


def explain(error: ValidationError) -> str:
    """The first thing that is wrong, with its field."""
    first, count = error.errors(include_url=False)[0], error.error_count()
    place = ".".join(map(str, first["loc"]))
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{place + ': ' if place else ''}{first['msg'][:1].lower()}{first['msg'][1:]}{more}"
