"""`heed broker-keys`: all that a nats-server and Heed need to know each other, as a Secret."""

from pathlib import Path

import click

from heed.bus.auth import accounts
from heed.cli.output import CliError, to_yaml
from heed.util.clock import unix_time


@click.command("broker-keys")
@click.option("--name", default="heed-nats-keys", show_default=True, help="Name of the Secret.")
@click.option("-n", "--namespace", default="heed-system", show_default=True, help="Namespace of the Secret.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the files into this new folder, readable by you only, instead of printing a Secret.",
)
def broker_keys(name: str, namespace: str, output: Path | None) -> None:
    """Make new keys for a broker in JWT mode, and print them as a Secret.

    Include auth.conf in nats-server's configuration. account.seed signs the credentials of Jobs and publishers,
    streams.seed those of who reads the streams; operator.creds are Heed's own, admin.creds may do everything,
    publisher.creds may publish every broadcast event, gateway.creds are the gateway's, and subscriptions.creds too,
    where it delivers events to Subscriptions.

    \b
    Examples:
      heed broker-keys -n heed-system | kubectl apply -f -
      heed broker-keys --output keys && nats-server -js -c keys/auth.conf
    """
    keys = accounts.make_broker_keys(int(unix_time()))
    if output is None:
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "type": "Opaque",
            "stringData": dict(keys),
        }
        click.echo(to_yaml(secret), nl=False)
        return
    try:
        output.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise CliError(f"{output} is there already; name a new folder, keys are never overwritten") from None
    for file, content in keys.items():
        path = output / file
        path.touch(mode=0o600)
        path.write_text(content)
    click.echo(f"wrote {', '.join(keys)} into {output}", err=True)
