"""The event stream of both clients: what is yielded, and how it goes on where a link broke."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from typing import Any

import httpx
import pytest

from xinfer.client import AsyncClient, Client, ClusterEvent, Retry
from xinfer.errors import Forbidden, Unreachable
from xinfer.schemas.feed import FeedChange, FeedReading, FeedSnapshot

FAST = Retry(attempts=3, base=0.0, most=0.0)
Answer = httpx.Response | Exception


def sse(event: str, name: str = "", **data: Any) -> str:
    head = f"id: {name}\n" if name else ""
    return f"{head}event: {event}\ndata: {json.dumps(data)}\n\n"


SNAPSHOT = sse("snapshot", "3-7", epoch=3, number=7, at=1.0, workers=[], models=[], replicas=[])
READING = sse("reading", worker_id="w", at=2.0, devices=[], replicas=[])


def change(number: int) -> str:
    return sse("change", f"3-{number}", number=number, at=1.0, kind="replica", key="m-0", text="gone")


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Pieces that come one by one, then an error or the end."""

    def __init__(self, text: str, end: Exception | None = None) -> None:
        self.pieces = [text[at : at + 7].encode() for at in range(0, len(text), 7)]
        self.end = end

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces
        if self.end is not None:
            raise self.end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


def streamed(text: str, end: Exception | None = None) -> httpx.Response:
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Body(": hello\n\n" + text, end))


class Both:
    """The first events of each client, from the same answers."""

    def __init__(self, *answers: Callable[[], Answer]) -> None:
        self.answers = answers
        self.places: list[str | None] = []

    def _transport(self) -> httpx.MockTransport:
        left = iter(self.answers)
        self.places.clear()

        def handle(request: httpx.Request) -> httpx.Response:
            assert request.url.path == "/v1/cluster/events"
            self.places.append(request.headers.get("last-event-id"))
            answer = next(left)()
            if isinstance(answer, Exception):
                raise answer
            return answer

        return httpx.MockTransport(handle)

    def first(self, count: int, last: str = "") -> list[ClusterEvent]:
        with Client("http://srv", transport=self._transport(), retry=FAST) as client:
            one = list(islice(client.events(last), count))

        async def use() -> list[ClusterEvent]:
            async with AsyncClient("http://srv", transport=self._transport(), retry=FAST) as client:
                found = []
                async for event in client.events(last):
                    found.append(event)
                    if len(found) == count:
                        break
                return found

        assert asyncio.run(use()) == one
        return one


def test_events_come_as_what_they_are() -> None:
    found = Both(lambda: streamed(SNAPSHOT + READING + sse("away") + sse("back") + change(8))).first(5)
    assert [(it.kind, it.id, type(it.data)) for it in found] == [
        ("snapshot", "3-7", FeedSnapshot),
        ("reading", "3-7", FeedReading),
        ("away", "3-7", type(None)),
        ("back", "3-7", type(None)),
        ("change", "3-8", FeedChange),
    ]


def test_a_broken_link_goes_on_behind_the_last_event() -> None:
    both = Both(
        lambda: streamed(SNAPSHOT + change(8), httpx.ReadError("reset")),
        lambda: httpx.ConnectError("refused"),
        lambda: streamed(READING + change(9)),  # the server ends it
        lambda: httpx.Response(503, json={"error": {"code": "supervisor_unreachable", "message": "no"}}),
        lambda: streamed(change(10), httpx.ReadTimeout("silent")),
        lambda: streamed(change(11)),
    )
    assert [it.id for it in both.first(6, "3-6")] == ["3-7", "3-8", "3-8", "3-9", "3-10", "3-11"]
    assert both.places == ["3-6", "3-8", "3-8", "3-9", "3-9", "3-10"]


def test_as_many_failures_in_a_row_as_retries_allow_are_the_end() -> None:
    both = Both(lambda: streamed(SNAPSHOT), *(3 * [lambda: httpx.ConnectError("refused")]))
    with pytest.raises(Unreachable, match="http://srv: refused"):
        both.first(2)
    assert both.places == [None, "3-7", "3-7"]


def test_what_another_try_cannot_help_is_the_end_at_once() -> None:
    both = Both(lambda: httpx.Response(403, json={"error": {"code": "forbidden", "message": "not you"}}))
    with pytest.raises(Forbidden, match="not you"):
        both.first(1)
    assert both.places == [None]
