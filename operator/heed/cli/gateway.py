"""`heed gateway`: the process that takes events by HTTP in the cluster."""

import asyncio
import gc
from dataclasses import replace
from typing import Any

import click

from heed.cli.process_options import process_options, read_settings
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
    help="Serve this namespace only.  [default: all]",
)
@click.option(
    "--port",
    "gateway_port",
    type=click.IntRange(1, 65535),
    envvar="HEED_GATEWAY_PORT",
    show_envvar=True,
    help="Port of the HTTP API.  [default: 8090]",
)
@click.option(
    "--certificate",
    "gateway_certificate",
    metavar="FOLDER",
    envvar="HEED_GATEWAY_CERTIFICATE",
    show_envvar=True,
    help="Folder with tls.crt and tls.key, read again when they change.  [default: plain HTTP]",
)
@process_options
def gateway(gateway_port: int | None, gateway_certificate: str | None, **options: Any) -> None:
    """Take events by HTTP for the Agents of a cluster: the current kubeconfig's, or the one that this pod is in.

    Options win over their environment variables. HEED_NATS_CREDENTIALS and HEED_NATS_CA name the files that the
    broker asks for.
    """
    settings = _settings(options, gateway_port, gateway_certificate)
    gc.disable()
    from heed.gateway.manager import run_gateway  # aiohttp and kubernetes
    from heed.logging import configure_logging

    gc.freeze()
    gc.enable()
    configure_logging(settings.log_format, settings.log_level)
    asyncio.run(run_gateway(settings))


def _settings(options: dict[str, Any], port: int | None, certificate: str | None) -> Settings:
    settings = read_settings(options)
    given = {"port": port, "certificate": certificate}
    chosen = {name: value for name, value in given.items() if value is not None}
    return replace(settings, gateway=replace(settings.gateway, **chosen))  # type: ignore[arg-type]
