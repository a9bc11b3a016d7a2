"""A way to the app that can be cut, and led to another one."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit


class CuttingProxy:
    """Hands connections on to an app; `address` ends with a slash.

    Args:
        target: The app's address.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.reachable = True
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections, and refuse new ones until `reachable` is set."""
        self.reachable = False
        for end in list(self._open):
            self._close(end)

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                self._connect(self._listener.accept()[0])

    def _connect(self, client: socket.socket) -> None:
        parts = urlsplit(self.target)
        try:
            if not self.reachable:
                raise OSError("cut")
            server = socket.create_connection((parts.hostname or "", parts.port or 0))
        except OSError:
            client.close()
            return
        self._open |= {client, server}
        for ends in ((client, server), (server, client)):
            threading.Thread(target=self._hand_on, args=ends, daemon=True).start()

    def _hand_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
        self._close(source)
        self._close(sink)

    def _close(self, end: socket.socket) -> None:
        self._open.discard(end)
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
