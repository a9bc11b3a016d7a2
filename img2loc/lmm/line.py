"""The connection of one request, to be cut by whoever no longer waits for the answer."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from typing import Any

import httpx2


class Line:
    """The connection of one request.

    Closing a client does not wake the thread that waits for a silent server's next byte, and the server goes on working
    for nobody. Cutting the line ends both.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._is_cut = False

    def watch(self, request: httpx2.Request) -> None:
        """Follow a request; for the client's event hooks."""
        request.extensions = {**request.extensions, "trace": self._notice}

    def cut(self) -> None:
        """End the connection, or the next one as soon as it is there."""
        self._is_cut = True
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the server was faster
                self._socket.shutdown(socket.SHUT_RDWR)

    def _notice(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._is_cut:
                self.cut()
