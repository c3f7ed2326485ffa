"""`heed worker`: the process that runs the code of an Agent."""

import asyncio

import click

from heed.cli.output import to_cli_error
from heed.errors import HeedError, InvalidSettings
from heed.logging import configure_logging
from heed.sdk.loading import load_agent
from heed.settings import Settings
from heed.worker.main import run_caller, run_worker
from heed.worker.options import WorkerOptions
from heed.worker.secrets import SECRETS_FOLDER


@click.command()
@click.argument("module", metavar="[MODULE[:AGENT]]", required=False)
@click.option(
    "-n",
    "--namespace",
    default="default",
    show_default=True,
    envvar="HEED_NAMESPACE",
    show_envvar=True,
    help="The Agent's namespace.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 10_000),
    default=WorkerOptions().functions,
    show_default=True,
    envvar="HEED_WORKER_CONCURRENCY",
    show_envvar=True,
    help="Function tasks at once. Others wait in the queue, for this worker or another one.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1_000),
    default=WorkerOptions().handlers,
    show_default=True,
    envvar="HEED_WORKER_THREADS",
    show_envvar=True,
    help="Handlers at once, of different sessions.",
)
@click.option(
    "--health-port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    envvar="HEED_WORKER_HEALTH_PORT",
    show_envvar=True,
    help="Port of /healthz and /readyz, which tells whether it is connected and asked; 0: it listens on nothing.",
)
@click.option(
    "--digest",
    envvar="HEED_WORKER_DIGEST",
    show_envvar=True,
    help="Run only if this is the code's digest, as in spec.worker.digest.",
)
@click.option(
    "--agent",
    envvar="HEED_WORKER_AGENT",
    show_envvar=True,
    help="Which Agent it is, where MODULE names none: NAME or NAMESPACE/NAME.",
)
@click.option(
    "--calls",
    type=click.IntRange(1, 100_000),
    envvar="HEED_WORKER_CALLS",
    show_envvar=True,
    help="Make the Agent's calls (http tasks), at most so many at once. Without MODULE that is all it does.",
)
@click.option(
    "--secrets",
    default=SECRETS_FOLDER,
    show_default=True,
    envvar="HEED_WORKER_SECRETS",
    show_envvar=True,
    help="Folder of the Secrets that calls use: SECRET/KEY in files.",
)
def worker(
    module: str | None,
    namespace: str,
    concurrency: int,
    threads: int,
    health_port: int,
    digest: str | None,
    agent: str | None,
    calls: int | None,
    secrets: str,
) -> None:
    """Run the code of an Agent in Python: its handlers and function tasks, for an operator on the same broker.

    Without MODULE it makes the calls of the Agent's http tasks, and runs no code.

    The broker is the one of HEED_NATS_URL, with HEED_NATS_CREDENTIALS where it asks for them. On SIGTERM the worker
    takes nothing more, and ends when what it has begun is done. Any number of workers share the work. In a cluster,
    Heed runs them in a Deployment where the Agent has a spec.worker.template.

    \b
    Examples:
      heed worker agent.py
      heed worker company.agents:researcher -n demo --concurrency 4
      heed worker --agent demo/orders --secrets ./secrets
    """
    try:
        settings = Settings.from_environment()
        configure_logging(settings.log_format, settings.log_level)
        options = WorkerOptions(concurrency, threads, health_port, digest, calls, secrets)
        if agent is not None and "/" in agent:
            namespace, _, agent = agent.partition("/")
        if module is None:
            if agent is None:
                raise InvalidSettings("there is neither MODULE nor --agent; say which Agent's calls to make")
            asyncio.run(run_caller(agent, namespace, settings, options))
            return
        named = module if agent is None or ":" in module else f"{module}:{agent}"
        asyncio.run(run_worker(load_agent(named), namespace, settings, options))
    except HeedError as error:
        raise to_cli_error(error) from None
