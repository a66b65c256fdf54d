"""HTTP as it comes: uvicorn's fast parser, except where that would lose a body or answer in a shape of its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import h11
import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:", re.IGNORECASE)
_NOT_HTTP = "The request is not valid HTTP/1.1."

HEAD_BYTES = 64 * 1024
"""Of a request line with its headers."""
HEAD_SECONDS = 30.0
"""From the first byte of a request, or from the connection, to the end of its headers."""
PAUSE_SECONDS = 30.0
"""Between two pieces of a body."""


def _refusal(status: str = "400 Bad Request", code: str = "invalid_request", sentence: str = _NOT_HTTP) -> bytes:
    """A whole reply, with the error body of every other refusal."""
    error = {"message": sentence, "type": "invalid_request_error", "code": code, "param": None}
    body = orjson.dumps({"detail": sentence, "error": error})
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return head.encode("ascii") + body


class _Patience:
    """Hangs up on a client that does not say what it began to say.

    One timer for each connection, which looks at the time when it fires: a request costs no timer.

    Args:
        late: called when nothing came in time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, late: Callable[[], None]) -> None:
        self._loop = loop
        self._late = late
        self._transport = transport
        self._since: float | None = loop.time()
        self._limit = HEAD_SECONDS
        self._timer = loop.call_later(HEAD_SECONDS, self._look)

    def head(self) -> None:
        """A request has begun."""
        self._since, self._limit = self._loop.time(), HEAD_SECONDS

    def body(self) -> None:
        """Its headers are complete, or a piece of its body has come."""
        self._since, self._limit = self._loop.time(), PAUSE_SECONDS

    def heard(self) -> None:
        """Nothing is missing."""
        self._since = None

    def end(self) -> None:
        """The connection is gone or someone else's."""
        self._timer.cancel()

    def _look(self) -> None:
        left = self._limit if self._since is None else self._since + self._limit - self._loop.time()
        # A transport that we have paused is not the client's fault.
        if left > 0 or not self._transport.is_reading():
            self._timer = self._loop.call_later(left if left > 0 else self._limit, self._look)
        elif not self._transport.is_closing():
            self._late()


class SlowHttp(H11Protocol):
    """For connections whose client offers another protocol: the offer is ignored, the body is read."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Taken over in the middle of a request's headers."""
        super().connection_made(transport)
        self._patience = _Patience(self.loop, transport, transport.close)
        self._in_head = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there to wait for."""
        self._patience.end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See what is missing after it."""
        super().data_received(data)
        within, self._in_head = self._in_head, self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        if self.conn.their_state is h11.SEND_BODY:
            self._patience.body()
        elif not self._in_head:
            self._patience.heard()
        elif not within:
            self._patience.head()

    def _unsupported_upgrade_warning(self) -> None:
        pass  # an offer that is not taken is no event

    def send_400_response(self, msg: str) -> None:
        """The error body of every other refusal."""
        self.transport.write(_refusal())
        self.transport.close()


class Http(HttpToolsProtocol):
    """For everything else.

    httptools drops the body of a request that offers an upgrade, and Java's own client offers ``h2c`` with its first POST.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._within = False
        self._in_head = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """From now on the client has to say something."""
        super().connection_made(transport)
        self._patience = _Patience(self.loop, transport, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there to wait for."""
        self._patience.end()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request has begun."""
        self._within = self._in_head = True
        self._head_bytes = 0
        self._patience.head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its headers have come."""
        self._in_head = False
        self._patience.body()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of its body has come."""
        self._patience.body()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """It has come to its end."""
        self._within = False
        self._patience.heard()
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Hand the connection over where a request begins with an offer."""
        idle = self.cycle is None or self.cycle.response_complete
        if idle and not self._within and _UPGRADE.search(data.partition(b"\r\n\r\n")[0]):
            self._hand_over(data)
            return
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                sentence = f"The request line and the headers must be at most {HEAD_BYTES} bytes."
                self._refuse(_refusal("431 Request Header Fields Too Large", "headers_too_large", sentence))

    def _late(self) -> None:
        what = f"The headers did not come within {HEAD_SECONDS:g} s." if self._in_head else f"The body stopped for {PAUSE_SECONDS:g} s."
        self._refuse(_refusal("408 Request Timeout", "request_timeout", what))

    def _refuse(self, reply: bytes) -> None:
        """Hang up, with a word where the client can take it for the answer to what it began to say."""
        before = self.cycle is None or self.cycle.response_complete
        if self._within and (before if self._in_head else not self.cycle.response_started):
            self.transport.write(reply)
        self.transport.close()

    def _hand_over(self, data: bytes) -> None:
        self._patience.end()
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        successor = SlowHttp(self.config, self.server_state, self.app_state, self.loop)
        successor.connection_made(self.transport)
        self.transport.set_protocol(successor)
        successor.data_received(data)

    def _unsupported_upgrade_warning(self) -> None:
        pass

    def send_400_response(self, msg: str) -> None:
        """The error body of every other refusal."""
        self.transport.write(_refusal())
        self.transport.close()
