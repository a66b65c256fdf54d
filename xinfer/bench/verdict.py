"""Whether an answer is one: status 200 and a finite score or a vector for every document."""

from __future__ import annotations

import base64
import binascii
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from xinfer.bench.load import Kind

SHOWN = 300
"""Characters of a reply that a sentence quotes at most."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong with one request.

    Attributes:
        kind: a few words, the same for all failures alike.
        sentence: what exactly.
    """

    kind: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one answer.

    Attributes:
        failure: None if it is right.
        tokens: what the server says it read; None if it does not say.
    """

    failure: Failure | None = None
    tokens: int | None = None


def judge(kind: Kind, size: int, status: int, body: bytes) -> Verdict:
    """Look at one answer to a request of ``size`` documents."""
    if status != 200:
        quoted = " ".join(body[:SHOWN].decode("utf-8", "replace").split())
        return Verdict(Failure(f"HTTP {status}", f"HTTP {status}: {quoted}"))
    try:
        reply = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return Verdict(Failure("not JSON", f"The reply is not JSON: {error}."))
    if not isinstance(reply, dict):
        return _wrong(f"the reply is a {type(reply).__name__}, not an object")
    wrong = _scores(reply, size) if kind is Kind.RERANK else _vectors(reply, size)
    return _wrong(wrong) if wrong else Verdict(tokens=_tokens(reply))


def _wrong(what: str) -> Verdict:
    return Verdict(Failure("wrong answer", f"Wrong answer: {what}."))


def _scores(reply: dict[str, Any], size: int) -> str:
    results = reply.get("results")
    if not isinstance(results, list) or len(results) != size:
        return f"{len(results) if isinstance(results, list) else 'no'} results for {size} documents"
    if not all(isinstance(result, dict) for result in results):
        return "a result is not an object"
    if {result.get("index") for result in results} != set(range(size)):
        return "the indices of the results are not those of the documents"
    scores = [result.get("relevance_score") for result in results]
    if not all(isinstance(score, int | float) and math.isfinite(score) for score in scores):
        return "a relevance_score is not a finite number"
    return ""


def _vectors(reply: dict[str, Any], size: int) -> str:
    data = reply.get("data")
    if not isinstance(data, list) or len(data) != size:
        return f"{len(data) if isinstance(data, list) else 'no'} vectors for {size} texts"
    lengths = set()
    for entry in data:
        vector = _vector(entry.get("embedding")) if isinstance(entry, dict) else None
        if vector is None or vector.size == 0 or not np.isfinite(vector).all():
            return "an embedding is not a list of finite numbers"
        lengths.add(vector.size)
    if len(lengths) > 1:
        return f"vectors of {len(lengths)} different lengths"
    return ""


def _vector(value: Any) -> Any:
    """A flat array of numbers, or None."""
    try:
        if isinstance(value, str):
            return np.frombuffer(base64.b64decode(value, validate=True), "<f4")
        return np.asarray(value, np.float64) if isinstance(value, list) else None
    except (ValueError, TypeError, binascii.Error):
        return None


def _tokens(reply: dict[str, Any]) -> int | None:
    """OpenAI's ``usage``, or Cohere's ``meta.tokens``."""
    usage = reply.get("usage")
    meta = reply.get("meta")
    counted = meta.get("tokens") if isinstance(meta, dict) else None
    for figures, name in ((usage, "total_tokens"), (usage, "prompt_tokens"), (counted, "input_tokens")):
        if isinstance(figures, dict) and isinstance(figures.get(name), int) and figures[name] > 0:
            return int(figures[name])
    return None


def by_kind(failures: Iterable[Failure]) -> list[tuple[str, int, str]]:
    """(kind, how many, the first one's sentence), the most frequent first."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for failure in failures:
        counts[failure.kind] += 1
        first.setdefault(failure.kind, failure.sentence)
    return [(kind, count, first[kind]) for kind, count in counts.most_common()]
