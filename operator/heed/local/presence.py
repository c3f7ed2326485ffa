"""The presence file of a running `heed dev`, for other commands: its broker, and what its Agents listen for.

Other processes read it; they believe it as long as the process that wrote it lives, and the broker is the one that it
started.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from heed.core.compiler.audience import Listener
from heed.errors import HeedError
from heed.local.process.child import read_start_time
from heed.local.process.ports import server_info
from heed.local.process.state_files import read_json, write_atomically

STATE_FOLDER: Final = ".heed"
PRESENCE_FILE: Final = "dev.json"


class ForeignServer(HeedError):
    """Another server answers at the URL of the server that a `heed dev` started."""


@dataclass(frozen=True, slots=True)
class Presence:
    """A running `heed dev`. `server` is the id of the nats-server it started; None for a broker it joined."""

    folder: Path
    url: str
    server: str | None
    pid: int
    listeners: tuple[Listener, ...] = ()

    def check(self) -> None:
        """Raise ForeignServer where another server answers at the URL than the one that was started."""
        port = urlsplit(self.url).port
        if self.server is None or port is None:
            return
        info = server_info(port)
        if info is not None and info.get("server_id") != self.server:
            raise ForeignServer(
                f"another server answers at {self.url} than the one of `heed dev` in {self.folder}; "
                "restart heed dev, or say --nats URL"
            )


def write(presence: Presence) -> None:
    """Write the file, readable by its owner only, as the URL may hold a password."""
    record = {
        "url": presence.url,
        "server": presence.server,
        "pid": presence.pid,
        "start": read_start_time(presence.pid),
        "listeners": [asdict(item) for item in presence.listeners],
    }
    write_atomically(presence.folder / PRESENCE_FILE, json.dumps(record), mode=0o600)


def remove(folder: Path) -> None:
    """Remove the file."""
    (folder / PRESENCE_FILE).unlink(missing_ok=True)


def read(folder: Path) -> Presence | None:
    """The `heed dev` that runs on a folder; None where none does, or one of another version."""
    record = read_json(folder / PRESENCE_FILE)
    with suppress(KeyError, TypeError, ValueError):
        pid = int(record["pid"])
        if record["start"] is not None and read_start_time(pid) == record["start"]:
            listeners = tuple(_listeners(record["listeners"]))
            return Presence(folder, str(record["url"]), record["server"], pid, listeners)
    return None


def find_nearest(start: Path) -> Path | None:
    """The state folder in a folder, or in the nearest parent that has one."""
    return next(
        (path / STATE_FOLDER for path in (start, *start.parents) if (path / STATE_FOLDER).is_dir()), None
    )


def own_presence(folder: Path, url: str, server: str | None, listeners: Iterable[Listener]) -> Presence:
    """The Presence of this process on a folder, for `write`."""
    return Presence(folder, url, server, os.getpid(), tuple(listeners))


def _listeners(records: Any) -> Iterator[Listener]:
    for item in records:
        pairs = tuple((str(space), str(pattern)) for space, pattern in item["subscriptions"])
        yield Listener(str(item["namespace"]), str(item["name"]), pairs, tuple(map(str, item["handlers"])))
