"""Timers compiled: their schedules, what their ticks carry, and every mistake."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from heed import names
from heed.api.agent import AgentSpec
from heed.api.fields import parse_duration
from heed.api.timer import TimerSpec
from heed.core.cel.cost import RENDER_WORK, SCOPE_WORK
from heed.core.cel.expression import Expression
from heed.core.cel.polynomial import EXTENT, NO_WORK, Bound, peak, plus, scale
from heed.core.cel.template import Template
from heed.core.cel.variables import TIMER_VARIABLES
from heed.core.compiler.validation import Compiler, check_key_type, check_values
from heed.core.schedule.schedule import Schedule, WrittenSchedule, digest_schedule, parse_schedule
from heed.core.schedule.ticks import LatePolicy
from heed.errors import InvalidManifest, Problem

TICK_MEMBERS: Final = frozenset(("timer", "scheduledAt", "previousAt", "missed"))  # of the data of a tick


@dataclass(frozen=True, slots=True)
class CompiledTimer:
    """A compiled timer. `digest` tells its schedule from one that it was edited into."""

    name: str
    schedule: Schedule
    late: LatePolicy
    overlap: str
    type: str
    data: Template | None
    session: Expression | None  # None: a session for each tick
    suspended: bool
    digest: str = field(default="")

    @property
    def expressions(self) -> Iterator[tuple[str, Expression]]:
        """Its expressions with their places in the timer."""
        if self.data is not None:
            yield from ((f"data{path}", expression) for path, expression in self.data.expressions)
        if self.session is not None:
            yield "session", self.session


def read_schedule(spec: TimerSpec, path: str) -> Schedule:
    """The schedule of a timer that stands at `path`. Raises InvalidManifest."""
    return parse_schedule(WrittenSchedule(spec.cron, spec.every, spec.at, spec.time_zone), path)


def compile_timer(problems: list[Problem], name: str, spec: TimerSpec) -> CompiledTimer | None:
    """A compiled timer; None where its schedule cannot be read. What is wrong with it is added to `problems`."""
    path, compiler = f"spec.timers.{name}", Compiler(problems, TIMER_VARIABLES)
    _check_type(compiler, spec.type, f"{path}.type")
    check_values(compiler, spec.data, f"{path}.data")
    session = compiler.expression(spec.session, f"{path}.session")
    check_key_type(compiler, session, f"{path}.session")
    data = compiler.template(spec.data, f"{path}.data")
    deadline = None if spec.starting_deadline is None else parse_duration(spec.starting_deadline)
    if deadline == 0:
        compiler.add_problem(f"{path}.startingDeadline", "is over at once", "use 1s at least")
    try:
        schedule = read_schedule(spec, path)
    except InvalidManifest as error:
        problems += error.problems
        return None
    return CompiledTimer(
        name=name,
        schedule=schedule,
        late=LatePolicy(spec.missed, deadline),
        overlap=spec.overlap,
        type=spec.type,
        data=data,
        session=session,
        suspended=spec.suspend,
        digest=digest_schedule(schedule),
    )


def compile_timers(problems: list[Problem], spec: AgentSpec) -> dict[str, CompiledTimer]:
    """All timers that can be compiled, by name."""
    found = (compile_timer(problems, name, timer) for name, timer in spec.timers.items())
    return {timer.name: timer for timer in found if timer is not None}


def find_tick_members(timers: Iterable[CompiledTimer]) -> list[frozenset[str] | None]:
    """What the data of the ticks of each timer hold that has no type of its own; None where only a tick can tell."""
    return [_members(timer) for timer in timers if timer.type == names.TIMER_FIRED]


def _members(timer: CompiledTimer) -> frozenset[str] | None:
    if timer.data is None:
        return TICK_MEMBERS
    return frozenset(timer.data.shape) if isinstance(timer.data.shape, dict) else None


def bound_tick(timers: Iterable[CompiledTimer]) -> Bound:
    """The work of finding out what the tick of any timer carries, and in which session it is."""
    return peak(*(_work(timer) for timer in timers))


def _work(timer: CompiledTimer) -> Bound:
    data, key = timer.data, timer.session
    if data is None and key is None:
        return NO_WORK
    works = [scale(EXTENT, SCOPE_WORK)]
    if data is not None:
        works += [data.cost.work, scale(data.cost.size, RENDER_WORK)]
    if key is not None:
        works.append(key.value_cost.work)
    return plus(*works)


def _check_type(compiler: Compiler, type_: str, path: str) -> None:
    if type_ == names.TIMER_FIRED:
        return
    if not names.is_type(type_):
        remedy = "use dot-separated tokens, such as com.example.nightly"
        compiler.add_problem(path, f'"{type_}" is not an event type', remedy)
    elif type_.startswith("dev.heed."):
        compiler.add_problem(path, "dev.heed.* is reserved", "choose a type of your own")
