"""What a load sends: request bodies as a pure function of (seed, number), and when they leave."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from xinfer.bench.words import text

QUERY_WORDS = (6, 14)


class Kind(StrEnum):
    """What is asked of the model."""

    RERANK = "rerank"
    EMBEDDING = "embedding"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class Load:
    """The shape of all requests.

    Attributes:
        kind: MIXED asks for a rerank and for embeddings in turn.
        model: uid; of the reranker where both kinds are sent.
        embedding_model: uid of the embedding model, for MIXED only.
        sizes: documents or texts of requests 0, 1, 2 … in turn.
        words: fewest and most words of a document.
        seed: other seed, other texts.
    """

    kind: Kind = Kind.RERANK
    model: str = ""
    embedding_model: str = ""
    sizes: tuple[int, ...] = (20,)
    words: tuple[int, int] = (20, 200)
    seed: int = 7


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready to be sent.

    Attributes:
        kind: RERANK or EMBEDDING.
        size: documents or texts in it.
        body: JSON.
    """

    number: int
    kind: Kind
    size: int
    body: bytes


def kind_of(load: Load, number: int) -> Kind:
    """RERANK or EMBEDDING."""
    if load.kind is Kind.MIXED:
        return Kind.EMBEDDING if number % 2 else Kind.RERANK
    return load.kind


def size_of(load: Load, number: int) -> int:
    """Documents or texts of one request."""
    return load.sizes[number % len(load.sizes)]


def texts_of(load: Load, number: int) -> tuple[str, list[str]]:
    """The query ("" for embeddings) and the documents of one request."""
    # A string seeds by its SHA-512: the same texts on every machine, and no two (seed, number) share a stream.
    dice = random.Random(f"{load.seed}/{number}")
    query = text(dice, *QUERY_WORDS) if kind_of(load, number) is Kind.RERANK else ""
    return query, [text(dice, *load.words) for _ in range(size_of(load, number))]


def request(load: Load, number: int) -> Request:
    """One request with its body."""
    kind = kind_of(load, number)
    query, texts = texts_of(load, number)
    body: dict[str, Any]
    if kind is Kind.RERANK:
        body = {"model": load.model, "query": query, "documents": texts}
    else:
        body = {"model": load.embedding_model or load.model, "input": texts}
    return Request(number, kind, len(texts), orjson.dumps(body))


def arrivals(rate: float, seed: int) -> Iterator[float]:
    """Seconds from the start at which requests leave: a Poisson stream of ``rate`` a second, without end."""
    dice = random.Random(f"arrivals/{seed}")
    at = 0.0
    while True:
        at += dice.expovariate(rate)
        yield at


def parse_sizes(text: str) -> tuple[int, ...]:
    """``60,1``.

    Raises:
        ValueError: a sentence.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"must be counts of documents such as 60,1, not {text!r}.")
    return tuple(map(int, parts))


def parse_words(text: str) -> tuple[int, int]:
    """``20-200``, or ``20``.

    Raises:
        ValueError: a sentence.
    """
    low, dash, high = text.partition("-")
    high = high if dash else low
    if not (low.isdecimal() and high.isdecimal() and 0 < int(low) <= int(high)):
        raise ValueError(f"must be FEWEST-MOST such as 20-200, not {text!r}.")
    return int(low), int(high)
