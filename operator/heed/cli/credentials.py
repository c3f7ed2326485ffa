"""`heed credentials`: a .creds file for a publisher, an observer or a worker, signed with an account's key."""

import re
from collections.abc import Sequence
from typing import Final, TextIO

import click

from heed import names
from heed.bus.auth.accounts import reserved_subjects
from heed.bus.auth.jwt import SubjectPermissions, UserSigner
from heed.bus.worker_credentials import worker_permissions
from heed.cli.output import BadInput
from heed.errors import InvalidSettings
from heed.util.clock import unix_time

_DURATION: Final = re.compile(r"(\d+)([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.command()
@click.argument("name")
@click.option(
    "-n",
    "--namespace",
    help="Namespace of the events; without it --publish and --subscribe are whole subjects.",
)
@click.option(
    "--publish", "publish", multiple=True, metavar="PATTERN", help="Events that may be published; repeatable."
)
@click.option(
    "--subscribe", "subscribe", multiple=True, metavar="PATTERN", help="Events that may be seen; repeatable."
)
@click.option(
    "--worker",
    metavar="AGENT",
    help="All that a worker of this Agent in the namespace needs, instead of --publish and --subscribe.",
)
@click.option(
    "--inbox", default="_INBOX", show_default=True, metavar="PREFIX", help="Where replies may come."
)
@click.option("--lifetime", default="30d", show_default=True, metavar="DURATION", help="Such as 12h or 30d.")
@click.option(
    "--key",
    type=click.File(),
    envvar="HEED_NATS_SIGNING_KEY",
    show_envvar=True,
    default="-",
    help="File with the seed of the account, or of a signing key of it.  [default: standard input]",
)
@click.option(
    "--account",
    envvar="HEED_NATS_ACCOUNT",
    show_envvar=True,
    help="Public key of the account, where the seed is that of a signing key.",
)
def credentials(
    name: str,
    namespace: str | None,
    publish: tuple[str, ...],
    subscribe: tuple[str, ...],
    worker: str | None,
    inbox: str,
    lifetime: str,
    key: TextIO,
    account: str | None,
) -> None:
    """Print credentials for the broker: a .creds file for a publisher, an observer of events or a worker.

    \b
    Examples:
      heed credentials shop -n shop --publish 'com.example.order.>' --key keys/account.seed > shop.creds
      heed credentials board -n shop --subscribe '>' --key keys/streams.seed > board.creds
      heed credentials researcher -n shop --worker researcher --key keys/workers.seed > worker.creds
      kubectl get secret -n heed-system heed-nats-keys -o jsonpath='{.data.account\\.seed}' | base64 -d |
        heed credentials shop -n shop --publish '>' > shop.creds
    """
    if namespace is not None and not names.is_name(namespace):
        raise BadInput(f"--namespace {namespace}: no namespace has such a name")
    if worker is not None:
        if publish or subscribe:
            raise BadInput("--worker gives all that a worker needs; leave out --publish and --subscribe")
        grants = _of_worker(namespace, worker)
    else:
        grants = _of_events(namespace, publish, subscribe, inbox)
    signer = _signer(key, account)
    now = int(unix_time())
    click.echo(signer.credentials(name, grants, now=now, lifetime=_seconds(lifetime)), nl=False)


def _of_events(
    namespace: str | None, publish: Sequence[str], subscribe: Sequence[str], inbox: str
) -> SubjectPermissions:
    if not publish and not subscribe:
        raise BadInput(
            "nothing is allowed yet; give --publish PATTERN, --subscribe PATTERN or --worker AGENT"
        )
    return SubjectPermissions(
        publish=tuple(_subject(pattern, namespace) for pattern in publish),
        deny=reserved_subjects(namespace or "*"),
        subscribe=(
            *(_subject(pattern, namespace) for pattern in subscribe),
            *([f"{inbox}.>"] if publish else []),
        ),
    )


def _of_worker(namespace: str | None, agent: str) -> SubjectPermissions:
    if namespace is None:
        raise BadInput(f"--worker {agent}: of which namespace? give --namespace")
    if not names.is_name(agent):
        raise BadInput(f"--worker {agent}: no Agent has such a name")
    return worker_permissions(namespace, agent)


def _subject(pattern: str, namespace: str | None) -> str:
    if not names.is_pattern(pattern):
        raise BadInput(f"{pattern}: is no pattern; write com.example.order.* or com.example.>")
    return pattern if namespace is None else names.event_subject(namespace, pattern)


def _signer(key: TextIO, account: str | None) -> UserSigner:
    try:
        return UserSigner.of(key.read(), (account or "").strip() or None)
    except InvalidSettings as error:
        raise BadInput(f"--key: {error}") from None
    except UnicodeDecodeError:
        raise BadInput("--key: the file is no text; give the seed of an account") from None


def _seconds(duration: str) -> int:
    found = _DURATION.fullmatch(duration)
    if found is None or int(found[1]) == 0:
        raise BadInput(f"--lifetime {duration}: write 90s, 15m, 12h or 30d")
    return int(found[1]) * _SECONDS[found[2]]
