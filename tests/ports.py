"""Ports for servers that a test starts and that cannot choose one themselves."""

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """A port that nothing listens on.

    By chance, and below those that the kernel gives to connections and to whoever asks for any port: so nothing else
    that runs at the same time takes it before its server does.
    """
    by_chance = random.SystemRandom()  # one that is not seeded: several processes ask
    while True:
        port = by_chance.randrange(10_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def reserved_port() -> socket.socket:
    """A free loopback port that stays ours while nobody listens on it: bound, shareable, never listening."""
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reservation.bind(("127.0.0.1", 0))
    return reservation
