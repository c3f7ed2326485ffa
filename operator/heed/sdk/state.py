"""What an Agent remembers of a session, as a typed value that is never changed in place."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from heed.sdk.errors import CodeError, CodeTooOld, explain

if TYPE_CHECKING:
    from heed.sdk.tasks import Task

VERSION_MEMBER: Final = "$version"

Upcast = Callable[[dict[str, Any]], dict[str, Any]]


def task_name(task: "Task[Any] | str") -> str:
    """The name of a task that is given as such, or by its name."""
    return task if isinstance(task, str) else task.name


class State(BaseModel):
    """The state of a session: `class Research(State, version=2)`. Every field needs a default, for new sessions.

    A state that was stored by an older version goes through the functions of `upcast`, one version each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    state_version: ClassVar[int] = 1
    upcasts: ClassVar[dict[int, Upcast]] = {}
    _pending: Mapping[str, Sequence[str]] | None = PrivateAttr(default_factory=dict)

    def __init_subclass__(cls, *, version: int = 1, **kwargs: Any) -> None:
        """Note the version."""
        super().__init_subclass__(**kwargs)
        cls.state_version, cls.upcasts = version, {}

    @classmethod
    def upcast(cls, version: int) -> Callable[[Upcast], Upcast]:
        """A function that makes of a stored state of `version` one of the next: maps of JSON without nulls."""

        def add(function: Upcast) -> Upcast:
            cls.upcasts[version] = function
            return function

        return add

    @classmethod
    def load(cls, stored: Mapping[str, Any], pending: Mapping[str, Sequence[str]] | None) -> Self:
        """The state as the ledger holds it; without `pending` it does not know the session's pending tasks.

        Raises CodeTooOld, and CodeError: BadState.
        """
        members = dict(stored)
        version = members.pop(VERSION_MEMBER, 1)
        if not isinstance(version, int) or version > cls.state_version:
            found = f"the session's state has version {version}, and {cls.__name__} is at {cls.state_version}"
            raise CodeTooOld(f"{found}: a newer worker wrote it")
        if stored:
            for step in range(version, cls.state_version):
                members = cls.upcasts[step](members) if step in cls.upcasts else members
        try:
            state = cls.model_validate(members)
        except ValidationError as error:
            remedy = f"add @{cls.__name__}.upcast({version}), or raise the version of the class"
            raise CodeError(
                "BadState", f"the stored state is no {cls.__name__}: {explain(error)}; {remedy}"
            ) from None
        state._pending = pending
        return state

    def __eq__(self, other: object) -> bool:
        """Whether it is of the same class and has the same fields; pending tasks do not count."""
        return type(self) is type(other) and dict(self) == dict(other)

    def __hash__(self) -> int:
        return hash((type(self), *dict(self).values()))

    def dump(self) -> dict[str, Any]:
        """The state as the ledger holds it: JSON without what is None, with its version where that is not 1."""
        members = self.model_dump(mode="json", exclude_none=True)
        return members if self.state_version == 1 else {**members, VERSION_MEMBER: self.state_version}

    def set(self, **changes: Any) -> Self:
        """The state with other values of these fields, which are validated."""
        made = type(self).model_validate({**self.__dict__, **changes})
        made._pending = self._pending
        return made

    def pending(self, task: "Task[Any] | str") -> tuple[str, ...]:
        """The ids of the session's tasks of this name that have not ended, oldest first.

        Raises CodeError in a handler that has not said that it reads them: Undeclared.
        """
        if self._pending is None:
            remedy = "write pending=True in its decorator"
            raise CodeError("Undeclared", f"reads pending tasks, and its manifest does not say so; {remedy}")
        return tuple(self._pending.get(task_name(task), ()))

    def with_pending(self, *tasks: "Task[Any] | str") -> Self:
        """The state as if these tasks ran, for tests of handlers; a task that runs twice is named twice."""
        running: dict[str, list[str]] = {}
        for index, task in enumerate(tasks):
            name = task_name(task)
            running.setdefault(name, []).append(f"{name}-{index:016x}")
        made = self.model_copy()
        made._pending = running
        return made
