"""`heed operator`: the process that runs in the cluster."""

import asyncio
import gc
from dataclasses import replace
from typing import Any

import click

from heed.settings import Settings


@click.command()
@click.option(
    "--nats", "nats_url", metavar="URL", envvar="HEED_NATS_URL", show_envvar=True, help="URL of the broker."
)
@click.option(
    "-n",
    "--namespace",
    envvar="HEED_NAMESPACE",
    show_envvar=True,
    help="Watch this namespace only.  [default: all]",
)
@click.option(
    "--lease",
    metavar="NAME",
    envvar="HEED_LEASE",
    show_envvar=True,
    help="Lease that replicas compete for; none: one operator, without a standby.  [default: heed-operator]",
)
@click.option(
    "--lease-namespace",
    metavar="NAMESPACE",
    envvar="HEED_LEASE_NAMESPACE",
    show_envvar=True,
    help="Namespace of the lease.  [default: the pod's; else the watched one, or default]",
)
@click.option(
    "--identity",
    metavar="NAME",
    envvar="HEED_IDENTITY",
    show_envvar=True,
    help="This replica in the lease.  [default: the pod's name; else host and process]",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    envvar="HEED_LOG_FORMAT",
    show_envvar=True,
    help="Form of the log on standard error.  [default: text]",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    envvar="HEED_LOG_LEVEL",
    show_envvar=True,
    help="Least level that is logged.  [default: info]",
)
@click.option(
    "--health-port",
    type=click.IntRange(0, 65535),
    envvar="HEED_HEALTH_PORT",
    show_envvar=True,
    help="Port of /healthz and /readyz; 0 for none.  [default: 8080]",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    envvar="HEED_METRICS_PORT",
    show_envvar=True,
    help="Port of /metrics; 0 for none.  [default: 9090]",
)
def operator(**options: Any) -> None:
    """Run the Agents of a cluster: the current kubeconfig's, or the one that this pod is in.

    Options win over their environment variables. HEED_NATS_CREDENTIALS and HEED_NATS_CA name the files that the
    broker asks for.
    """
    settings = read_settings(options)
    gc.disable()  # what is imported stays: nothing to look for while it comes, nor ever after
    from heed.kube.manager import run_operator  # kopf and kubernetes: half a second
    from heed.logging import configure_logging

    gc.freeze()
    gc.enable()
    configure_logging(settings.log_format, settings.log_level)
    asyncio.run(run_operator(settings))


def read_settings(options: dict[str, Any]) -> Settings:
    """The settings from the environment, overridden by options. Raises InvalidSettings."""
    given = {name: value for name, value in options.items() if value is not None}
    return replace(Settings.from_environment(), **given)
