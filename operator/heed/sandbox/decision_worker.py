"""The worker process for costly decisions, which may run out of time or memory without harm to others.

See `sandbox.worker` for what it reads and writes. CPU is for one decision; to compile a program takes what it takes.
"""

import io
import json
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, BinaryIO, Final

from heed.api.agent import Agent
from heed.core.cel.expression import Expression, Scope, compile_expression
from heed.core.cel.template import Template
from heed.core.compiler.program import CompiledHandler, Program, TaskTemplate, compile_agent
from heed.core.decision.code import AnswerMissing, CodeCall
from heed.core.decision.decide import Decision, decide
from heed.core.effects import AgentRef
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger
from heed.core.policy.permissions import Permissions
from heed.core.schema.registry import SchemaRegistry
from heed.sandbox.worker import PLACE, Worker, cpu_limit, run

_PROGRAMS: Final = 64  # compiled and kept

Tell = Callable[[str, str | None], None]


@dataclass(frozen=True, slots=True)
class ProgramSource:
    """What a program is compiled from."""

    manifest: Agent
    permissions: Permissions
    schemas: SchemaRegistry

    @classmethod
    def of(cls, program: Program) -> "ProgramSource":
        """Of a program that there is already."""
        return cls(program.manifest, program.permissions, program.schemas)


@dataclass(frozen=True, slots=True)
class DecisionRequest:
    """A decision to be made. `number` stands for a program; its source comes along only when asked for."""

    number: int
    agent: AgentRef
    generation: int
    source: ProgramSource | None
    ledger: Ledger
    received: Received
    more: Mapping[str, Any]  # keyword arguments of `decide`


# ── what goes over the pipe ─────────────────────────────────────────────────────────────────────────────────────────


def shared_records(ledger: Ledger, received: Received) -> list[Any]:
    """Records that both sides have, in a fixed order: an answer refers to them instead of repeating them.

    So records that a decision did not touch are the same objects after it, and need no comparison.
    """
    found: list[Any] = [received, received.event]
    for value in _members(ledger):
        found.append(value)
        found += value.values() if isinstance(value, Mapping) else _members(value)
    return [item for item in found if isinstance(item, Mapping | tuple | list) or is_dataclass(item)]


def _members(value: Any) -> Iterator[Any]:
    if is_dataclass(value):
        for field in fields(value):
            yield getattr(value, field.name)


class _Pickler(pickle.Pickler):
    def __init__(self, file: BinaryIO, known: list[Any]) -> None:
        super().__init__(file)
        self._known = {id(item): index for index, item in enumerate(known)}

    def persistent_id(self, obj: Any) -> int | None:
        return self._known.get(id(obj))


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, known: list[Any]) -> None:
        super().__init__(file)
        self._known = known

    def persistent_load(self, pid: int) -> Any:
        return self._known[pid]

    def find_class(self, module: str, name: str) -> Any:
        # A dotted name would reach what a module has imported, and a function would be called.
        found = super().find_class(module, name) if module.startswith("heed.") else None
        if not isinstance(found, type) or found.__module__ != module:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a decision")
        return found


def pack_decision(decision: Decision | CodeCall, known: list[Any]) -> bytes:
    """A decision, or the call that it needs an answer to, as it goes over the pipe."""
    buffer = io.BytesIO()
    _Pickler(buffer, known).dump(decision)
    return buffer.getvalue()


def unpack_decision(data: bytes, known: list[Any]) -> Decision | CodeCall:
    """What came over the pipe. Raises pickle.UnpicklingError, whatever is wrong with it."""
    try:
        decision = _Unpickler(io.BytesIO(data), known).load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # a broken pickle raises anything: EOFError, AttributeError, IndexError, …
        raise pickle.UnpicklingError(f"this is no pickle: {error!r}") from None
    if not isinstance(decision, Decision | CodeCall):
        raise pickle.UnpicklingError("this is no decision")
    return decision


# ── how far a decision has come ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _TracedExpression:
    """An expression that reports its site before it is evaluated."""

    expression: Expression | None
    tell: Callable[[], None]

    def holds(self, scope: Scope) -> bool:
        self.tell()
        return self.expression is None or self.expression.holds(scope)

    def value(self, scope: Scope) -> Any:
        self.tell()
        assert self.expression is not None
        return self.expression.value(scope)


def trace_program(program: Program, tell: Tell) -> Program:
    """A program whose expressions report their site: a path in the manifest, and the handler if known."""

    def watch(expression: Expression | None, path: str, handler: str | None = None) -> Any:
        return _TracedExpression(expression, lambda: tell(path, handler))

    return replace(
        program,
        subscriptions=tuple(
            replace(item, where=watch(item.where, f"spec.subscribe[{index}].where") if item.where else None)
            for index, item in enumerate(program.subscriptions)
        ),
        key=watch(program.key, "spec.session.key") if program.key else None,
        reactions=tuple(
            replace(item, when=watch(item.when, item.path, item.name), hold=_traced_hold(item, watch))
            for item in program.reactions
        ),
        tasks={name: replace(task, template=_told(task, tell)) for name, task in program.tasks.items()},
        schemas=replace(program.schemas, tell=lambda place: tell(place, None)),
    )


def _traced_hold(reaction: CompiledHandler, watch: Callable[[Expression, str, str], Any]) -> Any:
    if (hold := reaction.hold) is None:
        return None
    return replace(hold, until=watch(hold.until, f"{reaction.path}.hold.until", reaction.name))


def _told(task: TaskTemplate, tell: Tell) -> Template:
    def render(scope: Scope) -> Any:
        tell(f"spec.tasks.{task.name}", None)
        return task.template.render(scope)

    return replace(task.template, render=render)


# ── the process ─────────────────────────────────────────────────────────────────────────────────────────────────────


class DecisionWorker(Worker):
    """Answers requests with decisions. One for a program not known here has to come again with its source."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO, cpu: float) -> None:
        super().__init__(requests, answers, cpu)
        self._programs: dict[int, Program] = {}
        self._told: tuple[str, str | None] | None = None

    def answer(self, request: bytes) -> bytes | None:
        """A decision, packed; None where its program is unknown."""
        asked: DecisionRequest = pickle.loads(request)
        program = self._program(asked)
        return None if program is None else self._decided(program, asked)

    def _decided(self, program: Program, request: DecisionRequest) -> bytes:
        self._told = None
        known = shared_records(request.ledger, request.received)
        with cpu_limit(self.cpu):
            try:
                made: Decision | CodeCall = decide(program, request.ledger, request.received, **request.more)
            except AnswerMissing as missing:
                made = missing.call
            return pack_decision(made, known)

    def _program(self, request: DecisionRequest) -> Program | None:
        program = self._programs.pop(request.number, None)
        if program is None and (source := request.source) is not None:
            compiled = compile_agent(source.manifest, source.permissions, source.schemas)
            program = trace_program(compiled, self._tell)
            program = replace(program, agent=request.agent, generation=request.generation)
        if program is not None:
            self._programs[request.number] = program  # the latest used come last
            if len(self._programs) > _PROGRAMS:
                del self._programs[next(iter(self._programs))]
        return program

    def _tell(self, path: str, handler: str | None) -> None:
        if self._told != (path, handler):
            self._told = path, handler
            self.say(PLACE, json.dumps([path, handler]).encode())


def main(memory: int, cpu: float) -> None:
    """Serve until standard input ends."""
    run(DecisionWorker, memory, cpu, warm_up=_evaluate_something)


def _evaluate_something() -> None:
    compile_expression("[event].map(x, x)").value(Scope({"event": {}}))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
