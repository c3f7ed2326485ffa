"""The expressions of an Agent with their sites: path, variables, and the events evaluated there."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from heed import names
from heed.core.cel.ast import Node, UnknownSyntax
from heed.core.cel.expression import Expression
from heed.core.cel.member_paths import MemberReads, find_reads
from heed.core.cel.template import Template
from heed.core.cel.variables import (
    ALL_VARIABLES,
    APPROVER_VARIABLES,
    SUBSCRIPTION_VARIABLES,
    TASK_VARIABLES,
    TIMER_VARIABLES,
    Vocabulary,
)
from heed.core.compiler.program import CompiledHandler, Program
from heed.core.type_patterns import covers


@dataclass(frozen=True)
class ExpressionSite:
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
        """Its typed syntax tree; None where cel-cpp's serialisation is not understood."""
        try:
            return self.expression.syntax(typed=True)
        except UnknownSyntax:
            return None

    @cached_property
    def reads(self) -> MemberReads:
        """Its member paths."""
        try:
            return MemberReads() if self.syntax is None else find_reads(self.syntax)
        except RecursionError:
            return MemberReads()

    @property
    def of_tasks(self) -> bool:
        """Whether only task events reach it."""
        return self.pattern is not None and covers(f"{names.TASK_TYPE_PREFIX}>", self.pattern)


def find_sites(program: Program) -> Iterator[ExpressionSite]:
    """All expressions of an Agent, in the order of the manifest."""
    for index, item in enumerate(program.subscriptions):
        if item.where is not None:
            path = f"spec.subscribe[{index}].where"
            yield ExpressionSite(path, item.where, SUBSCRIPTION_VARIABLES, item.pattern, condition=True)
    if program.key is not None:
        yield ExpressionSite("spec.session.key", program.key, SUBSCRIPTION_VARIABLES)
    for name, task in program.tasks.items():
        for path, expression in task.template.expressions:
            yield ExpressionSite(
                f"spec.tasks.{name}.{task.kind}{path}", expression, TASK_VARIABLES, task=name
            )
        if task.where is not None:
            path = f"spec.tasks.{name}.approval.approvers.where"
            yield ExpressionSite(path, task.where, APPROVER_VARIABLES, condition=True, task=name)
    yield from _of_timers(program)
    for index, reaction in enumerate(program.reactions):
        yield from _of_handler(index, reaction)


def _of_handler(index: int, reaction: CompiledHandler) -> Iterator[ExpressionSite]:
    if reaction.when is not None:
        yield ExpressionSite(
            f"{reaction.path}.when", reaction.when, ALL_VARIABLES, reaction.pattern, True, index
        )
    if reaction.hold is not None:
        path = f"{reaction.path}.hold.until"
        yield ExpressionSite(path, reaction.hold.until, ALL_VARIABLES, reaction.pattern, handler=index)
    for path, expression in _templates(reaction):
        yield ExpressionSite(
            f"{reaction.path}.{path}", expression, ALL_VARIABLES, reaction.pattern, handler=index
        )


def _of_timers(program: Program) -> Iterator[ExpressionSite]:
    for name, timer in program.timers.items():
        for path, expression in timer.expressions:
            yield ExpressionSite(f"spec.timers.{name}.{path}", expression, TIMER_VARIABLES)


def _templates(reaction: CompiledHandler) -> Iterator[tuple[str, Expression]]:
    templates: list[tuple[str, Template | None]] = [("state", reaction.state)]
    for index, start in enumerate(reaction.start):
        templates += [(f"start[{index}].input", start.input), (f"start[{index}].from", start.many)]
    for index, emit in enumerate(reaction.emit):
        templates += [(f"emit[{index}]", emit.one), (f"emit[{index}].from", emit.many)]
    for path, template in templates:
        if template is not None:
            yield from ((path + inner, expression) for inner, expression in template.expressions)
