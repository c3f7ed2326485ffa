"""The process in which costly decisions are made: it may run out of time or memory, and nobody else is harmed.

    python -m heed.sandbox.decision_worker MEMORY CPU

Reads requests from standard input and ends with it. Each answer is a frame whose first byte says what it is; where the
work on a request is (PLACE) goes before it, so that whoever finds us dead knows what we died of. MEMORY is bytes of
address space beyond our own, CPU seconds for one decision; the kernel enforces both.
"""

import io
import json
import os
import pickle
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from heed.api.agent import Agent
from heed.core.cel.expression import Expression, Scope, compile_expression
from heed.core.cel.template import Template
from heed.core.compiler.program import Program, TaskTemplate, compile_agent
from heed.core.decision.decide import Decision, decide
from heed.core.effects import AgentRef
from heed.core.events import Received
from heed.core.ledger.ledger import Ledger
from heed.core.policy.permissions import Permissions
from heed.core.schema.registry import SchemaRegistry

READY, PLACE, DECIDED, LAST, UNKNOWN = b"!", b"@", b"=", b".", b"?"
LENGTH: Final = struct.Struct(">I")
_PROGRAMS: Final = 64  # compiled and kept
_SPARE: Final = 64 * 1024**2  # bytes that a decision may leave behind; more would be missing for the next

Tell = Callable[[str, str | None], None]


@dataclass(frozen=True, slots=True)
class Source:
    """What a program is compiled from."""

    manifest: Agent
    permissions: Permissions
    schemas: SchemaRegistry

    @classmethod
    def of(cls, program: Program) -> "Source":
        """Of a program that there is already."""
        return cls(program.manifest, program.permissions, program.schemas)


@dataclass(frozen=True, slots=True)
class Request:
    """A decision to be made. `number` stands for a program; its source comes along only when asked for."""

    number: int
    agent: AgentRef
    generation: int
    source: Source | None
    ledger: Ledger
    received: Received
    more: Mapping[str, Any]  # keyword arguments of `decide`


# ── what goes over the pipe ─────────────────────────────────────────────────────────────────────────────────────────


def landmarks(ledger: Ledger, received: Received) -> list[Any]:
    """What both sides have, in an order that both know: an answer names it instead of repeating it.

    So records that a decision did not touch are the same objects after it, and nobody has to compare them.
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


def packed(decision: Decision, known: list[Any]) -> bytes:
    """A decision as it goes over the pipe."""
    buffer = io.BytesIO()
    _Pickler(buffer, known).dump(decision)
    return buffer.getvalue()


def unpacked(data: bytes, known: list[Any]) -> Decision:
    """A decision that came over the pipe. Raises pickle.UnpicklingError."""
    decision = _Unpickler(io.BytesIO(data), known).load()
    if not isinstance(decision, Decision):
        raise pickle.UnpicklingError("this is no decision")
    return decision


# ── how far a decision has come ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Watched:
    """An expression that tells where it stands before it is evaluated."""

    expression: Expression | None
    tell: Callable[[], None]

    def holds(self, scope: Scope) -> bool:
        self.tell()
        return self.expression is None or self.expression.holds(scope)

    def value(self, scope: Scope) -> Any:
        self.tell()
        assert self.expression is not None
        return self.expression.value(scope)


def watched(program: Program, tell: Tell) -> Program:
    """The same program, which tells where it is: a path in the manifest, and the handler where that is known."""

    def watch(expression: Expression | None, path: str, handler: str | None = None) -> Any:
        return _Watched(expression, lambda: tell(path, handler))

    return replace(
        program,
        subscriptions=tuple(
            replace(item, where=watch(item.where, f"spec.subscribe[{index}].where") if item.where else None)
            for index, item in enumerate(program.subscriptions)
        ),
        key=watch(program.key, "spec.session.key") if program.key else None,
        reactions=tuple(
            replace(item, when=watch(item.when, item.path, item.name)) for item in program.reactions
        ),
        tasks={name: replace(task, template=_told(task, tell)) for name, task in program.tasks.items()},
        schemas=replace(program.schemas, tell=lambda place: tell(place, None)),
    )


def _told(task: TaskTemplate, tell: Tell) -> Template:
    def render(scope: Scope) -> Any:
        tell(f"spec.tasks.{task.name}", None)
        return task.template.render(scope)

    return replace(task.template, render=render)


# ── the process ─────────────────────────────────────────────────────────────────────────────────────────────────────


class _Worker:
    """Answers requests, one after the other. `memory` and `cpu` as in the module's docstring."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO, cpu: float) -> None:
        self._requests, self._answers, self._cpu = requests, answers, cpu
        self._programs: dict[int, Program] = {}
        self._told: tuple[str, str | None] | None = None
        self._enough = (address_space() or 0) + _SPARE

    def serve(self) -> None:
        """Until there are no more requests, or this process has grown too large for another one."""
        self._say(READY)
        while (data := read_frame(self._requests)) is not None:
            request: Request = pickle.loads(data)
            program = self._program(request)
            if program is None:
                self._say(UNKNOWN)
                continue
            answer = self._decided(program, request)
            last = (address_space() or 0) > self._enough
            self._say(LAST if last else DECIDED, answer)
            if last:
                return

    def _decided(self, program: Program, request: Request) -> bytes:
        self._told = None
        known = landmarks(request.ledger, request.received)
        with cpu_limit(self._cpu):
            return packed(decide(program, request.ledger, request.received, **request.more), known)

    def _program(self, request: Request) -> Program | None:
        program = self._programs.pop(request.number, None)
        if program is None and (source := request.source) is not None:
            compiled = compile_agent(source.manifest, source.permissions, source.schemas)
            program = watched(compiled, self._tell)
            program = replace(program, agent=request.agent, generation=request.generation)
        if program is not None:
            self._programs[request.number] = program  # the latest used come last
            if len(self._programs) > _PROGRAMS:
                del self._programs[next(iter(self._programs))]
        return program

    def _tell(self, path: str, handler: str | None) -> None:
        if self._told != (path, handler):
            self._told = path, handler
            self._say(PLACE, json.dumps([path, handler]).encode())

    def _say(self, kind: bytes, data: bytes = b"") -> None:
        self._answers.write(LENGTH.pack(len(data) + 1) + kind + data)
        self._answers.flush()


def read_frame(source: BinaryIO) -> bytes | None:
    """The next frame; None at the end."""
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    data = source.read(length)
    return data if len(data) == length else None


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """End the process where what runs within takes more CPU time: SIGPROF is left to do what it does by default."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def address_space() -> int | None:
    """Bytes of this process' address space; None where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[0]
    except OSError:
        return None
    return int(pages) * resource.getpagesize()


def limit_memory(more: int) -> None:
    """Allow this process so many bytes of address space beyond its own of now, and no core dumps."""
    own = address_space()
    if own is not None:
        resource.setrlimit(resource.RLIMIT_AS, (own + more, own + more))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(memory: int, cpu: float) -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's interrupt is for those who stop us
    requests, answers = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    compile_expression("[event].map(x, x)").value(Scope({"event": {}}))  # what is loaded late is ours, too
    limit_memory(memory)
    try:
        _Worker(requests, answers, cpu).serve()
    except BrokenPipeError:
        os._exit(0)  # nobody waits for the answer


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
