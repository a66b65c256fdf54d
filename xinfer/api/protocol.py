"""HTTP as it comes: uvicorn's fast parser, except where that would lose a body or answer in a shape of its own."""

from __future__ import annotations

import re
from typing import Any

import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:", re.IGNORECASE)
_NOT_HTTP = "The request is not valid HTTP/1.1."


def _refusal() -> bytes:
    """A whole reply, with the error body of every other refusal."""
    error = {"message": _NOT_HTTP, "type": "invalid_request_error", "code": "invalid_request", "param": None}
    body = orjson.dumps({"detail": _NOT_HTTP, "error": error})
    head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return head.encode("ascii") + body


class SlowHttp(H11Protocol):
    """For connections whose client offers another protocol: the offer is ignored, the body is read."""

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

    def on_message_begin(self) -> None:
        """A request has begun."""
        self._within = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """It has come to its end."""
        self._within = False
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Hand the connection over where a request begins with an offer."""
        idle = self.cycle is None or self.cycle.response_complete
        if idle and not self._within and _UPGRADE.search(data.partition(b"\r\n\r\n")[0]):
            self._hand_over(data)
        else:
            super().data_received(data)

    def _hand_over(self, data: bytes) -> None:
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
