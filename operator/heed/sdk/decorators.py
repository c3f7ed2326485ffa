"""Types of the SDK's decorators, by which type checkers see what functions are given, and what becomes of them."""

from collections.abc import Awaitable, Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar, overload

from heed.sdk.effects import Reaction
from heed.sdk.tasks import FunctionTask

Value = TypeVar("Value")
Rest = ParamSpec("Rest")
Returned = TypeVar("Returned", bound=Reaction | Awaitable[Reaction])


class HandlerDecorator(Protocol[Value]):
    """Keeps the type of a handler, whose first parameter is what it is given."""

    def __call__(
        self, function: Callable[Concatenate[Value, Rest], Returned], /
    ) -> Callable[Concatenate[Value, Rest], Returned]:
        """Add the function to the Agent."""


class TaskDecorator(Protocol):
    """Makes a task of a function, whose value is the task's result."""

    @overload
    def __call__(self, function: Callable[..., Awaitable[Value]], /) -> FunctionTask[Value]: ...
    @overload
    def __call__(self, function: Callable[..., Value], /) -> FunctionTask[Value]: ...
