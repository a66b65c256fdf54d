"""The gate of every actor port: a connection has a moment to prove that it knows the token; who cannot is shown out and named once.

xoscar checks the token of every message, yet keeps a connection that sends none for ever, and without a word.

A dead peer's connection ends by itself: the accepted side asks too whether the other one is still there, not only the one that dialled.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import structlog
from xoscar.backends.communication.core import register_server
from xoscar.backends.communication.socket import SocketChannel, SocketServer

log = structlog.get_logger(__name__)

FIRST_MESSAGE = 30.0
"""Seconds in which a new connection must have sent one whole message that is signed with the token."""
BACKLOG = 1024
NAMED = 256
"""Strangers whose hosts are remembered, so that each is named once; what comes after so many is not named at all."""
_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}
"""As the dialling side has them: seconds, seconds, times, milliseconds."""
_named: set[str] = set()


class GuardedChannel(SocketChannel):
    """A connection that somebody made to us."""

    __slots__ = ("_known",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._known = False

    async def recv(self) -> Any:
        """The next message.

        Raises:
            EOFError: the connection ended, or its first message did not come, or was not signed by one of us.
        """
        if self._known:
            return await super().recv()
        try:
            async with asyncio.timeout(FIRST_MESSAGE):
                message = await super().recv()
        except TimeoutError as error:
            self._refuse(f"it sent no whole message within {FIRST_MESSAGE:g} s")
            raise EOFError("no message in time") from error
        except asyncio.IncompleteReadError as error:
            if error.partial:
                self._refuse("it hung up in the middle of its first message")
            raise
        except EOFError as error:
            self._refuse(str(error))
            raise
        self._known = True
        return message

    def _refuse(self, reason: str) -> None:
        peer = self.writer.get_extra_info("peername")
        host = str(peer[0]) if peer else "?"
        if host in _named or len(_named) >= NAMED:
            return
        _named.add(host)
        log.warning("stranger shown out; others from there will not be named", peer=host, reason=reason)


@register_server
class GuardedServer(SocketServer):
    """Takes the place of xoscar's own for plain ``ip:port`` addresses."""

    __slots__ = ()

    channel_class = GuardedChannel

    @classmethod
    async def create(cls, config: dict[str, Any]) -> Any:
        """Listen; bursts of connections wait in the backlog instead of being dropped."""
        return await super().create({"backlog": BACKLOG, **config})

    async def on_connected(self, *args: Any, **kwargs: Any) -> None:
        """One connection, from its first byte to its end."""
        _, writer = args
        link = writer.get_extra_info("socket")
        if link is not None:
            _notice_death(link)
        await super().on_connected(*args, **kwargs)


def _notice_death(link: socket.socket) -> None:
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _ALIVE.items():
        option = getattr(socket, name, None)  # not every system has all of them
        if option is not None:
            link.setsockopt(socket.IPPROTO_TCP, option, value)
