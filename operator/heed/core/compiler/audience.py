"""The audience of an event: the Agents that heed it, and hints where none does.

An Agent heeds an event that one of its subscriptions takes, conditions aside, or that is addressed to it, and that one
of its handlers has the type of.
"""

import difflib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from heed import names
from heed.core.compiler.program import Program
from heed.core.type_patterns import matches

_LISTED: Final = 5  # types that a hint names where none is near


@dataclass(frozen=True, slots=True)
class Listener:
    """One Agent's subscriptions as (namespace, type pattern), and the type patterns of its handlers."""

    namespace: str
    name: str
    subscriptions: tuple[tuple[str, str], ...]
    handlers: tuple[str, ...]

    @classmethod
    def of(cls, program: Program) -> "Listener":
        """What a compiled Agent listens for."""
        own = program.agent.namespace
        return cls(
            own,
            program.agent.name,
            tuple((item.namespace or own, item.pattern) for item in program.subscriptions),
            tuple(dict.fromkeys(reaction.pattern for reaction in program.reactions)),
        )

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def handles(self, type_: str) -> bool:
        """Whether a handler's pattern matches the type."""
        return any(matches(pattern, type_) for pattern in self.handlers)

    def subscribes(self, namespace: str, type_: str) -> bool:
        """Whether a subscription matches the type in that namespace."""
        return any(space == namespace and matches(pattern, type_) for space, pattern in self.subscriptions)

    def heeds(self, subject: str, type_: str) -> bool:
        """Whether an event of the type that is published on the subject reaches a handler's type."""
        if names.is_inbox(subject):
            return names.is_inbox_of(subject, self.namespace, self.name) and self.handles(type_)
        return self.subscribes(names.namespace_of_subject(subject), type_) and self.handles(type_)


def explain_unheeded(listeners: Sequence[Listener], subject: str) -> str | None:
    """Why none of the Agents heeds an event on this subject, with what to do; None where one does.

    What tasks say of themselves, and what is due, concerns the ledger, whether a handler wants it or not.
    """
    type_ = names.type_of_subject(subject)
    if type_ is None or type_.startswith((names.TASK_TYPE_PREFIX, names.DUE_TYPE_PREFIX)):
        return None
    if any(listener.heeds(subject, type_) for listener in listeners):
        return None
    if names.is_inbox(subject):
        return _unaddressed(listeners, subject, type_)
    namespace = names.namespace_of_subject(subject)
    for listener in listeners:
        for space, pattern in listener.subscriptions:
            if space != namespace and matches(pattern, type_) and listener.handles(type_):
                return f"no Agent heeds it in namespace {namespace}; {listener} does in {space} (-n {space})"
    if handling := [
        item for item in listeners if item.handles(type_) and not _is_broad(item.handlers, type_)
    ]:
        return f"no Agent heeds it; {handling[0]} has a handler and no subscription: add it to spec.subscribe"
    return f"no Agent heeds it{_near(type_, _offered(listeners, namespace))}"


def _unaddressed(listeners: Sequence[Listener], subject: str, type_: str) -> str:
    namespace, agent = subject.split(".")[2:4]
    for listener in listeners:
        if (listener.namespace, listener.name) == (namespace, agent):
            known = [item for item in listener.handlers if not item.startswith(names.TASK_TYPE_PREFIX)]
            return f"Agent {listener} has no handler for it{_near(type_, known)}"
    known = [item.name for item in listeners if item.namespace == namespace]
    return f"there is no Agent {agent} in namespace {namespace}{_near(agent, known)}"


def _is_broad(patterns: Collection[str], type_: str) -> bool:
    """Whether only a pattern that takes everything matches the type."""
    return {item for item in patterns if matches(item, type_)} == {">"}


def _offered(listeners: Sequence[Listener], namespace: str) -> Iterator[str]:
    """The types, or patterns over them, that would be heeded in a namespace."""
    for listener in listeners:
        for space, pattern in listener.subscriptions:
            if space != namespace:
                continue
            if "*" not in pattern and ">" not in pattern:
                yield pattern
            else:
                yield from (item for item in listener.handlers if matches(pattern, item))


def _near(wanted: str, known: Collection[str] | Iterator[str]) -> str:
    offered = list(dict.fromkeys(known))
    near = difflib.get_close_matches(wanted, offered, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    if not offered:
        return ""
    more = ", …" if len(offered) > _LISTED else ""
    return f"; known are {', '.join(offered[:_LISTED])}{more}"
