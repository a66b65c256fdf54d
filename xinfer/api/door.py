"""How several API processes share the connections that come to their one socket.

Left to the kernel, whoever is woken first takes them: of 128 connections one of two processes got 98, and kept them. So each
process writes into shared memory how many connections it holds, and one that holds more than another gives that one a moment to
take the next. A process that is dead, or busy, costs a new connection that moment and no more.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

from xinfer.processes.counts import Counts

log = logging.getLogger(__name__)

GRACE, GRACE_MOST = 0.002, 0.02
"""Seconds that a connection is left to a process that holds fewer: for each connection that it holds fewer, and at most."""
NO_DESCRIPTORS = 0.5
"""Seconds to wait when this process may not open more files."""


class Connections(set[Any]):
    """uvicorn's set of open connections, that tells the others its size."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self._counts = counts

    def add(self, connection: Any) -> None:
        """One more."""
        super().add(connection)
        self._counts.say(len(self))

    def discard(self, connection: Any) -> None:
        """One less."""
        super().discard(connection)
        self._counts.say(len(self))


class Door:
    """Takes connections off the shared socket.

    Args:
        listener: listening, shared with the other processes.
        protocol: makes one for each connection; it enters itself into ``connections``.
        tls: None = plain HTTP.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        connections: Connections,
        counts: Counts,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self._listener = listener
        self._protocol = protocol
        self._connections = connections
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._entering: set[asyncio.Task[Any]] = set()
        self._later: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Take connections from now on."""
        self._listener.setblocking(False)
        self._later = None
        self._loop.add_reader(self._listener, self._knock)

    def close(self) -> None:
        """Take no more; those here go on."""
        self._loop.remove_reader(self._listener)
        if self._later is not None:
            self._later.cancel()

    def _knock(self) -> None:
        ahead = len(self._connections) + len(self._entering) - self._counts.least()
        if ahead > 0:
            self._pause(min(GRACE * ahead, GRACE_MOST), self._anyway)
        else:
            self._accept()

    def _pause(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._listener)
        self._later = self._loop.call_later(seconds, then)

    def _anyway(self) -> None:
        self.open()
        self._accept()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another took it, or it went away
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            log.error("no connection can be taken: %s", error.strerror)
            self._pause(NO_DESCRIPTORS, self.open)
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        entering = self._loop.create_task(self._enter(connection))
        self._entering.add(entering)
        entering.add_done_callback(self._entering.discard)

    async def _enter(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection, ssl=self._tls)
        except OSError as error:
            connection.close()
            log.debug("a connection was lost at once: %s", error)
