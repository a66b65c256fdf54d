"""Holds forward passes back, so that a test decides when each one ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from xinfer.engines.base import Encoded


class Gate:
    """Holds forward passes back, one permit each."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self._permits = threading.Semaphore(0)

    def __call__(self, batch: Sequence[Encoded]) -> None:
        self.entered.release()
        assert self._permits.acquire(timeout=20)

    def let(self, passes: int = 1) -> None:
        self._permits.release(passes)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, True, 20)
