"""`heed dev`: run Agents from files, without a cluster."""

import asyncio
import errno
import json
import logging
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from heed.api.agent import Agent
from heed.bus.client.addresses import public_url
from heed.cli.broker_url import URL_VARIABLE, check_url
from heed.cli.output import BadInput, to_cli_error
from heed.cli.prog_name import program_name
from heed.cli.sample_data import sample_data
from heed.cli.simulate.scenario import read_script
from heed.core.simulation.task_stubs import TaskStub
from heed.core.type_patterns import matches
from heed.errors import HeedError, InvalidSettings
from heed.local.assembly import open_dev_server
from heed.local.console import Console, ConsoleFormat, ConsoleLog
from heed.local.dev_server import DevServer
from heed.local.nats_server import DEFAULT_PORT
from heed.local.stub_script import StubScript
from heed.logging import configure_logging
from heed.settings import Settings
from heed.util.addresses import is_loopback
from heed.util.clock import timestamp


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "-f",
    "--filename",
    "named",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A manifest, a folder of manifests or a Python file; repeatable, or written without -f.",
)
@click.option("--nats", "url", metavar="URL", help="Join this broker.  [default: start one]")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".heed"),
    show_default=True,
    help="Where streams, ledgers and tasks are kept.",
)
@click.option(
    "--gateway",
    "gateway",
    metavar="HOST:PORT",
    help="Take events by HTTP, too, on this loopback address; port 0 is any free one. Needs heed[operator].  "
    "[default: do not]",
)
@click.option(
    "--script",
    "script",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A script of stubs as for heed simulate: what becomes of the objects of resource tasks.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def dev(
    files: tuple[Path, ...],
    named: tuple[Path, ...],
    url: str | None,
    folder: Path,
    gateway: str | None,
    script: Path | None,
    output: ConsoleFormat,
) -> None:
    """Run Agents from manifests and Python files on this machine. Reloads on every edit.

    Jobs and the code of Agents run as child processes.

    There is no cluster: a script plays the controllers of objects that resource tasks would create.

    \b
    Examples:
      heed dev agent.py
      heed dev -f agent.yaml
      heed dev -f agents/ --nats nats://broker:4222 -o json
      heed dev -f agent.yaml --gateway 127.0.0.1:8090
      heed dev -f agent.yaml --script stubs.yaml
    """
    console, paths = make_console(output), (*files, *named)
    try:
        _check_given(paths, url)
        listen = None if gateway is None else parse_loopback(gateway)
        stubs = None if script is None else StubScript(script, partial(read_stubs, str(script)))
        asyncio.run(_dev(DevPlan(paths, url, folder, listen, stubs), console))
    except HeedError as error:
        raise to_cli_error(error) from None


def read_stubs(source: str, tasks: Sequence[str]) -> Sequence[TaskStub]:
    """The stubs of a script for these tasks; `after` counts in simulations only. Raises InvalidSettings."""
    try:
        return read_script(source, tasks, None)
    except BadInput as error:
        raise InvalidSettings(error.message) from None


def _check_given(paths: Sequence[Path], url: str | None) -> None:
    """Raise InvalidSettings for what cannot be used of what was given."""
    if not paths:
        raise InvalidSettings("there is no file to run; name one: heed dev agent.py")
    for path in paths:
        if not path.exists():
            raise InvalidSettings(f"{path}: cannot be read: {os.strerror(errno.ENOENT)}")
    if url is not None:
        check_url(url)


def parse_loopback(text: str) -> tuple[str, int]:
    """Host and port. Raises InvalidSettings where others than this machine could reach them: all may publish there."""
    host, port = _split(text)
    if not host or port is None:
        raise InvalidSettings(f"--gateway {text}: write HOST:PORT, such as 127.0.0.1:8090")
    if not is_loopback(host):
        remedy = "without a cluster there is nothing to tell senders apart by; use 127.0.0.1, or deploy heed gateway"
        raise InvalidSettings(f"--gateway {text}: {host} is no loopback address; {remedy}")
    return host, port


def _split(text: str) -> tuple[str, int | None]:
    """Host and port; neither where there is more, or less."""
    try:
        parts = urlsplit(f"//{text}")
        return (parts.hostname or "", parts.port) if parts.netloc == text and "@" not in text else ("", None)
    except ValueError:
        return "", None


def make_console(form: ConsoleFormat = "text") -> Console:
    """The console on standard output, which also shows log warnings."""
    configure_logging("text", "warning")
    console = Console(sys.stdout, timestamp, form=form, color=use_colors())
    logging.getLogger().handlers[:] = [ConsoleLog(console)]
    return console


def use_colors() -> bool | None:
    """Whether to use colours: never where NO_COLOR is set, else (None) on a terminal."""
    return False if os.environ.get("NO_COLOR") else None


@dataclass(frozen=True, slots=True)
class DevPlan:
    """What `heed dev` was told: manifests, the broker to join, its folder, where its gateway listens, and a script."""

    paths: Sequence[Path]
    url: str | None
    folder: Path
    listen: tuple[str, int] | None
    script: StubScript | None


async def _dev(plan: DevPlan, console: Console) -> None:
    stop, started = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    working = asyncio.create_task(_work(plan, console, started, stop))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not started.is_set():
        working.cancel()  # a start may take long; once started, it stops by itself
    with suppress(asyncio.CancelledError):
        await working
    console.say(f"stopped; ledgers and unfinished tasks are kept in {plan.folder}")


async def _work(plan: DevPlan, console: Console, started: asyncio.Event, stop: asyncio.Event) -> None:
    settings = Settings.from_environment()
    if plan.url is None and os.environ.get(URL_VARIABLE):
        joined = f"--nats {public_url(settings.nats_url)} would join it"
        console.say(f"{URL_VARIABLE} is for commands that publish: this starts a broker of its own; {joined}")
    async with AsyncExitStack() as closing:
        opening = open_dev_server(
            plan.paths,
            plan.folder,
            console,
            settings,
            url=plan.url,
            port=DEFAULT_PORT,
            script=plan.script,
        )
        bench = await closing.enter_async_context(opening)
        started.set()
        console.say(f"broker {bench.url}", url=bench.url)
        if plan.listen is not None:
            where = await closing.enter_async_context(
                _serve_gateway(plan.paths, bench, settings, plan.listen)
            )
            console.say(f"gateway {where}", gateway=where)
        for command in suggest_commands(bench.agents, bench.url):
            console.say(f"try  {click.style(command, bold=True)}", command=command)
        await bench.watch(stop)


@asynccontextmanager
async def _serve_gateway(
    paths: Sequence[Path], bench: DevServer, settings: Settings, listen: tuple[str, int]
) -> AsyncIterator[str]:
    """The gateway beside the Agents, for this machine only. Gives its URL. Raises InvalidSettings."""
    from heed.gateway.local import serve_local_gateway  # HTTP: not everybody wants it

    async with serve_local_gateway(
        settings, bench.bus.connection, listen, paths, lambda: [agent.metadata for agent in bench.agents]
    ) as (host, port):
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def suggest_commands(agents: Iterable[Agent], url: str) -> list[str]:
    """Commands to try: each publishes an event that the Agents heed."""
    return [
        publish_command(type_, agent.metadata.namespace, _sample(agent, type_), url)
        for agent in agents
        for type_ in dict.fromkeys(_example(item.type) for item in agent.spec.subscribe)
    ]


def publish_command(type_: str, namespace: str, data: object, url: str | None = None) -> str:
    """The command line that publishes an event."""
    words = [program_name(), "publish", type_, "--data", json.dumps(data, ensure_ascii=False)]
    words += ["-n", namespace] if namespace != "default" else []
    return shlex.join([*words, "--nats", url] if url else words)


def _example(pattern: str) -> str:
    return ".".join("example" if token in "*>" else token for token in pattern.split("."))


def _sample(agent: Agent, type_: str) -> dict[str, Any]:
    """Data with what the Agent's expressions for events of this type look at."""
    subscriptions = [item for item in agent.spec.subscribe if matches(item.type, type_)]
    handlers = [item for item in agent.spec.handlers if matches(item.type, type_)]
    return sample_data([item.model_dump() for item in (*subscriptions, *handlers)])
