"""Answers of a request side by side, each as it grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Protocol

from fastapi import Request

from xinfer.api.limits import fairness_key, service
from xinfer.api.ports import Growing
from xinfer.api.speech import Said, Speech
from xinfer.cluster.ids import ModelUid
from xinfer.errors import XinferError
from xinfer.generation.job import Emission, GenerationJob

Piece = tuple[int, Emission]
"""Number of the answer, and more of it."""


@asynccontextmanager
async def answers(request: Request, uid: str, jobs: Sequence[GenerationJob]) -> AsyncIterator[AsyncIterator[Piece]]:
    """All of them at once; who leaves ends what has not come to its end.

    Raises:
        whatever the streams raise; what is raised while one is read ends all.
    """
    key = fairness_key(request)
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(service(request).streams.open(ModelUid(uid), job, key=key)) for job in jobs]
        pieces = _of_one(opened[0]) if len(opened) == 1 else _merged(opened)
        yield await stack.enter_async_context(aclosing(pieces))


async def _of_one(answer: Growing) -> AsyncGenerator[Piece]:
    async for emission in answer:
        yield 0, emission


async def _merged(opened: Sequence[Growing]) -> AsyncGenerator[Piece]:
    queue: asyncio.Queue[Piece | XinferError | None] = asyncio.Queue()

    async def read(number: int, answer: Growing) -> None:
        try:
            async for emission in answer:
                queue.put_nowait((number, emission))
            queue.put_nowait(None)
        except XinferError as error:
            queue.put_nowait(error)

    readers = [asyncio.create_task(read(number, answer)) for number, answer in enumerate(opened)]
    try:
        left = len(readers)
        while left:
            piece = await queue.get()
            if isinstance(piece, XinferError):
                raise piece
            if piece is None:
                left -= 1
            else:
                yield piece
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


class Told(Protocol):
    """A dialect: what it says of each piece of each answer, and in the end."""

    def said(self, index: int, said: Said) -> bytes: ...
    def end(self) -> bytes: ...


async def events(
    request: Request, uid: str, jobs: Sequence[GenerationJob], speeches: Sequence[Speech], told: Told
) -> AsyncGenerator[bytes]:
    """All answers as a stream's events."""
    async with answers(request, uid, jobs) as pieces:
        async for number, emission in pieces:
            if more := told.said(number, speeches[number].take(emission)):
                yield more
    yield told.end()


async def whole(request: Request, uid: str, jobs: Sequence[GenerationJob], speeches: Sequence[Speech]) -> None:
    """All answers to their ends."""
    async with answers(request, uid, jobs) as pieces:
        async for number, emission in pieces:
            speeches[number].take(emission)
