"""The broker a command talks to: the one given, that of this folder's `heed dev`, or the default."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click

from heed.bus.client.addresses import parse_addresses, public_url
from heed.cli.output import Command
from heed.errors import InvalidSettings
from heed.local import presence
from heed.local.presence import Presence
from heed.settings import DEFAULT_NATS_URL, Settings

URL_VARIABLE: Final = "HEED_NATS_URL"
_FOLDER: Final = f"{__name__}.folder"  # among what a click context carries


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker. `dev` is the `heed dev` of this machine on it, if known; `note` is a hint to show."""

    settings: Settings
    dev: Presence | None = None
    note: str | None = None


@dataclass(slots=True)
class BrokerChoice:
    """The options that choose a broker: none, a URL, or the folder of a `heed dev`."""

    url: str | None
    folder: Path | None
    _found: Broker | None = None

    def find(self) -> Broker:
        """Find the broker once, and print its note. Raises as `find_broker`."""
        if self._found is None:
            self._found = find_broker(self.url, self.folder)
            if self._found.note is not None:
                click.echo(f"note: {self._found.note}", err=True)
        return self._found


def broker_option(command: Command) -> Command:
    """The options `--nats` and `--dir`, passed on as `broker`, a BrokerChoice."""

    def choose(ctx: click.Context, param: click.Parameter, url: str | None) -> BrokerChoice:
        return BrokerChoice(url, ctx.meta.get(_FOLDER))

    nats = click.option(
        "--nats",
        "broker",
        metavar="URL",
        callback=choose,
        help=f"URL of the broker.  [env var: {URL_VARIABLE}; default: that of the `heed dev` of this folder, "
        f"else {DEFAULT_NATS_URL}]",
    )
    folder = click.option(
        "--dir",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        is_eager=True,
        expose_value=False,
        callback=_keep,
        help=f"The folder of that `heed dev`.  [default: {presence.STATE_FOLDER} here, or in the nearest folder above]",
    )
    return nats(folder(command))


def _keep(ctx: click.Context, param: click.Parameter, folder: Path | None) -> None:
    """Leave the folder to the other option."""
    ctx.meta[_FOLDER] = folder


def find_broker(url: str | None, folder: Path | None) -> Broker:
    """Find the broker by the options. Raises InvalidSettings, and ForeignServer where another server took its place."""
    settings = Settings.from_environment()
    place = folder or presence.find_nearest(Path.cwd())
    dev = presence.read(place) if place else None
    if url is None and os.environ.get(URL_VARIABLE):
        found = _named(settings, settings.nats_url, dev)
        if dev is None or found.dev is not None:
            return found
        other = f"the `heed dev` of {dev.folder} is at {public_url(dev.url)}, --nats reaches that"
        return replace(found, note=f"{URL_VARIABLE} names {public_url(settings.nats_url)}; {other}")
    if url is not None:
        check_url(url)
        return _named(settings, url, dev)
    if dev is not None:
        dev.check()
        return _named(settings, dev.url, dev)
    note = f"no `heed dev` runs in {place}; this goes to {public_url(settings.nats_url)}" if place else None
    return Broker(settings, note=note)


def check_url(url: str) -> None:
    """Raise InvalidSettings for what `--nats` cannot be."""
    try:
        parse_addresses(url)
    except InvalidSettings as error:
        raise InvalidSettings(str(error).replace(URL_VARIABLE, "--nats", 1)) from None


def _named(settings: Settings, url: str, dev: Presence | None) -> Broker:
    """A broker by its URL. To one that `heed dev` started no credentials are sent, as it needs none."""
    if dev is None or dev.url != url:
        return Broker(replace(settings, nats_url=url))
    return Broker(settings.local(url) if dev.server is not None else replace(settings, nats_url=url), dev)
