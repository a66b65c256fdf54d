"""GET /v1/cluster/events as an iterator that goes on where a link broke."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from httpx_sse import EventSource, ServerSentEvent, aconnect_sse, connect_sse

from xinfer.client.failures import from_reply, from_transport
from xinfer.client.retry import Retry
from xinfer.errors import Unavailable, XinferError
from xinfer.schemas.feed import FeedChange, FeedReading, FeedSnapshot

PATH = "/v1/cluster/events"
SILENCE = 40.0
"""The server says something at least every 15 s; after so many seconds without a word the link is dead."""
Data = FeedSnapshot | FeedChange | FeedReading
_READ: Mapping[str, type[Data]] = {"snapshot": FeedSnapshot, "change": FeedChange, "reading": FeedReading}


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """One event of the cluster's stream.

    Attributes:
        kind: snapshot, change, reading, or away and back: the supervisor does not answer, or does again.
        id: where in the stream this is, to go on behind it.
        data: of the three first.
    """

    kind: str
    id: str
    data: Data | None


@dataclass(slots=True)
class _Place:
    """How far one iterator has come, and how often in a row it could not go on."""

    retry: Retry
    base_url: str
    last: str
    _failures: int = field(default=0, init=False)

    def request(self) -> dict[str, Any]:
        """Arguments of the next request."""
        return {"headers": {"Last-Event-ID": self.last} if self.last else {}, "timeout": httpx.Timeout(SILENCE, connect=5.0)}

    def take(self, sent: ServerSentEvent) -> ClusterEvent:
        """Note it as seen."""
        self._failures = 0
        self.last = sent.id or self.last
        kind = _READ.get(sent.event)
        return ClusterEvent(sent.event, self.last, None if kind is None else kind.model_validate(json.loads(sent.data)))

    def broke(self, cause: httpx.HTTPError | XinferError | None) -> float:
        """Seconds until the next try; ``cause`` is None where the server ended the stream.

        Raises:
            XinferError: that many in a row are enough, or another try cannot help.
        """
        self._failures += 1
        error: XinferError
        if isinstance(cause, XinferError):
            error = tried = cause
        else:  # whatever a link does, asking again harms nobody
            error = from_transport(cause or httpx.ReadError("the stream has ended"), self.base_url)
            tried = Unavailable(error.message)
        pause = self.retry.pause(self._failures, tried, None, True, random.random())
        if pause is None:
            raise error from (None if error is cause else cause)
        return pause


def follow(http: httpx.Client, retry: Retry, base_url: str, last_event_id: str) -> Generator[ClusterEvent, None, None]:
    """See ``Client.events``."""
    place = _Place(retry, base_url, last_event_id)
    while True:
        broken: httpx.HTTPError | XinferError | None = None
        try:
            with connect_sse(http, "GET", PATH, **place.request()) as source:
                if not source.response.is_success:
                    source.response.read()
                for sent in _checked(source).iter_sse():
                    yield place.take(sent)
        except (httpx.HTTPError, XinferError) as error:
            broken = error
        time.sleep(place.broke(broken))


async def follow_async(http: httpx.AsyncClient, retry: Retry, base_url: str, last_event_id: str) -> AsyncGenerator[ClusterEvent, None]:
    """See ``AsyncClient.events``."""
    place = _Place(retry, base_url, last_event_id)
    while True:
        broken: httpx.HTTPError | XinferError | None = None
        try:
            async with aconnect_sse(http, "GET", PATH, **place.request()) as source:
                if not source.response.is_success:
                    await source.response.aread()
                async for sent in _checked(source).aiter_sse():
                    yield place.take(sent)
        except (httpx.HTTPError, XinferError) as error:
            broken = error
        await asyncio.sleep(place.broke(broken))


def _checked(source: EventSource) -> EventSource:
    reply = source.response
    if not reply.is_success:
        raise from_reply(reply.status_code, reply.content, reply.headers)
    return source
