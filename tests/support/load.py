"""A bounded rerank load on loopback, and what came of it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

WORDS = (
    "the of and river mountain query document server memory worker replica batch queue token latency model ocean energy history"
).split()


def documents(count: int, seed: int = 1, low: int = 20, high: int = 120) -> list[str]:
    """``count`` texts of ``low``..``high`` words."""
    dice = random.Random(seed)
    return [" ".join(dice.choice(WORDS) for _ in range(dice.randint(low, high))) for _ in range(count)]


@dataclass
class Outcome:
    """Answers of a load: how many were right, and what went wrong otherwise."""

    right: int = 0
    wrong: Counter[str] = field(default_factory=Counter)


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
