"""Lint of an Agent's expressions: what compiles, and is hardly meant."""

from collections.abc import Callable, Iterator, Sequence

from heed import names
from heed.core.approval.request import FAIL
from heed.core.cel.member_paths import EACH, LiteralComparison, format_path
from heed.core.cel.variables import suggest_name
from heed.core.compiler.expression_sites import ExpressionSite, find_sites
from heed.core.compiler.format_precision import find_imprecise_formats
from heed.core.compiler.program import Program
from heed.core.compiler.trial_evaluation import try_expressions
from heed.core.compiler.unguarded_members import MemberGuards, find_nullable_parents, find_unguarded
from heed.core.compiler.unknown_members import KnownMembers, find_unknown_members
from heed.core.tasks.kinds import LEDGER_KINDS
from heed.core.type_patterns import matches
from heed.errors import Problem


def lint_expressions(
    program: Program, go_on: Callable[[], bool] = lambda: True, *, knows_types: bool = True
) -> Iterator[Problem]:
    """Warnings about the expressions of a compiled Agent. Stops once `go_on` returns False.

    `knows_types`: the program has been given the event types that there are; else nothing is said of data.
    """
    places, members = list(find_sites(program)), KnownMembers.of(program)
    guards = MemberGuards.of(program, places)
    for place in places:
        if not go_on():
            return
        yield from (unknown := list(find_unknown_members(place, members)))
        yield from _never_equal(place, program)
        if knows_types:
            yield from find_unguarded(place, guards)
            yield from find_nullable_parents(place, program)
        yield from _unguarded_state(place)
        yield from find_imprecise_formats(place)
        yield from () if unknown else try_expressions(program, place)
    yield from _unheard_failures(program, places)


# ── comparisons that never hold ─────────────────────────────────────────────────────────────────────────────────────


def _never_equal(place: ExpressionSite, program: Program) -> Iterator[Problem]:
    """Comparisons of task names and event types with values they never have."""
    for item in place.reads.comparisons:
        for value in item.values:
            if item.path == ("task", "name") and value not in program.tasks:
                yield Problem(
                    place.path,
                    f'compares task.name with "{value}", which is no task',
                    suggest_name(value, sorted(program.tasks)),
                )
            elif item.path == ("event", "type") and place.pattern and not matches(place.pattern, value):
                yield Problem(
                    place.path,
                    f'compares event.type with "{value}", and sees events of {place.pattern} only',
                    "correct one of them",
                )


# ── holds that fail where they are to wait ──────────────────────────────────────────────────────────────────────────


def _unguarded_state(place: ExpressionSite) -> Iterator[Problem]:
    """Members of the state that the condition of a hold reads unasked: as long as it lacks them, that is an error."""
    if place.handler is None or not place.path.endswith(".hold.until"):
        return
    members = dict.fromkeys(path[:2] for path in place.reads.values if path[0] == "state" and len(path) > 1)
    for member in members:
        if member[1] != EACH and member not in place.reads.asked:
            what = format_path(member)
            message = f"reads {what}: an event that comes before there is one is dead-lettered, not held"
            yield Problem(place.path, message, f"write has({what}) && …")


# ── tasks whose failure no handler handles ──────────────────────────────────────────────────────────────────────────


def _may_be(comparisons: Sequence[LiteralComparison], task: str) -> bool:
    """Whether a condition may hold for the failure of a task, as far as it compares names and types."""
    for path, wanted in ((("task", "name"), task), (("event", "type"), names.TASK_FAILED)):
        found = [item for item in comparisons if item.path == path]
        equal = {value for item in found if item.equal for value in item.values}
        unequal = {value for item in found if not item.equal for value in item.values}
        if wanted in unequal or (equal and wanted not in equal):
            return False
    return True


def _never_fails(program: Program, task: str) -> bool:
    """Whether it is a wait or an approval that does not time out, or chooses then, and that no handler cancels."""
    spec = program.manifest.spec.tasks[task]
    if spec.kind not in LEDGER_KINDS or any(task in reaction.cancel for reaction in program.reactions):
        return False
    return spec.timeout is None or (spec.approval is not None and spec.approval.on_timeout != FAIL)


def _unheard_failures(program: Program, places: Sequence[ExpressionSite]) -> Iterator[Problem]:
    conditions = {place.handler: place.reads for place in places if place.condition}
    hearing = [
        conditions.get(index)
        for index, reaction in enumerate(program.reactions)
        if matches(reaction.pattern, names.TASK_FAILED)
    ]
    for name in program.tasks:
        if _never_fails(program, name):
            continue
        if not any(reads is None or _may_be(reads.comparisons, name) for reads in hearing):
            yield Problem(
                f"spec.tasks.{name}",
                "no handler reacts to its failure",
                f"add one with the type {names.TASK_FAILED}, or {names.TASK_TYPE_PREFIX}*",
            )
