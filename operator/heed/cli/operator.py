"""`heed operator`: the process that runs in the cluster."""

import asyncio
import gc
from typing import Any

import click

from heed.cli.process_options import process_options, read_settings


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
@process_options
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
