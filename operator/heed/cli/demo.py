"""`heed demo`: an example from its first event to the last, in seconds, without a cluster."""

import asyncio
import os
import shlex
import tempfile
from pathlib import Path

import click

import heed
from heed.cli.dev import make_console, publish_command
from heed.cli.output import to_cli_error, to_yaml
from heed.cli.prog_name import program_name
from heed.errors import HeedError
from heed.local.assembly import open_dev_server
from heed.local.console import Console, shorten_value
from heed.local.demo import DemoFailed, find_listening, read_events, run_example, status
from heed.settings import Settings


@click.command()
@click.option(
    "--example",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with manifests and event*.json.  [default: examples/research of the source checkout]",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds to wait for the follow-up event.",
)
def demo(example: Path | None, timeout: float) -> None:
    """Run an example Agent on a real JetStream, without a cluster, and show the run.

    \b
    Examples:
      heed demo
      heed demo --example my/agent
    """
    console = make_console()
    try:
        asyncio.run(_demo(example or _research(), timeout, console))
    except HeedError as error:
        raise to_cli_error(error) from None


def _research() -> Path:
    folder = Path(heed.__file__).parents[2] / "examples" / "research"
    if not folder.is_dir():
        raise click.UsageError("this Heed was installed without its examples; give a folder with --example")
    return Path(os.path.relpath(folder))


async def _demo(example: Path, timeout: float, console: Console) -> None:
    events = read_events(example)
    with tempfile.TemporaryDirectory(prefix="heed-demo-") as folder:
        _heading(console, f"An Agent from {example}, on a nats-server of its own")
        settings = Settings.from_environment()
        async with open_dev_server([example], Path(folder), console, settings, url=None, port=None) as bench:
            if not bench.agents:
                raise DemoFailed(f"{example} has no Agent that could be run")
            _heading(console, "An event, and what the Agent makes of it")
            followed = await run_example(bench, events, console, timeout)
            _heading(console, "The event that followed")
            console.say(f"{followed.type} {shorten_value(followed.data)}")
            for key, loop in bench.loops.items():
                _heading(console, f"What Agent {'/'.join(key)} remembers: its status")
                console.say(to_yaml({"status": status(loop)}).rstrip())
            commands = [
                publish_command(event.type, namespace, event.data)
                for event in events
                for namespace in find_listening(bench, event)
            ]
    _heading(console, "Next")
    console.say(f"{shlex.join([program_name(), 'dev', '-f', str(example)])}    and in another terminal")
    for command in commands:
        console.say(command)
    console.say(f"then edit what is in {example}: heed dev reloads it while it runs")


def _heading(console: Console, text: str) -> None:
    console.say(f"\n{click.style(f'── {text}', bold=True)}")
