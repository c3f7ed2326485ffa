"""`heed simulate`: try Agents on events, with the operator's own decisions and nothing else of the world."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import click

from heed.cli.manifest_files import STDIN, load_agents
from heed.cli.output import BadInput, CliError, OutputFormat, inline_json, output_option, paint, show_data
from heed.cli.simulate.options import Advance, Until
from heed.cli.simulate.render import narrate
from heed.cli.simulate.scenario import option_rules, read_events, read_expectation, read_script
from heed.core.compiler.program import Program
from heed.core.decision.code import Answers as CodeAnswers
from heed.core.effects import AgentRef
from heed.core.simulation.assertions import NOTHING, Mismatch, find_unmet
from heed.core.simulation.report import build_report
from heed.core.simulation.simulator import MAX_SIMULATED_MESSAGES
from heed.core.simulation.simulator import simulate as run_simulation
from heed.core.simulation.steps import SimulatedMessage, SimulationRun
from heed.core.simulation.task_stubs import TaskStub, answer_from
from heed.core.simulation.world import with_uid
from heed.util.terminal import visible


@click.command()
@click.argument("events", metavar="[EVENTS]", required=False)
@click.option(
    "-f",
    "--filename",
    "filenames",
    metavar="FILE",
    multiple=True,
    required=True,
    help="Agents, and policies, grants and event types for them: a manifest or a folder; repeatable.",
)
@click.option(
    "--complete", "completed", metavar="TASK=JSON", multiple=True, help="Every run of TASK gives this result."
)
@click.option("--fail", "failed", metavar="TASK=REASON", multiple=True, help="Every run of TASK fails so.")
@click.option("--script", metavar="FILE", help="Rules that answer tasks; the two options above win over it.")
@click.option("--expect", metavar="FILE", help="What should come out; exit with 1 where it did not.")
@click.option(
    "--allow-dead-letters", is_flag=True, help="Exit with 0 where events could not be decided, too."
)
@click.option("--allow-unheard", is_flag=True, help="Exit with 0 where no Agent heeds an event, too.")
@click.option("-n", "--namespace", help="Namespace of the events.  [default: that of the Agents]")
@click.option("--shuffle", metavar="SEED", help="Store waiting messages in another order, fixed by any SEED.")
@click.option(
    "--until",
    type=Until(),
    metavar="N|TIME",
    help="Stop after N messages of the stream; or let the clock run on to a TIME, such as 2026-01-01T12:00:00Z.",
)
@click.option(
    "--advance",
    type=Advance(),
    metavar="DURATION",
    help="Let the clock run on for so long after the last event, such as 90s or 24h: waits end, deadlines pass.",
)
@output_option
def simulate(events: str | None, filenames: Sequence[str], output: OutputFormat, **options: Any) -> None:
    """Let Agents decide the events in EVENTS (a file, or - for standard input), without cluster or broker.

    EVENTS holds one CloudEvent per line, as JSON. Only `type` is needed: a missing id becomes line-<n>, the source
    /simulate, and time is 2026-01-01 plus a second per message. `"to": "<agent>"` makes it a direct message. Each
    event is stored after everything that came of the one before: emitted events, and the ends of tasks that
    --complete, --fail or --script answer. Other tasks stay pending. What is due by the time of an event (the end of a
    wait, a deadline, a tick of a timer) comes before it; --until and --advance let time pass after the last one, or
    alone where there is no EVENTS.

    \b
    Events:
      {"type": "com.example.question.asked", "data": {"topic": "tides"}}
      # blank lines and comments are skipped
      {"type": "com.example.hint", "to": "researcher", "correlationid": "line-1"}

    \b
    --script FILE, a list; the first rule that fits a start answers it:
      - {task: research, when: input.topic == "tides", result: {answer: "moon, ${input.topic}"}}
      - {task: research, times: 1, reason: JobFailed, message: out of luck, exitCode: 3}
      - {task: research, run: 3, result: {answer: the third}}      # answers the third start only
      - {task: research, after: line-2, result: {answer: late}}    # ends after the given event of that id
      - {task: build, objects: [{status: {phase: Running}}, {status: {phase: Ready}}]}   # of a resource, in turn

    \b
    --expect FILE, any of these; maps may hold more than expected, lists not:
      agents: {researcher: {sessions: {line-1: {state: {topic: tides}}}, totals: {handled: 2}}}
      emitted: [com.example.question.answered]      # or [{type: …, data: {…}}]
      tasks: [{task: research, input: {topic: tides}}]
      deadLetters: 0                                # or [{code: ExpressionFailed}]
      unheard: [com.example.typo]                   # given events that no Agent heeds; or their number
      pending: 0
      outcomes: {handled: 2, ignored: 0}            # ignored, stale, duplicate, deadLettered, due, held

    \b
    Example:
      heed simulate -f agent.yaml events.jsonl --complete research='{"answer": "42"}'

    Exits with 1 where an expectation is not met, the Agents seem to loop, or an event was dead-lettered or heeded
    by no Agent, unless an option or the expectation (`deadLetters`, `outcomes.deadLettered`, `unheard`) allows that;
    with 2 where EVENTS or a file other than a manifest cannot be used.
    """
    if [events, *filenames, options["script"], options["expect"]].count(STDIN) > 1:
        raise click.UsageError("Only one file can be standard input")
    if events is None and options["advance"] is None and not isinstance(options["until"], datetime):
        raise click.UsageError(
            "Missing argument 'EVENTS', or --advance (or --until TIME) to let time pass alone."
        )
    loaded = load_agents(filenames)
    programs = [with_uid(item.program) for item in loaded]
    code = {
        program.agent: answers
        for program, item in zip(programs, loaded, strict=True)
        if (answers := item.answers) is not None
    }
    for note in _list_ignored(programs):
        click.echo(f"note: {note}", err=True)
    agents = [str(program.agent) for program in programs]
    expected = None if options["expect"] is None else read_expectation(options["expect"], agents)
    run = _run(programs, events, options, code)
    report = build_report(run)
    if output == "text":
        narrate(report)
    else:
        show_data(report, output)
    _check_end(run, report, options["until"])
    surprises = list(_surprises(report, expected or {}, options))
    differences = [] if expected is None else find_unmet(expected, report)
    if expected is not None and (differences or not surprises):
        _show_check(differences, output)
    if surprises:
        raise CliError("\n".join(surprises))
    if differences:
        raise click.exceptions.Exit(1)


def _list_ignored(programs: Sequence[Program]) -> Iterator[str]:
    """What the manifests say about pace, which a simulation does not keep."""
    for program in programs:
        spec = program.manifest.spec
        if spec.suspend:
            yield f"{program.agent} is suspended; it reads all the same here"
        if spec.rate_limit is not None:
            yield f"{program.agent} is limited to {spec.rate_limit}; it reads as fast as they come here"


def _run(
    programs: Sequence[Program],
    events: str | None,
    options: dict[str, Any],
    code: Mapping[AgentRef, CodeAnswers],
) -> SimulationRun:
    until, namespace = options["until"], _namespace(programs, options["namespace"])
    given = [] if events is None else read_events(events, programs, namespace)
    return run_simulation(
        programs,
        given,
        answer_from(_rules(programs, given, options)),
        limit=until if isinstance(until, int) else len(given) + MAX_SIMULATED_MESSAGES,
        shuffle=options["shuffle"],
        until=until if isinstance(until, datetime) else None,
        advance=options["advance"] or timedelta(0),
        code=code,
    )


def _rules(
    programs: Sequence[Program], given: Sequence[SimulatedMessage], options: dict[str, Any]
) -> list[TaskStub]:
    tasks = list(dict.fromkeys(name for program in programs for name in program.tasks))
    rules = list(option_rules(options["completed"], options["failed"], tasks))
    if options["script"] is None:
        return rules
    return rules + read_script(options["script"], tasks, [message.event.id for message in given])


def _namespace(programs: Sequence[Program], chosen: str | None) -> str:
    """Where the events are published: no Agent hears what is in another namespace, unless it subscribes to it."""
    found = sorted({program.agent.namespace for program in programs})
    if chosen is None and len(found) > 1:
        raise BadInput(f"the Agents are in namespaces {', '.join(found)}; say with -n where the events are")
    read = {item.namespace for program in programs for item in program.subscriptions if item.namespace}
    if chosen is not None and chosen not in (*found, *read):
        raise BadInput(f"-n {chosen}: the Agents are in {', '.join(found)}")
    return chosen or found[0]


def _check_end(run: SimulationRun, report: dict[str, Any], until: int | datetime | None) -> None:
    looped = [letter for letter in report["letters"] if letter["code"] == "HopLimit"]
    if run.waiting and not isinstance(until, int):
        ended = f"stopped after {len(run.steps)} messages"
    elif looped:
        ended = f"event #{looped[0]['sequence']} exceeded the limit of hops"
    else:
        return
    types = ", ".join(f"{type_} ({count} times)" for type_, count in run.busiest())
    raise CliError(
        f"{ended}: the Agents seem to be in an endless loop of {types}; look at the first messages with --until 20"
    )


def _surprises(report: dict[str, Any], expected: dict[str, Any], options: dict[str, Any]) -> Iterator[str]:
    """What hardly is as the author means it, unless an option or the expectation says that it is."""
    letters, unheard = report["letters"], report["unheard"]
    foreseen = "deadLetters" in expected or "deadLettered" in expected.get("outcomes", {})
    if letters and not foreseen and not options["allow_dead_letters"]:
        first = f"#{letters[0]['sequence']} {letters[0]['type']}: {letters[0]['code']}"
        remedy = "mend the cause, or say --allow-dead-letters, or expect `deadLetters`"
        yield f"{_events(len(letters))} dead-lettered, first {first}; {remedy}"
    if unheard and "unheard" not in expected and not options["allow_unheard"]:
        first = f"#{unheard[0]['sequence']} {unheard[0]['type']}: {unheard[0]['why']}"
        remedy = "or say --allow-unheard, or expect `unheard`"
        yield f"{_events(len(unheard))} heeded by no Agent, first {first}; {remedy}"


def _events(count: int) -> str:
    return "1 event was" if count == 1 else f"{count} events were"


def _show_check(differences: Sequence[Mismatch], output: OutputFormat) -> None:
    """Say which expectations were not met, if any; on standard error where the output is for machines."""
    err = output != "text"
    if not differences:
        click.echo(paint("as expected", "green"), err=err)
        return
    count = len(differences)
    click.echo(paint(f"not as expected in {count} {'place' if count == 1 else 'places'}:", "red"), err=True)
    for item in differences:
        click.echo(f"  {visible(item.path)}", err=True)
        click.echo(paint(f"    - expected {_value(item.expected)}", "red"), err=True)
        click.echo(paint(f"    + found    {_value(item.found)}", "green"), err=True)


def _value(value: Any) -> str:
    return "nothing" if value is NOTHING else inline_json(value)
