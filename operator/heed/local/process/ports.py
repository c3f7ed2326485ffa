"""Ports of this machine: the one for a state folder's broker, and the process that holds a taken one."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

LOOPBACK: Final = "127.0.0.1"
ANY_PORT: Final = -1  # as nats-server understands it
NEARBY_PORTS: Final = 50  # ports after the usual one that are tried before just any
PORT_REPLY_TIMEOUT_S: Final = 1.0  # seconds that a server has to say who it is
_COMMAND: Final = 120  # characters of a command line
_PROC: Final = Path("/proc")
_LISTENS: Final = "0A"


def candidate_ports(folder: Path, port: int) -> Iterator[int]:
    """The candidate ports of a folder's broker, in order: its last one, the default, those after it, any.

    Not all of them are free.
    """
    yield (first := read_last_port(folder) or port)
    yield from (other for other in range(port, port + NEARBY_PORTS) if other != first)
    yield ANY_PORT


def read_last_port(folder: Path) -> int | None:
    """The port that the folder's broker had last."""
    with suppress(OSError, ValueError):
        return int((folder / "port").read_text(encoding="ascii"))
    return None


def save_last_port(folder: Path, port: int) -> None:
    """Remember the port of a folder's broker."""
    (folder / "port").write_text(f"{port}\n", encoding="ascii")


def is_port_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    if port == ANY_PORT:
        return True
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        with suppress(OSError):
            probe.bind((LOOPBACK, port))
            return True
    return False


def server_info(port: int, host: str = LOOPBACK) -> Mapping[str, Any] | None:
    """The INFO of a NATS server at a port; None where none answers."""
    with suppress(OSError, ValueError), socket.create_connection((host, port), PORT_REPLY_TIMEOUT_S) as wire:
        wire.settimeout(PORT_REPLY_TIMEOUT_S)
        with wire.makefile("rb") as lines:
            word, _, said = lines.readline(65_536).partition(b" ")
            found = json.loads(said) if word == b"INFO" else None
            return found if isinstance(found, dict) else None
    return None


def find_holder(port: int) -> str:
    """A description of what listens on a port: the process and the kind of server, as far as visible."""
    info, process = server_info(port), _listener(port)
    server = f'a NATS server named "{info.get("server_name", "?")}"' if info else ""
    known = "" if process is None else f"process {process} ({_command(process)})"
    return ", ".join(filter(None, (server, known))) or "a process that cannot be seen from here"


def _listener(port: int) -> int | None:
    """The process that listens on a port, where the system shows it."""
    sockets = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _inodes(table, port)}
    for process in _PROC.iterdir() if sockets else ():
        with suppress(OSError):
            if process.name.isdecimal() and any(
                str(link.readlink()) in sockets for link in (process / "fd").iterdir()
            ):
                return int(process.name)
    return None


def _inodes(table: str, port: int) -> Iterator[str]:
    """The sockets of proc(5) net/tcp that listen on a port."""
    with suppress(OSError):
        for line in (_PROC / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _command(process: int) -> str:
    with suppress(OSError):
        words = (_PROC / str(process) / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        text = b" ".join(words).decode(errors="replace")
        return text if len(text) <= _COMMAND else f"{text[: _COMMAND - 1]}…"
    return "of an unknown command"
