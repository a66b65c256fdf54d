"""A bounded rerank load on loopback, and what came of it."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx

from tests.support.cluster import until
from xinfer import AsyncClient
from xinfer.errors import XinferError

PATIENCE = 180.0
Turn = Callable[[AsyncClient, int], Awaitable[bool]]
WORDS = (
    "the of and river mountain query document server memory worker replica batch queue token latency model ocean energy history"
).split()


def documents(count: int, seed: int = 1, low: int = 20, high: int = 120) -> list[str]:
    """``count`` texts of ``low``..``high`` words."""
    dice = random.Random(seed)
    return [" ".join(dice.choice(WORDS) for _ in range(dice.randint(low, high))) for _ in range(count)]


@dataclass
class Outcome:
    """Answers of a load: how many were right, what went wrong otherwise, and the seconds of the slowest."""

    right: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0

    @property
    def ended(self) -> int:
        """Requests that came to an end."""
        return self.right + sum(self.wrong.values())


async def rerank(client: httpx.AsyncClient, model: str, texts: list[str], outcome: Outcome) -> None:
    """One request, checked: 200, every index once, finite scores, best first."""
    try:
        reply = await client.post("/v1/rerank", json={"model": model, "query": "a river in the mountain", "documents": texts})
    except httpx.HTTPError as error:
        outcome.wrong[f"{type(error).__name__}: {error}"] += 1
        return
    if reply.status_code != 200:
        outcome.wrong[f"{reply.status_code} {reply.text[:200]}"] += 1
        return
    results = reply.json()["results"]
    scores = [r["relevance_score"] for r in results]
    if sorted(r["index"] for r in results) != list(range(len(texts))) or scores != sorted(scores, reverse=True):
        outcome.wrong[f"bad results {results[:3]}"] += 1
        return
    outcome.right += 1


async def keep_load(url: str, model: str, concurrency: int, go_on: Callable[[], bool], size: int = 4) -> Outcome:
    """A closed loop of ``concurrency`` clients while ``go_on()``."""
    outcome = Outcome()
    limits = httpx.Limits(max_connections=concurrency)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:

        async def one(number: int) -> None:
            turn = 0
            while go_on():
                await rerank(client, model, documents(size, seed=number * 1000 + turn, high=60), outcome)
                turn += 1

        await asyncio.gather(*(one(n) for n in range(concurrency)))
    return outcome


class Load:
    """A closed loop of clients of the SDK in a thread of its own, from ``with`` to its end.

    Args:
        concurrency: clients, each of which asks again as soon as it is answered.
        turn: one request, given a client of the SDK and a number that no other has; whether the answer is right.
        pause: seconds that each client rests between two requests.

    Attributes:
        outcome: grows meanwhile.
    """

    def __init__(self, url: str, concurrency: int, turn: Turn, pause: float = 0.0) -> None:
        self._url = url
        self._concurrency = concurrency
        self._turn = turn
        self._pause = pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load", daemon=True)
        self.outcome = Outcome()

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), f"requests still wait after {PATIENCE:g} s"

    def wait(self, more: int, seconds: float = PATIENCE) -> None:
        """Until so many more requests have come to an end."""
        before = self.outcome.ended
        until(lambda: self.outcome.ended >= before + more, f"{more} more requests ended, of {self.outcome}", seconds)

    async def _run(self) -> None:
        async with AsyncClient(self._url) as client:

            async def one(number: int) -> None:
                for turn in itertools.count():
                    if self._over.is_set():
                        return
                    began = time.monotonic()
                    try:
                        right = await self._turn(client, number * 100_000 + turn)
                        self.outcome.right += right
                    except XinferError as error:
                        self.outcome.wrong[f"{error.code}: {error.message[:200]}"] += 1
                    except ValueError as error:
                        self.outcome.wrong[f"bad answer: {error}"] += 1
                    self.outcome.longest = max(self.outcome.longest, time.monotonic() - began)
                    if self._pause:
                        await asyncio.sleep(self._pause)

            await asyncio.gather(*(one(n) for n in range(self._concurrency)))


async def sdk_rerank(model: str, client: AsyncClient, seed: int, size: int = 4) -> bool:
    """One rerank, checked. Raises ValueError for an answer that is none."""
    reply = await client.rerank(model, "a river in the mountain", documents(size, seed=seed, high=40))
    check([result.index for result in reply.results], [result.relevance_score for result in reply.results], size)
    return True


def check(indices: list[int], scores: list[float], count: int) -> None:
    """Every index once, finite scores, best first. Raises ValueError."""
    if sorted(indices) != list(range(count)) or scores != sorted(scores, reverse=True) or not all(map(math.isfinite, scores)):
        raise ValueError(f"indices {indices}, scores {scores}")


async def sdk_embed(model: str, client: AsyncClient, seed: int, size: int = 4) -> bool:
    """One batch of embeddings, checked. Raises ValueError for an answer that is none."""
    vectors = (await client.embed(model, documents(size, seed=seed, high=60))).vectors
    if len(vectors) != size or not all(map(math.isfinite, (number for vector in vectors for number in vector))):
        raise ValueError(f"{len(vectors)} vectors of {size}")
    return True
