"""A simulation told to people."""

import shlex
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from heed import names
from heed.api.task import job_containers
from heed.cli.output import inline_json, paint, show_table
from heed.util.terminal import visible

Json = Mapping[str, Any]

MAX_VALUE_CHARS: Final = 300  # characters of a value, where the terminal is not wider
MAX_COMMAND_CHARS: Final = 100  # characters of a command
_COLOURS: Final = {"handled": "green", "deadLettered": "red"}
_ORIGINS: Final = {
    "given": "",
    "emitted": "  (emitted)",
    "task": "  (task end)",
    "released": "  (released)",
}
_COLUMNS: Final = {
    "HANDLED": "handled",
    "IGNORED": "ignored",
    "STALE": "stale",
    "DUPLICATES": "duplicates",
    "DEAD": "deadLettered",
    "EMITTED": "emitted",
    "TASKS": "tasksStarted",
}


def narrate(report: Json) -> None:
    """Print a transcript as text."""
    unheard = {item["sequence"]: item["why"] for item in report["unheard"]}
    for step in report["events"]:
        event = step["event"]
        head = (
            f"#{step['sequence']}  {paint(visible(event['type']), 'cyan', bold=True)}  {visible(event['id'])}"
        )
        click.echo(head + _origin(step))
        for delivery in step["deliveries"]:
            for line in _delivery(delivery):
                click.echo(f"    {line}")
        if (why := unheard.get(step["sequence"])) is not None:
            click.echo(paint(f"    {visible(why)}", "red"))
        elif not step["deliveries"]:
            click.echo("    no Agent heeds it")
    if report["events"]:
        click.echo()
    _end(report)


def _origin(step: Json) -> str:
    """Where an event comes from, where it was not given; of what is due, when that was."""
    if step["origin"] == "due":
        return f"  (due at {_brief_time(step['time'])})"
    if step["origin"] == "task" and step["event"]["type"] == names.TASK_PROGRESS:
        return "  (task progress)"
    return _ORIGINS[step["origin"]]


def _delivery(delivery: Json) -> Iterator[str]:
    outcome = paint(delivery["outcome"], _COLOURS.get(delivery["outcome"], "yellow"))
    session = "" if delivery["session"] is None else f", session {visible(delivery['session'])}"
    handlers = f" by {', '.join(delivery['handlers'])}" if delivery["handlers"] else ""
    why = "" if delivery["why"] is None else f": {visible(delivery['why'])}"
    yield f"{delivery['agent']}: {outcome}{handlers}{session}{why}"
    if delivery["handlers"]:
        yield from _changes(delivery["before"], delivery["after"])
    for task in delivery["tasks"]:
        which = f"  attempt {task['attempt']}" if task["attempt"] > 1 else ""
        yield f"  start   {paint(task['id'], bold=True)}{which}  {_brief(task['input'])}"
        if work := _work(task):
            yield f"          {work}"
    for task_id in delivery["queued"]:
        yield f"  queue   {task_id}"
    for event in delivery["emitted"]:
        data = "" if "data" not in event else f"  {_brief(event['data'])}"
        yield f"  emit    {paint(visible(event['type']), bold=True)}{data}"
    for task_id in delivery["cancelled"]:
        yield f"  cancel  {task_id}"
    if (letter := delivery["letter"]) is not None:
        where = f" in {letter['handler']}" if letter["handler"] else ""
        yield paint(f"  dead letter: {letter['code']}{where}: {visible(letter['message'])}", "red")


def _work(task: Json) -> str:
    """What is done: a Job's command, a resource's object, what an approval asks, until when to wait, what is called."""
    spec = task["spec"]
    match task["kind"]:
        case "resource":
            return visible(f"{spec['template']['kind']} of {spec['template']['apiVersion']}")
        case "approval":
            until = f", until {_brief_time(spec['until'])}" if "until" in spec else ""
            return f"asks: {visible(spec['title'])}{until}"
        case "wait":
            return f"until {_brief_time(spec['until'])}"
        case "http":
            return f"calls {visible(str(spec['url']))}"
        case _:
            return _command(spec)


def _brief_time(text: str) -> str:
    """A time without a fraction of a second that is none."""
    return text.replace(".000000Z", "Z")


def _command(spec: Any) -> str:
    """What the first container of a Job runs; -o json shows all of it."""
    containers = job_containers(spec) if isinstance(spec, dict) else []
    if not containers:
        return ""
    words = [*_words(containers[0].get("command")), *_words(containers[0].get("args"))]
    image = containers[0].get("image")
    text = " ".join([*([f"{image}:"] if isinstance(image, str) else []), *map(shlex.quote, words)])
    text = visible(text.replace("\n", "⏎"))
    return text if len(text) <= MAX_COMMAND_CHARS else text[: MAX_COMMAND_CHARS - 1] + "…"


def _brief(value: Any) -> str:
    """A value in one line, which a terminal that is wider shows more of."""
    return inline_json(value, max(MAX_VALUE_CHARS, shutil.get_terminal_size().columns))


def _words(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _changes(before: Json | None, after: Json | None) -> Iterator[str]:
    """The state as a diff by key."""
    old, new = before or {}, after or {}
    for key in sorted({*old, *new}):
        name = visible(key)
        if key not in new:
            yield paint(f"  state   - {name}: {_brief(old[key])}", "red")
        elif key not in old:
            yield paint(f"  state   + {name}: {_brief(new[key])}", "green")
        elif old[key] != new[key]:
            change = f"{_brief(old[key])} → {_brief(new[key])}"
            yield paint(f"  state   ~ {name}: {change}", "yellow")
    if before is not None and after is None:
        yield "  session ended"


def _end(report: Json) -> None:
    rows = [
        [name, *(str(status["totals"].get(total, 0)) for total in _COLUMNS.values())]
        for name, status in report["agents"].items()
    ]
    show_table(["AGENT", *_COLUMNS], rows)
    for name, status in report["agents"].items():
        for key, session in status["sessions"].items():
            click.echo(f"{name}: session {visible(key)} remembers {_brief(session['state'])}")
    for task in report["pending"]:
        where = f"{task['agent']}: {task['id']} is pending in session {visible(task['session'])}"
        click.echo(paint(f"{where}; {_pending_hint(task)}", "yellow"))
    for item in report["held"]:
        until = f"session {visible(item['session'])} lets it go on, or it is {item['until']}"
        click.echo(
            paint(
                f"{item['agent']}: #{item['sequence']} is held by {item['handler']} until {until}", "yellow"
            )
        )
    for letter in report["letters"]:
        text = f"{letter['agent']}: dead letter #{letter['sequence']} {letter['type']}: {letter['code']}"
        click.echo(paint(visible(text), "red"))
    if report["waiting"]:
        click.echo(paint(f"stopped; {report['waiting']} messages were waiting", "yellow"))


def _pending_hint(task: Json) -> str:
    """What a task waits for that did not end, and how a simulation gets there."""
    due = None if task["due"] is None else f"{_brief_time(task['due'])}: --advance or --until goes there"
    match task["phase"], task["kind"]:
        case "Queued", _:
            return "it waits for a slot"
        case "Retrying", _:
            return f"its next attempt is due at {due}"
        case _, "wait":
            return f"it is over at {due}"
        case _, "approval":
            answer = f"--complete {task['task']}=CHOICE would answer it"
            return answer if due is None else f"{answer}; its timeout is at {due}"
        case _:
            return f"--complete {task['task']}=JSON would end it"
