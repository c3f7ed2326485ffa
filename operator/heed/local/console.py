"""The output of `heed dev`: events, decisions, tasks, their output and state, as text or as lines of JSON."""

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, TextIO

import click

from heed import names
from heed.api.status import PendingTask
from heed.core.compiler.program import Program
from heed.core.decision.decide import Decision
from heed.core.decision.explain import why_held, why_ignored
from heed.core.effects import AgentRef, CancelTask, Effect, Publish, StartTask, TaskEnd
from heed.core.events import Event, Json, Received
from heed.core.ledger.ledger import Ledger
from heed.core.tasks.kinds import LEDGER_KINDS
from heed.core.tasks.work import describe_ledger_work
from heed.engine.observer import Observer
from heed.errors import Problem
from heed.logging import TextFormatter
from heed.util.terminal import visible

MAX_DATA_CHARS: Final = 160  # characters of data in a line of text, where the terminal is not wider
ConsoleFormat = Literal["text", "json"]
Clock = Callable[[], str]
_LOG: Final = TextFormatter("%(message)s")


class Console(Observer):
    """An Observer that prints. `color` None: where the stream is a terminal."""

    def __init__(
        self, stream: TextIO, clock: Clock, *, form: ConsoleFormat = "text", color: bool | None = None
    ) -> None:
        self._stream, self._clock, self._form, self._color = stream, clock, form, color
        self._programs: dict[AgentRef, Program] = {}

    def introduced(self, program: Program) -> None:
        """An Agent whose decisions are to be explained from now on."""
        self._programs[program.agent] = program

    def resumed(self, agent: AgentRef, ledger: Ledger, owed: Sequence[Effect]) -> None:
        """A loop begins, or begins again."""
        facts: dict[str, Any] = {
            "sequence": ledger.cursor.sequence,
            "sessions": len(ledger.sessions),
            "pending": len(ledger.pending_tasks),
            "owed": len(owed),
        }
        remembered = ", ".join(
            f"{number} {what}" for what, number in facts.items() if what != "sequence" and number
        )
        text = (
            f"reads on after {ledger.cursor.sequence}" if ledger.cursor.sequence else "reads its first event"
        )
        facts |= {} if ledger.next_tick is None else {"nextTick": ledger.next_tick}
        remembered += (
            "" if ledger.next_tick is None else f"{', ' if remembered else ''}next tick at {ledger.next_tick}"
        )
        if (program := self._programs.get(agent)) is not None and program.suspended:
            text = f"is suspended, and reads nothing after {ledger.cursor.sequence}"
            facts["suspended"] = True
        self._tell("resumed", agent, _dim(text + (f" ({remembered})" if remembered else "")), facts)

    def committed(self, agent: AgentRef, decisions: Sequence[Decision], ledger: Ledger) -> None:
        """Each event with what was made of it."""
        for decision in decisions:
            self._decided(agent, decision, ledger)

    def reported(self, agent: AgentRef, end: TaskEnd) -> None:
        """A task ended."""
        facts = {"task": end.task_id, "completed": end.completed, "result": end.result, "reason": end.reason}
        facts |= {"message": end.message, "exitCode": end.exit_code}
        if end.completed:
            result = "" if end.result is None else shorten_value(end.result)
            text = f"{_green('■ completed')} {end.task_id} {result}"
        else:
            code = "" if end.exit_code is None else f" (exit code {end.exit_code})"
            text = f"{_red(f'■ failed {end.reason}')}{code} {end.task_id} {visible(end.message or '')}"
        self._tell("ended", agent, text.rstrip(), facts)

    def troubled(self, agent: AgentRef, what: str, error: BaseException, delay: float) -> None:
        """Something is tried again."""
        again = f"; again in {delay:g} s" if delay else ""
        facts = {"what": what, "error": f"{type(error).__name__}: {error}", "retryIn": delay}
        self._tell("troubled", agent, _yellow(visible(f"! {what}: {error}{again}")), facts)

    def output(self, agent: AgentRef, task_id: str, line: str) -> None:
        """A line that a job wrote."""
        self._tell(
            "output", agent, f"{_dim(task_id + ' │')} {visible(line)}", {"task": task_id, "line": line}
        )

    def problems(self, problems: Sequence[Problem], kept: str) -> None:
        """Mistakes in manifests. `kept` says what goes on running."""
        for item in problems:
            facts = {"path": item.path, "message": item.message, "remedy": item.remedy}
            self._tell("problem", None, _red(visible(str(item))), facts)
        self.say(kept)

    def warnings(self, problems: Sequence[Problem]) -> None:
        """What is valid in the manifests, and hardly meant."""
        for item in problems:
            facts = {"path": item.path, "message": item.message, "remedy": item.remedy}
            self._tell("warning", None, _yellow(visible(f"warning: {item}")), facts)

    def unheeded(self, received: Received, why: str) -> None:
        """An event that no Agent heeds."""
        event = received.event
        known = isinstance(event, Event)
        type_ = event.type if isinstance(event, Event) else received.subject
        data = event.data if isinstance(event, Event) else None
        head = f"{_bold('◀')} {_cyan(visible(type_))} {shorten_value(data) if known else ''} {_yellow(visible(why))}"
        facts = {"sequence": received.sequence, "type": type_, "data": _plain(data), "why": why}
        self._tell("unheeded", None, f"{_dim(self._clock()[11:23])} {head}", facts)

    def say(self, text: str, **facts: Any) -> None:
        """Something for the person who looks on."""
        self._tell("note", None, text, {"text": click.unstyle(text), **facts})

    def logged(self, record: logging.LogRecord) -> None:
        """A line of the log: at this level, trouble."""
        text = _LOG.format(record)
        facts = {"level": record.levelname.lower(), "logger": record.name, "text": text}
        self._tell("log", None, f"{_dim(self._clock()[11:23])} {_yellow(visible(f'! {text}'))}", facts)

    def event(self, event: Event) -> None:
        """An event that somebody published."""
        facts = {"type": event.type, "id": event.id, "source": event.source, "data": _plain(event.data)}
        self._tell(
            "published", None, f"{_bold('→')} {_cyan(visible(event.type))} {shorten_value(event.data)}", facts
        )

    def _decided(self, agent: AgentRef, decision: Decision, ledger: Ledger) -> None:
        event = decision.received.event
        known = isinstance(event, Event)
        type_ = event.type if isinstance(event, Event) else decision.received.subject
        data = event.data if isinstance(event, Event) else None
        facts = {
            "sequence": decision.received.sequence,
            "type": type_,
            "data": _plain(data),
            "session": decision.session,
            "outcome": decision.outcome,
            "handlers": list(decision.handlers),
            "state": decision.after,
            "effects": [_facts(effect) for effect in decision.effects],
        }
        if decision.letter is not None:
            facts["letter"] = {"code": decision.letter.code, "message": decision.letter.message}
        program = self._programs.get(agent)
        why = why_held(decision) if program is None else why_ignored(program, decision) or why_held(decision)
        if why is not None:
            facts["why"] = why
        head = f"{_bold('◀')} {_cyan(visible(type_))} {shorten_value(data) if known else ''} {_outcome(decision)}"
        head += _dim(f": {visible(why)}") if why else ""
        lines = _consequences(decision)
        if type_ == names.DUE_TIMERS_CHANGED:
            facts["timers"] = ticks = _next_ticks(ledger)
            lines += [f"timer {visible(name)} ticks next at {at}" for name, at in ticks.items()]
        self._tell("decided", agent, "\n".join([head, *(f"    {line}" for line in lines)]), facts)

    def _tell(self, kind: str, agent: AgentRef | None, text: str, facts: dict[str, Any]) -> None:
        time = self._clock()
        if self._form == "json":
            record = {"time": time, "kind": kind, **({"agent": str(agent)} if agent else {}), **facts}
            text = json.dumps(
                {key: value for key, value in record.items() if value is not None}, ensure_ascii=False
            )
        elif agent is not None:
            text = f"{_dim(time[11:23])} {click.style(agent.name, fg='blue')} {text}"
        with suppress(OSError, ValueError):  # standard output is closed; the Agents go on
            click.echo(text, file=self._stream, color=self._color)


class ConsoleLog(logging.Handler):
    """A logging handler that prints warnings in the console's style."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Show it."""
        self._console.logged(record)


def shorten_value(value: object) -> str:
    """A value as JSON, cut to one line."""
    text = visible(json.dumps(_plain(value), ensure_ascii=False, default=str))
    width = max(MAX_DATA_CHARS, shutil.get_terminal_size().columns)
    return text if len(text) <= width else f"{text[:width]}… ({len(text)} characters)"


def _plain(data: object) -> Json:
    return f"{len(data)} bytes" if isinstance(data, bytes) else data  # type: ignore[return-value]


def _outcome(decision: Decision) -> str:
    session = f" in {visible(decision.session)}" if decision.session else ""
    match decision.outcome:
        case "handled":
            return _dim(f"handled by {', '.join(decision.handlers)}{session}")
        case "dead_lettered":
            return _red("dead-lettered")
        case other:
            return _dim(other.replace("duplicates", "a duplicate"))


def _consequences(decision: Decision) -> list[str]:
    lines: list[str] = []
    if decision.letter is not None:
        where = f"handler {decision.letter.handler}: " if decision.letter.handler else ""
        lines.append(_red(visible(f"{where}{decision.letter.code}: {decision.letter.message}")))
    if decision.after is not None and decision.after != decision.before:
        lines.append(f"state {shorten_value(decision.after)}")
    lines += [line for effect in decision.effects if (line := _effect(effect))]
    if decision.outcome == "handled" and decision.before is not None and decision.after is None:
        lines.append(_dim("the session is over"))
    return lines


def _next_ticks(ledger: Ledger) -> dict[str, str]:
    return {name: timer.next_at for name, timer in ledger.timers.items() if timer.next_at is not None}


def _effect(effect: Effect) -> str:
    match effect:
        case StartTask(id=task_id, record=record):
            if record.phase == "Queued":
                return f"{_yellow('▶ queue')} {task_id}"
            attempt = f" attempt {record.attempt}" if record.attempt > 1 else ""
            return (
                f"{_yellow('▶ start')} {task_id}{attempt} {shorten_value(record.input)}{_ledger_work(record)}"
            )
        case CancelTask():
            return f"{_yellow('▶ cancel')} {effect.id}"
        case Publish() if effect.owed.event is not None:
            event = json.loads(effect.owed.event)
            return f"{_green('▶ emit')} {_cyan(visible(event['type']))} {shorten_value(event.get('data'))}"
        case _:
            return ""


def _ledger_work(record: PendingTask) -> str:
    """What an approval asks, and until when it or a wait lasts."""
    if record.kind not in LEDGER_KINDS:
        return ""
    work = describe_ledger_work(record)
    title = f" asks: {visible(work['title'])}" if "title" in work else ""
    return title + (f" until {work['until']}" if "until" in work else "")


def _facts(effect: Effect) -> dict[str, Any]:
    match effect:
        case StartTask():
            did = "queue" if effect.record.phase == "Queued" else "start"
            more: dict[str, Any] = {"attempt": effect.record.attempt} if effect.record.attempt > 1 else {}
            more |= describe_ledger_work(effect.record) if effect.record.kind in LEDGER_KINDS else {}
            return {did: effect.id, "task": effect.record.task, "input": effect.record.input, **more}
        case CancelTask():
            return {"cancel": effect.id}
        case Publish():
            event = json.loads(effect.owed.event) if effect.owed.event else None
            return {"emit": event} if event else {"deadLetter": effect.id}


def _bold(text: str) -> str:
    return click.style(text, bold=True)


def _dim(text: str) -> str:
    return click.style(text, dim=True)


def _red(text: str) -> str:
    return click.style(text, fg="red")


def _green(text: str) -> str:
    return click.style(text, fg="green")


def _yellow(text: str) -> str:
    return click.style(text, fg="yellow")


def _cyan(text: str) -> str:
    return click.style(text, fg="cyan")
