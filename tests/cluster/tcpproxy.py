"""A TCP proxy that can turn into a black hole and back: nothing is refused, nothing is lost, nothing arrives."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from typing import Any


class TcpProxy:
    """Use as a context manager. What was sent into the black hole arrives when it opens again, late."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open = threading.Event()
        self._open.set()
        self._ended = False
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> TcpProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ended = True
        self._open.set()
        for held in (self._listener, *self._sockets):
            held.close()

    def swallow(self) -> None:
        """From now on nothing passes, in either direction; connections stay, and new ones are accepted."""
        self._open.clear()

    def pass_on(self) -> None:
        """All passes again, what was swallowed first."""
        self._open.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._open.wait()
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", self._upstream)) as server:
            self._sockets += [client, server]
            with selectors.DefaultSelector() as selector:
                selector.register(client, selectors.EVENT_READ, server)
                selector.register(server, selectors.EVENT_READ, client)
                while not self._ended:
                    for key, _ in selector.select():
                        assert isinstance(key.fileobj, socket.socket)
                        data = key.fileobj.recv(1 << 16)
                        self._open.wait()
                        if not data:
                            return
                        key.data.sendall(data)
