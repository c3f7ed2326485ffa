"""What `heed dev` shows is for eyes: nothing that a job writes may steer the terminal."""

import io
import json
import logging
import shutil
from dataclasses import replace
from os import terminal_size

import pytest

from heed import names
from heed.api.status import Cursor
from heed.core.compiler.program import Program
from heed.core.due.timers import scheduling_event
from heed.core.effects import AgentRef, TaskEnd
from heed.core.events import Event, Received
from heed.core.ledger.ledger import Ledger
from heed.errors import Problem
from heed.local.console import MAX_DATA_CHARS, Console, ConsoleFormat, ConsoleLog, shorten_value
from tests.builders.agents import ASKED, NAMESPACE, asking, job, nap, program
from tests.builders.decisions import decide_each, only_task
from tests.builders.events import at, received

AGENT = AgentRef("default", "greeter", "uid")
EVIL = "\x1b]0;owned\x07 \x9b2J \u202etxt"
SHOWN = "\\u001b]0;owned\\u0007 \\u009b2J \\u202etxt"


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def console(stream: io.StringIO, form: ConsoleFormat = "text") -> Console:
    return Console(stream, lambda: "2026-01-01T00:00:00.000Z", form=form, color=False)


def due_timers(agent: Program) -> Received:
    """The event that has an Agent schedule its timers."""
    subject = names.inbox_subject(NAMESPACE, agent.agent.name, names.DUE_TIMERS_CHANGED)
    return Received(1, at(0), subject, scheduling_event(agent, Ledger()))


def test_what_a_job_writes_is_shown_not_obeyed(stream: io.StringIO) -> None:
    one = console(stream)

    one.output(AGENT, "bake-1", EVIL)
    one.reported(AGENT, TaskEnd("bake-1", "1", "", completed=True, result={"text": EVIL}))
    one.reported(AGENT, TaskEnd("bake-1", "1", "", completed=False, reason="JobFailed", message=EVIL))
    one.troubled(AGENT, "start", ValueError(EVIL), 1)
    one.problems([Problem("spec", EVIL)], "nothing runs")
    one.event(Event(id="1", source="/a", type="com.example", data=EVIL))

    written = stream.getvalue()
    assert not set(written) & set("\x1b\x07\x9b\u202e")
    assert written.count(SHOWN) == 6


def test_warnings_look_like_everything_else(stream: io.StringIO) -> None:
    log = logging.Logger("heed.bus")
    log.addHandler(ConsoleLog(console(stream)))

    log.warning("the broker is away", extra={"url": "nats://x\x1b"})

    assert stream.getvalue() == "00:00:00.000 ! the broker is away  url=nats://x\\u001b\n"


def test_warnings_are_json_among_json(stream: io.StringIO) -> None:
    log = logging.Logger("heed.bus")
    log.addHandler(ConsoleLog(console(stream, "json")))

    log.warning("the broker is away")

    assert json.loads(stream.getvalue()) == {
        "time": "2026-01-01T00:00:00.000Z",
        "kind": "log",
        "level": "warning",
        "logger": "heed.bus",
        "text": "the broker is away",
    }


@pytest.mark.parametrize(("columns", "width"), [(80, MAX_DATA_CHARS), (240, 240)])
def test_a_wide_terminal_shows_more(monkeypatch: pytest.MonkeyPatch, columns: int, width: int) -> None:
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: terminal_size((columns, 24)))

    assert shorten_value("x" * 1000) == f'"{"x" * (width - 1)}… (1002 characters)'


def test_an_ignored_event_is_explained(stream: io.StringIO) -> None:
    one, agent = console(stream), program({"when": "event.data == 1"}, {"when": "event.data == 2"})

    one.introduced(agent)
    one.committed(agent.agent, decide_each(agent, [received(1, data=3)]), Ledger())

    assert "ignored: spec.handlers[0].when, spec.handlers[1].when was false" in stream.getvalue()


def test_a_dead_letter_says_which_handler_failed_and_why(stream: io.StringIO) -> None:
    one, agent = console(stream), program({"name": "count", "state": {"n": "${event.data.n}"}})

    one.committed(agent.agent, decide_each(agent, [received(1, data={"m": EVIL})]), Ledger())

    first, second = stream.getvalue().splitlines()
    assert first.endswith(f'{ASKED} {{"m": "{SHOWN}"}} dead-lettered')
    assert second.startswith(
        '    handler count: TemplateFailed: spec.handlers[0].state.n: ${event.data.n}: there is no "n"'
    )


def test_a_dead_letter_has_its_code_for_machines(stream: io.StringIO) -> None:
    one, agent = console(stream, "json"), program({"state": {"n": "${event.data.n}"}})

    one.committed(agent.agent, decide_each(agent, [received(1, data={})]), Ledger())

    record = json.loads(stream.getvalue())
    assert (record["outcome"], record["letter"]["code"]) == ("dead_lettered", "TemplateFailed")
    [effect] = record["effects"]
    assert set(effect) == {"deadLetter"}


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_task_that_is_cancelled_is_named(stream: io.StringIO, form: ConsoleFormat) -> None:
    start, stop = (
        {"start": [{"task": "research"}]},
        {"type": "com.example.stop", "cancel": [{"task": "research"}]},
    )
    one, agent = console(stream, form), program(start, stop, tasks={"research": job()})
    events = [received(1, correlationid="q"), received(2, "com.example.stop", correlationid="q")]
    decisions = decide_each(agent, events)
    task_id = only_task(decisions[0].ledger)

    one.committed(agent.agent, decisions[1:], Ledger())

    if form == "json":
        assert json.loads(stream.getvalue())["effects"] == [{"cancel": task_id}]
    else:
        assert stream.getvalue().splitlines()[1:] == [f"    ▶ cancel {task_id}"]


@pytest.mark.parametrize(
    ("suspend", "said"), [(True, "is suspended, and reads nothing"), (False, "reads on")]
)
def test_a_suspended_agent_does_not_look_as_if_it_read(stream: io.StringIO, suspend: bool, said: str) -> None:
    one, agent = console(stream), program({}, suspend=suspend)
    one.introduced(agent)

    one.resumed(agent.agent, Ledger(cursor=Cursor("HEED", 7)), [])

    assert f"{said} after 7" in stream.getvalue()


def test_what_time_or_people_end_says_so_when_it_starts(stream: io.StringIO) -> None:
    agent = program(
        {"start": [{"task": "buy"}, {"task": "grace"}]},
        tasks={"buy": asking("Buy it?", "2h", onTimeout="reject"), "grace": nap("90s")},
    )
    decisions = decide_each(agent, [received(1)])
    buy, grace = (
        next(key for key, record in decisions[0].ledger.pending_tasks.items() if record.task == name)
        for name in ("buy", "grace")
    )
    until = {key: record.due for key, record in decisions[0].ledger.pending_tasks.items()}
    assert None not in until.values()

    console(stream).committed(agent.agent, decisions, Ledger())
    assert [line for line in stream.getvalue().splitlines() if "start" in line] == [
        f"    ▶ start {buy} null asks: Buy it? until {until[buy]}",
        f"    ▶ start {grace} null until {until[grace]}",
    ]

    stream.truncate(stream.seek(0))
    console(stream, "json").committed(agent.agent, decisions, Ledger())
    effects = {item["start"]: item for item in json.loads(stream.getvalue())["effects"]}
    assert (effects[buy]["title"], effects[buy]["until"]) == ("Buy it?", until[buy])
    assert effects[grace]["until"] == until[grace] and "title" not in effects[grace]


def test_when_timers_tick_next_is_shown_once_they_are_scheduled(stream: io.StringIO) -> None:
    one, agent = console(stream), program({}, timers={"pulse": {"every": "15m"}})
    decisions = decide_each(agent, [due_timers(agent)])
    ledger = decisions[-1].ledger
    (timer,) = ledger.timers.values()
    assert timer.next_at is not None

    one.committed(agent.agent, [replace(decisions[0], ledger=Ledger())], ledger)  # as a loop hands them on
    one.resumed(agent.agent, ledger, [])

    shown = stream.getvalue().splitlines()
    assert shown[1] == f"    timer pulse ticks next at {timer.next_at}"
    assert shown[2].endswith(f"reads on after 1 (next tick at {timer.next_at})")
