"""Streams of requests: closed loops, open loops, and the answers of each."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

from xinfer.bench.connection import Sent
from xinfer.bench.figures import Done
from xinfer.bench.load import Request

Clock = time.perf_counter
UNREAD = 64 << 20
"""Bytes of answers that are kept to be looked at after the clock has stopped."""


class Tally:
    """Answers of one stream; looked at when it is over, or before that if they would fill the memory."""

    def __init__(self) -> None:
        self._unread: list[Sent] = []
        self._bytes = 0
        self._done: list[Done] = []

    def add(self, sent: Sent) -> None:
        """Note one answer."""
        if self._bytes < UNREAD:
            self._bytes += len(sent.body)
            self._unread.append(sent)
        else:
            self._done.append(sent.done())

    def done(self) -> list[Done]:
        """All of them, looked at."""
        self._done += [sent.done() for sent in self._unread]
        self._unread = []
        return self._done


Send = Callable[[Request, float], Awaitable[None]]


async def closed_loop(send: Send, requests: Iterator[Request], clients: int) -> None:
    """So many clients, each sending its next request when the last is answered."""

    async def client() -> None:
        for each in requests:  # one iterator for all
            await send(each, Clock())

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())


async def open_loop(send: Send, requests: Iterable[Request], due: Iterator[float], seconds: float | None) -> None:
    """Requests at their moments, however many are unanswered; none after ``seconds``."""
    begun = Clock()
    async with asyncio.TaskGroup() as group:
        for each, at in zip(requests, due, strict=False):
            if seconds is not None and at > seconds:
                break
            await asyncio.sleep(max(0.0, begun + at - Clock()))
            group.create_task(_as_task(send, each, begun + at))


async def _as_task(send: Send, each: Request, at: float) -> None:
    await send(each, at)


def until(requests: Iterable[Request], end: float) -> Iterator[Request]:
    """Requests as long as the clock has not reached ``end``."""
    return itertools.takewhile(lambda _: Clock() < end, requests)


async def all_of(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for every task."""
    await asyncio.gather(*tasks)


async def cancelled(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel, and wait until they have ended; what they raise is dropped."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
