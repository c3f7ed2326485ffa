"""Sockets that are made for no address that is refused.

Addresses are checked where sockets are made, after names were resolved: a name that resolves to something else at the
second look, and a number that reads as an address, are seen like any other.
"""

import socket
from collections.abc import Callable

AddressInfo = tuple[int, int, int, str, tuple[object, ...]]
Judge = Callable[[str], str | None]  # why nothing may be sent to an address


class RefusedAddress(OSError):
    """An address that nothing is sent to."""


def open_socket(info: AddressInfo, judge: Judge) -> socket.socket:
    """A socket for an address that a name was resolved to. Raises RefusedAddress."""
    family, kind, protocol, _, address = info
    if (reason := judge(str(address[0]))) is not None:
        raise RefusedAddress(f"{reason}; nothing is sent there")
    return socket.socket(family=family, type=kind, proto=protocol)
