"""Warm-up and calibration: how long batches take here, and the smallest budget near the best throughput."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xinfer.batching.timing import BatchTime
from xinfer.batching.work import WorkItem
from xinfer.cluster.device import DeviceKind
from xinfer.engines.base import Encoded, LoadedModel
from xinfer.errors import OutOfMemory, XinferError
from xinfer.serving.runner import attempt

SMALLEST, LARGEST = 128, 1 << 16
ITEM_TOKENS = 128
NEAR_BEST = 0.95
WORTHWHILE = 1.05
OVERHEAD_SECONDS = 0.003
"""What a batch costs beside its forward pass: the hop, tokenising, the answer. It speaks for fewer, larger batches."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What calibration may take.

    Attributes:
        batch_seconds: longest batch accepted; a running batch is what an interactive request waits for.
        batch_tokens: upper bound of the budget.
        total_seconds: time for all of it; 0 = measure the smallest batch only.
    """

    batch_seconds: float
    batch_tokens: int
    total_seconds: float = 3.0

    @classmethod
    def of(cls, kind: DeviceKind, options: Mapping[str, Any]) -> Limits:
        """From the launch options ``max_batch_ms``, ``max_batch_tokens`` and ``calibrate_seconds``."""
        default_ms = 100.0 if kind is DeviceKind.GPU else 150.0
        return cls(
            batch_seconds=float(options.get("max_batch_ms") or default_ms) / 1000,
            batch_tokens=max(1, int(options.get("max_batch_tokens") or LARGEST)),
            total_seconds=float(options.get("calibrate_seconds", 3.0)),
        )


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was found.

    Attributes:
        budget_tokens: padded tokens per batch.
        speed: tokens/s at that budget.
        samples: (padded tokens, seconds) measured.
    """

    budget_tokens: int
    speed: float
    timing: BatchTime
    samples: tuple[tuple[int, float], ...]


def calibrate(model: LoadedModel, kind: ModelKind, limits: Limits, clock: Callable[[], float]) -> Calibration:
    """Measure batches of doubling size until one is too slow, does not fit, or gains nothing.

    Raises:
        OutOfMemory: not even the smallest batch fits; EngineError: the model fails on plain text.
    """
    began = clock()
    _measure(model, [kind.item(model, min(8, model.max_tokens))], 1, clock)
    length = min(ITEM_TOKENS, model.max_tokens)
    item = kind.item(model, length)
    count = max(1, min(SMALLEST, limits.batch_tokens) // item.tokens)
    samples: list[tuple[int, float]] = []
    while True:
        try:
            seconds = _measure(model, [item] * count, 2, clock)
        except OutOfMemory:
            if not samples:
                raise
            model.release_memory()
            break
        samples.append((count * item.tokens, seconds))
        over = seconds > limits.batch_seconds or 2 * count * item.tokens > limits.batch_tokens
        # The next size takes about twice as long, and is run twice.
        late = clock() - began + 4 * seconds > limits.total_seconds
        if over or late or _flat(samples):
            break
        count *= 2
    return _chosen(samples, limits)


class ModelKind:
    """How a plain item of some length is made for the model at hand.

    Args:
        pairs: the model scores (query, document) pairs.
    """

    def __init__(self, pairs: bool) -> None:
        self._pairs = pairs

    def probe(self, words: int) -> WorkItem:
        """A harmless item of about ``words`` tokens."""
        text = " ".join(["word"] * max(1, words))
        return WorkItem("word", text) if self._pairs else WorkItem(text)

    def item(self, model: LoadedModel, tokens: int) -> Encoded:
        """A tokenised item of ``tokens`` tokens, or as near as the model's template lets it be."""
        (encoded,) = model.tokenize([self.probe(tokens)])
        if encoded.tokens <= tokens:
            return encoded
        return Encoded({name: np.ascontiguousarray(ids[:tokens]) for name, ids in encoded.features.items()}, tokens)


def _measure(model: LoadedModel, batch: list[Encoded], times: int, clock: Callable[[], float]) -> float:
    """The best of ``times`` runs after none: the first of a new shape pays for its set-up, the second does not."""
    best = math.inf
    for _ in range(times):
        started = clock()
        outcome = attempt(model, batch)
        if isinstance(outcome, XinferError):
            raise outcome
        best = min(best, clock() - started)
    return best


def _flat(samples: list[tuple[int, float]]) -> bool:
    """The last two doublings together gained less than a twentieth."""
    if len(samples) < 3:
        return False
    first, *later = (_rate(sample) for sample in samples[-3:])
    return max(later) < WORTHWHILE * first


def _rate(sample: tuple[int, float]) -> float:
    tokens, seconds = sample
    return tokens / (seconds + OVERHEAD_SECONDS)


def _chosen(samples: list[tuple[int, float]], limits: Limits) -> Calibration:
    accepted = [s for s in samples if s[1] <= limits.batch_seconds] or samples[:1]
    best = max(_rate(sample) for sample in accepted)
    tokens, seconds = next(sample for sample in accepted if _rate(sample) >= NEAR_BEST * best)
    return Calibration(tokens, tokens / max(seconds, 1e-9), BatchTime.fit(samples), tuple(samples))
