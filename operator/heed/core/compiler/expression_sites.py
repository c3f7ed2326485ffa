"""Where expressions stand in an Agent, and which events they see there."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from heed import names
from heed.core.cel.ast import Node, UnknownSyntax
from heed.core.cel.expression import Expression
from heed.core.cel.member_paths import Reads, reads_of
from heed.core.cel.template import Template
from heed.core.cel.variables import ALL, OF_EVENTS, OF_TASKS, Vocabulary
from heed.core.compiler.program import Program, Reaction
from heed.core.type_patterns import covers


@dataclass(frozen=True)
class Place:
    """An expression with its path in the manifest.

    `pattern` is of the events that it sees, None in a task's template; `condition` says that it is a `when` or a
    `where`; `handler` and `task` say whose it is.
    """

    path: str
    expression: Expression
    known: Vocabulary
    pattern: str | None = None
    condition: bool = False
    handler: int | None = None
    task: str | None = None

    @cached_property
    def syntax(self) -> Node | None:
        """What the expression consists of, with types; None where that cannot be told."""
        try:
            return self.expression.syntax(typed=True)
        except UnknownSyntax:
            return None

    @cached_property
    def reads(self) -> Reads:
        """What the expression reads."""
        try:
            return Reads() if self.syntax is None else reads_of(self.syntax)
        except RecursionError:
            return Reads()

    @property
    def of_tasks(self) -> bool:
        """Whether it sees events of tasks only."""
        return self.pattern is not None and covers(f"{names.TASK_EVENTS}>", self.pattern)


def places_of(program: Program) -> Iterator[Place]:
    """All expressions of an Agent, in the order of the manifest."""
    for index, item in enumerate(program.subscriptions):
        if item.where is not None:
            path = f"spec.subscribe[{index}].where"
            yield Place(path, item.where, OF_EVENTS, item.pattern, condition=True)
    if program.key is not None:
        yield Place("spec.session.key", program.key, OF_EVENTS)
    for name, task in program.tasks.items():
        for path, expression in task.template.expressions:
            yield Place(f"spec.tasks.{name}.job{path}", expression, OF_TASKS, task=name)
    for index, reaction in enumerate(program.reactions):
        if reaction.when is not None:
            yield Place(f"{reaction.path}.when", reaction.when, ALL, reaction.pattern, True, index)
        for path, expression in _templates(reaction):
            yield Place(f"{reaction.path}.{path}", expression, ALL, reaction.pattern, handler=index)


def _templates(reaction: Reaction) -> Iterator[tuple[str, Expression]]:
    templates: list[tuple[str, Template | None]] = [("state", reaction.state)]
    for index, start in enumerate(reaction.start):
        templates += [(f"start[{index}].input", start.input), (f"start[{index}].from", start.many)]
    for index, emit in enumerate(reaction.emit):
        templates += [(f"emit[{index}]", emit.one), (f"emit[{index}].from", emit.many)]
    for path, template in templates:
        if template is not None:
            yield from ((path + inner, expression) for inner, expression in template.expressions)
