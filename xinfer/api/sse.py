"""Replies that come in pieces, as server-sent events."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from xinfer.api.limits import unless_gone
from xinfer.errors import Cancelled, XinferError

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # a proxy that gathered pieces would make the answer come at once
)


class EventStream(Response):
    """A reply of events, made by ``begin``."""

    def __init__(self, request: Request, first: bytes, rest: AsyncGenerator[bytes], failed: Callable[[XinferError], bytes]) -> None:
        super().__init__(None)
        self._request = request
        self._first = first
        self._rest = rest
        self._failed = failed

    @classmethod
    async def begin(cls, request: Request, events: AsyncGenerator[bytes], failed: Callable[[XinferError], bytes]) -> EventStream:
        """Wait for the first event, so that what fails until then has a status of its own.

        Args:
            events: encoded; ``failed``: those that tell of an error in mid-stream.

        Raises:
            XinferError: nothing came; Cancelled: the client hung up.
        """
        try:
            return cls(request, await unless_gone(request, anext(events)), events, failed)
        except BaseException:
            await events.aclose()
            raise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. A client that hangs up ends the answers."""
        with contextlib.suppress(Cancelled):
            async with contextlib.aclosing(self._rest):
                await unless_gone(self._request, self._tell(send))

    async def _tell(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
        event = self._first
        try:
            while True:
                await send({"type": "http.response.body", "body": event, "more_body": True})
                event = await anext(self._rest)
        except StopAsyncIteration:
            event = b""
        except XinferError as error:
            event = self._failed(error)
        await send({"type": "http.response.body", "body": event, "more_body": False})
